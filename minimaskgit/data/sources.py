"""Images with class labels: drawn glyphs, Tiny ImageNet, or any image data set that `datasets` can open.

Every lesson takes its images from here; lesson 9 uses real photographs (the paper ImageNet, section 4).

    "glyphs" ─────> drawn ──────────────────────────────────────────────────┐
    hub id ───────┐                                                         v
    parquet files ┼─> tables ─> rows of a split, shuffled ─> decoded ─> ImageData
    image folder ─┘                                                     images uint8 (N, 3, S, S)
                                                                        labels int64 (N,)
"""

import glob
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute as pc
import torch

from minimaskgit.common.errors import UserError
from minimaskgit.data.columns import check_columns
from minimaskgit.data.folders import open_folder, prefers_parquet
from minimaskgit.data.glyphs import GLYPH_NAMES, glyphs
from minimaskgit.data.images import ImageData
from minimaskgit.data.labels import find_classes, read_labels
from minimaskgit.data.layout import ARCHIVES
from minimaskgit.data.parquet import open_hub, open_parquet, parquet_files
from minimaskgit.data.reading import decode_all, encoded_images, find_white, read_image
from minimaskgit.data.splits import Found, counted
from minimaskgit.data.tree import as_path, survey

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

    found = _open(source, image_column, label_column)
    table, rows, origin = _rows_of(split, found)
    for each in found.tables.values():
        check_columns(each.features.arrow_schema, image_column, label_column, source)
    labels, ids = read_labels(table, found.tables.get("train", table), label_column, source)
    names = [found.names.get(id, id) for id in ids]
    chosen = find_classes(classes, names, ids)
    labels = _renumbering(chosen, len(names))[labels]  # -1: not a chosen class
    rows = balanced_shuffle(rows[labels[rows] >= 0], labels, seed)[:num_images]
    if len(rows) == 0:
        raise UserError(f"{source}: the {split} split has no images of {', '.join(classes) or 'any class'}")

    images = encoded_images(table, image_column, source)
    # White is the training table's, whatever part of it is chosen and for the validation split too.
    white, notes = find_white(encoded_images(found.tables.get("train", table), image_column, source))
    read = partial(read_image, images, rows, image_size, source, white)
    data = ImageData([names[i] for i in chosen], image_size, torch.from_numpy(labels[rows]), read=read)
    data.origin, data.notes = origin, found.notes + notes
    data.fingerprint = _digest(data.label_names, labels[rows], _file_sizes(images, rows))
    return data if len(data) * 3 * image_size**2 > memory_limit else decode_all(data)


def _renumbering(chosen: Sequence[int], num_classes: int) -> np.ndarray:
    """The new label of each class, its index in `chosen` or -1: int64 (num_classes,)."""
    new = np.full(num_classes, -1)
    new[chosen] = np.arange(len(chosen))
    return new


# ---- Drawing glyphs ----


def _draw(split: str, size: int, num_images: int | None, classes: Sequence[str], seed: int) -> ImageData:
    chosen = find_classes(classes, GLYPH_NAMES)
    renumbering = torch.from_numpy(_renumbering(chosen, len(GLYPH_NAMES)))
    stream = 2 * seed + (split == "valid")  # even streams are training sets, odd ones validation sets
    count = num_images or (20_000 if split == "train" else 2_000) * len(chosen) // len(GLYPH_NAMES)
    drawn = count
    while True:  # labels are random, so draw more until `count` pictures are of the chosen classes
        images, labels = glyphs(drawn, stream, size)
        labels = renumbering[labels]
        keep = (labels >= 0).nonzero()[:count, 0]
        if len(keep) == count:
            names = [GLYPH_NAMES[i] for i in chosen]
            digest = _digest(names, labels[keep].numpy())
            return ImageData(names, size, labels[keep], images[keep], origin="drawn", fingerprint=digest)
        drawn = max(drawn + 100, int(1.05 * drawn * count / max(1, len(keep))))


# ---- Opening a source: every kind becomes tables (datasets.Dataset) by split ----


