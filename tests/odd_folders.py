"""Image folders as real people have them, built for tests.

plant(root, {"train/cat": 12}) writes 12 images; loaded(root) counts them as `load_data` finds them.
"""

import zlib
from collections import Counter
from io import BytesIO
from pathlib import Path

from PIL import Image

from minimaskgit.data.images import ImageData
from minimaskgit.data.sources import load_data


def colour(name: str) -> tuple[int, int, int]:
    """A colour of its own for each class."""
    return tuple(zlib.crc32(name.encode("utf-8", "surrogatepass")).to_bytes(4, "big")[:3])


def picture(name: str = "", form: str = "PNG") -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8), colour(name)).save(file, form)
    return file.getvalue()


def plant(root: Path, counts: dict[str, int], suffix: str = ".png", form: str = "PNG") -> Path:
    """Write so many images into each folder below `root`, in the colour of the folder's name."""
    for place, count in counts.items():
        folder = root / place
        folder.mkdir(parents=True, exist_ok=True)
        content = picture(folder.name, form)
        for i in range(count):
            (folder / f"{i:03}{suffix}").write_bytes(content)
    return root


def tiny_imagenet(root: Path, val: dict[str, str], **train: int) -> Path:
    """Tiny ImageNet as its zip unpacks, with so many training images by class id, and val files with their ids."""
    plant(root, {f"train/{id}/images": count for id, count in train.items()}, ".JPEG", "JPEG")
    plant(root, {"val/images": 0, "test/images": 3})
    for name in val:
        (root / "val/images" / name).write_bytes(picture())
    lines = [f"{name}\t{id}\t0\t0\t8\t8\n" for name, id in val.items()]
    (root / "val/val_annotations.txt").write_text("".join(lines), "utf-8")
    for id in train:
        (root / f"train/{id}/{id}_boxes.txt").write_text("000.JPEG\t0\t0\t8\t8\n", "utf-8")
    (root / "wnids.txt").write_text("\n".join(train), "utf-8")
    return root


def per_class(data: ImageData) -> dict[str, int]:
    """The number of images by class name."""
    return dict(Counter(data.label_names[label] for label in data.labels.tolist()))


def loaded(root: Path) -> tuple[dict[str, int], dict[str, int], list[str]]:
    """Images by class in training and in validation, and the notes."""
    train, valid = (load_data(str(root), split, image_size=8) for split in ("train", "valid"))
    assert train.label_names == valid.label_names and train.notes == valid.notes
    assert all("\n" not in note for note in train.notes)
    return per_class(train), per_class(valid), train.notes


def everything(root: Path) -> dict[str, int]:
    """Images by class where validation is held out of training."""
    train, valid, _ = loaded(root)
    return dict(Counter(train) + Counter(valid))
