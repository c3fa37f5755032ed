"""Images with class labels: drawn glyphs, Tiny ImageNet, or any image data set that `datasets` can open.

Every lesson takes its images from here; lesson 9 uses real photographs (the paper ImageNet, section 4).

    "glyphs" ─────> drawn ──────────────────────────────────────────────────┐
    hub id ───────┐                                                         v
    parquet files ┼─> tables ─> rows of a split, shuffled ─> decoded ─> ImageData
    image folder ─┘                                                     images uint8 (M, 3, S, S)
                                                                        labels int64 (M,)
"""

from collections.abc import Sequence

import torch

from minimaskgit.common.errors import UserError
from minimaskgit.data.classes import find_classes, renumbering
from minimaskgit.data.glyphs import GLYPH_NAMES, glyphs
from minimaskgit.data.images import ImageData, fingerprint
from minimaskgit.data.splits import counted

MEMORY_LIMIT = 4 * 2**30  # bytes of decoded pixels


def load_data(
    source: str,
    split: str = "train",
    image_size: int = 32,
    num_images: int | None = None,
    classes: Sequence[str] = (),
    image_column: str = "image",
    label_column: str = "label",
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
) -> ImageData:
    """Load the "train" or "valid" split of `source`, shuffled by `seed`; UserError if it cannot be loaded.

    `source` is "glyphs", a folder or glob of parquet files, a folder of images as CLASS/x.png (optionally inside
    train/ and valid/, or as in layout.py), or the id of a data set on the hub. The split of a parquet file is read
    from its name, as in train-0.parquet or valid/0.parquet; files that name no split are used only if no file names
    one. If there is no validation split, or only a test split without labels, a tenth of the rows is held out for it.
    If the data has a file classes.json or words.txt beside it, as Tiny ImageNet does, WordNet ids are replaced by
    their English names.

    `classes` are names, ids or numbers, which become labels 0, 1, ... in that order; () means all. At most
    `num_images` are loaded, balanced between the classes; a smaller number loads the first ones of a larger. Images
    are resized to `image_size` pixels along the shorter side and cropped at the centre. If they take more than
    `memory_limit` bytes of pixels, they are decoded on demand.
    """
    least = {"image_size": (image_size, 1), "num_images": (num_images, 1), "seed": (seed, 0)}
    for name, (value, bound) in least.items():
        if value is not None and value < bound:
            raise UserError(f"{name} {value}: expected {bound} or more")
    if split not in ("train", "valid"):
        raise UserError(f"split {split!r}: expected 'train' or 'valid'")
    if source == "glyphs":
        return _draw(split, image_size, num_images, classes, seed)
    from minimaskgit.data.tables import load_tables  # here, because `datasets` takes a second to import

    columns = image_column, label_column
    return load_tables(source, split, image_size, num_images, classes, columns, seed, memory_limit)


# ---- Drawing glyphs ----


def _draw(split: str, size: int, num_images: int | None, classes: Sequence[str], seed: int) -> ImageData:
    chosen = find_classes(classes, GLYPH_NAMES)
    new = torch.from_numpy(renumbering(chosen, len(GLYPH_NAMES)))
    stream = 2 * seed + (split == "valid")  # even streams are training sets, odd ones validation sets
    count = num_images or (20_000 if split == "train" else 2_000) * len(chosen) // len(GLYPH_NAMES)
    drawn = count
    while True:  # labels are random, so draw more until `count` pictures are of the chosen classes
        images, labels = glyphs(drawn, stream, size)
        labels = new[labels]
        keep = (labels >= 0).nonzero()[:count, 0]
        if len(keep) == count:
            names = [GLYPH_NAMES[i] for i in chosen]
            data = ImageData(names, size, labels[keep], images[keep], origin="drawn")
            data.fingerprint = fingerprint(names, labels[keep].numpy())
            return data
        drawn = max(drawn + 100, int(1.05 * drawn * count / max(1, len(keep))))


# ---- What was found ----


def summary(source: str, train: ImageData, valid: ImageData) -> str:
    """What was found in a data set, in a few lines to print before training."""
    lines = [f"data: {source}"]
    for name, data in (("training", train), ("validation", valid)):
        what = f"{counted(len(data), 'image')} of {counted(data.num_classes, 'class')}"
        lines.append(f"  {name}: {what} ({data.origin})")
        lines.append(f"    {_counts(data)}")
    notes = dict.fromkeys(train.notes + valid.notes)  # most are in both
    return "\n".join([*lines, *(f"  {note}" for note in notes)])


def _counts(data: ImageData, shown: int = 8) -> str:
    """The number of images of each class; of many classes the first few, and the smallest and largest number."""
    counts = torch.bincount(data.labels, minlength=data.num_classes).tolist()
    text = ", ".join(f"{name} {count}" for name, count in list(zip(data.label_names, counts))[:shown])
    return text if len(counts) <= shown else f"{text}, ... ({min(counts)} to {max(counts)} images each)"