def _open(source: str, image: str, label: str) -> Found:
    path = Path(source).expanduser()
    if path.is_dir() and source:  # Path("") is the current folder, which was hardly meant
        names = parquet_files(path)
        tree, left_out = survey(path)
        if names and prefers_parquet(tree, names):
            beside = [f"not used: {tree.count} images beside the parquet files"] if tree.count else []
            found = open_parquet(names, source, image, label)
            return replace(found, notes=found.notes + beside)
        return open_folder(tree, left_out)
    files = [str(path)] if path.is_file() else sorted(glob.glob(os.path.expanduser(source), recursive=True))
    if files and all(file.lower().endswith(".parquet") for file in files):
        return open_parquet({file: Path(file).name for file in files}, source, image, label)
    if files and files[0].lower().endswith(ARCHIVES):
        raise UserError(f"{source}: an archive; unpack it, and pass the folder that comes out")
    if files:
        raise UserError(f"{source}: expected a folder, .parquet files or a hub id, found {files[0]}")
    if source.endswith(".parquet") or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
        raise UserError(f"{source!r}: no such file or folder")
    return open_hub(source, label)


# ---- Choosing rows ----


def _rows_of(split: str, found: Found) -> tuple[datasets.Dataset, np.ndarray, str]:
    """The table that contains a split, the numbers of the split's rows, int64 (N,), and where they are from."""
    if "valid" in found.tables:
        table = found.tables[split]
        return table, np.arange(len(table)), found.folders.get(split, split)
    ((name, table),) = found.tables.items()
    place = found.folders.get(name, "the data")
    shuffled = np.random.default_rng(0).permutation(len(table))  # the same rows are held out for every seed
    held_out = max(1, len(table) // 10)
    if split == "train":
        return table, shuffled[held_out:], f"{place}, without a tenth for validation"
    return table, shuffled[:held_out], f"a tenth of {place}: there is no validation split"


def balanced_shuffle(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle row numbers so that every prefix is balanced: the k-th of each class comes before any (k+1)-th."""
    rows = np.random.default_rng(seed).permutation(rows)
    by_class = np.argsort(labels[rows], kind="stable")
    counts = np.bincount(labels[rows])
    rank = np.empty_like(rows)  # of each row among the rows of its class
    rank[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows[np.argsort(rank, kind="stable")]


# ---- Which data it is ----


def _file_sizes(images: datasets.Dataset, rows: np.ndarray) -> np.ndarray:
    """Bytes of each encoded image of `rows`, int64 (N,); -1 if its file is missing."""
    column = images.data.column(0)  # not combined into one array, which would copy the images
    lengths, paths = pc.binary_length(pc.struct_field(column, "bytes")), pc.struct_field(column, "path")
    sizes = lengths.fill_null(-1).to_numpy()[rows]
    for i in np.flatnonzero(sizes < 0):
        sizes[i] = _file_size(paths[int(rows[i])].as_py())
    return sizes.astype(np.int64)


def _file_size(path: str | None) -> int:
    try:
        return os.stat(as_path(path)).st_size if path else -1
    except OSError:
        return -1


def _digest(names: Sequence[str], labels: np.ndarray, sizes: Sequence[int] | np.ndarray = ()) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for numbers in (labels, sizes):
        digest.update(np.asarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()


def summary(source: str, train: ImageData, valid: ImageData) -> str:
    """What was found in a data set, in a few lines to print before training."""
    lines = [f"data: {source}"]
    for name, data in (("training", train), ("validation", valid)):
        classes = "1 class" if data.num_classes == 1 else f"{data.num_classes} classes"
        lines.append(f"  {name}: {counted(len(data), 'image')} of {classes} ({data.origin})")
        lines.append(f"    {_counts(data)}")
    notes = dict.fromkeys(train.notes + valid.notes)  # most are in both
    return "\n".join([*lines, *(f"  {note}" for note in notes)])


def _counts(data: ImageData, shown: int = 8) -> str:
    """The number of images of each class; of many classes the first few, and the smallest and largest number."""
    counts = torch.bincount(data.labels, minlength=data.num_classes).tolist()
    text = ", ".join(f"{name} {count}" for name, count in list(zip(data.label_names, counts))[:shown])
    return text if len(counts) <= shown else f"{text}, ... ({min(counts)} to {max(counts)} images each)"
