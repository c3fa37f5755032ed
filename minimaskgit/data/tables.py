"""Images with class labels from a folder, from parquet files or from the hub.

hub id ───────┐
parquet files ┼─> tables ─> rows of a split, shuffled ─> ImageData, decoded now or on demand
image folder ─┘
"""

import glob
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
from minimaskgit.data.classes import find_classes, renumbering
from minimaskgit.data.columns import check_columns
from minimaskgit.data.folders import open_folder, prefers_parquet
from minimaskgit.data.images import ImageData, fingerprint
from minimaskgit.data.labels import read_labels
from minimaskgit.data.layout import ARCHIVES
from minimaskgit.data.parquet import open_hub, open_parquet, parquet_files
from minimaskgit.data.reading import decode_all, encoded_images, find_white, read_image
from minimaskgit.data.splits import Found
from minimaskgit.data.tree import as_path, survey


def load_tables(
    source: str,
    split: str,
    image_size: int,
    num_images: int | None,
    classes: Sequence[str],
    columns: tuple[str, str],
    seed: int,
    memory_limit: int,
) -> ImageData:
    """`sources.load_data` for everything but glyphs; columns: the names of those with the images and the labels."""
    image_column, label_column = columns
    found = _open(source, image_column, label_column)
    table, rows, origin = _rows_of(split, found)
    for each in found.tables.values():
        check_columns(each.features.arrow_schema, image_column, label_column, source)
    labels, ids = read_labels(table, found.tables.get("train", table), label_column, source)
    names = [found.names.get(id, id) for id in ids]
    try:
        chosen = find_classes(classes, names, ids)
    except UserError as error:  # the classes may be a preset's
        raise UserError(f"{source}: {error}; --images.classes NAME ... chooses others, without a name all") from None
    labels = renumbering(chosen, len(names))[labels]  # -1: not a chosen class
    lost = [] if "valid" in found.tables else _all_held_out(split, labels, rows)
    rows = balanced_shuffle(rows[labels[rows] >= 0], labels, seed)[:num_images]
    if len(rows) == 0:
        if len(table) == 1 and "valid" not in found.tables:
            raise UserError(f"{source}: 1 image; expected 2 or more, one to train on and one to validate with")
        raise UserError(f"{source}: the {split} split has no images of {', '.join(classes) or 'any class'}")

    images = encoded_images(table, image_column, source)
    # White is the training table's, whatever part of it is chosen and for the validation split too.
    white, notes = find_white(encoded_images(found.tables.get("train", table), image_column, source))
    read = partial(read_image, images, rows, image_size, source, white)
    data = ImageData([names[i] for i in chosen], image_size, torch.from_numpy(labels[rows]), read=read)
    data.origin, data.notes = origin, found.notes + notes
    if lost:
        few = ", ".join(data.label_names[label] for label in lost[:5]) + ", ..." * (len(lost) > 5)
        data.notes = [*data.notes, f"no training images of {few}: all were held out for validation"]
    data.fingerprint = fingerprint(data.label_names, labels[rows], _file_sizes(images, rows))
    return data if len(data) * 3 * image_size**2 > memory_limit else decode_all(data)


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
        raise UserError(f"{files[0]} is a file; expected a folder, .parquet files or a hub id")
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


def _all_held_out(split: str, labels: np.ndarray, rows: np.ndarray) -> list[int]:
    """The classes without training images, if a split's `rows` are of a table that has no validation split."""
    trained = labels[rows] if split == "train" else np.delete(labels, rows)
    return np.setdiff1d(labels[labels >= 0], trained).tolist()


def balanced_shuffle(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle row numbers so that every prefix is balanced: the k-th of each class comes before any (k+1)-th."""
    rows = np.random.default_rng(seed).permutation(rows)
    by_class = np.argsort(labels[rows], kind="stable")
    counts = np.bincount(labels[rows])
    rank = np.empty_like(rows)  # of each row among the rows of its class
    rank[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows[np.argsort(rank, kind="stable")]


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
