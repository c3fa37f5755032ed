"""Image folders: ROOT/[SPLIT/]CLASS/**/x.png, listed as tables of paths and class names."""

from pathlib import Path

import datasets

from minimaskgit.common.errors import UserError
from minimaskgit.data.splits import NO_SPLIT, SPLIT_NAMES, Found, chosen_splits

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def open_folder(root: Path, source: str) -> Found:
    """The images below `root`; UserError if there are none.

    Files are listed here because `load_dataset("imagefolder")` mistakes a class "train" or a file cat/val_1.png for a
    split.
    """
    splits = {name: root / name for name in SPLIT_NAMES if any((root / name).glob("*/"))} or {NO_SPLIT: root}
    return Found({split: _listed(splits[name]) for split, name in chosen_splits(splits, source).items()})


def _listed(folder: Path) -> datasets.Dataset:
    """The images in the folders of classes in `folder`, sorted by path."""
    files = sorted(file for file in folder.glob("*/**/*") if file.suffix.lower() in IMAGE_SUFFIXES)
    files = [file for file in files if not file.name.startswith(".")]  # hidden files that other systems add
    labels = [file.relative_to(folder).parts[0] for file in files]
    if set(labels) <= set(SPLIT_NAMES):  # no files, or only train/x.png
        raise UserError(f"{folder}: expected parquet files, or images like {folder}/cat/1.png")
    features = datasets.Features(image=datasets.Image(decode=False), label=datasets.Value("string"))
    return datasets.Dataset.from_dict({"image": [str(file) for file in files], "label": labels}, features)
