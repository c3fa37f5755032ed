"""Image folders: ROOT/[SPLIT/]CLASS/**/x.png, listed as tables of paths and class names.

folder ──tree──> visible files ──layout──> images by split and class ──open_folder──> Found, with notes
"""

import os
from collections import Counter
from collections.abc import Iterable

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from minimaskgit.common.errors import UserError
from minimaskgit.data.imagenet import first_names
from minimaskgit.data.layout import ARCHIVES, Split, arrange, lines_of
from minimaskgit.data.parquet import english_names
from minimaskgit.data.splits import NO_SPLIT, Found, by_preference, counted, split_name
from minimaskgit.data.tree import Folder, LeftOut, as_label, as_text, nfc, shown

# Files that often lie beside images and need no word.
BESIDE = {".txt", ".json", ".csv", ".tsv", ".xml", ".db", ".ini", ".md", ".yaml", ".yml", ".py", ".parquet", *ARCHIVES}


def open_folder(tree: Folder, left_out: LeftOut) -> Found:
    """The images in folders of classes below the top of `tree`; UserError if there are none.

    Files are listed here because `load_dataset("imagefolder")` mistakes a class "train" or a file cat/val_1.png for a
    split.
    """
    if "" in left_out.unreadable:
        raise UserError(f"{tree.root}: this folder cannot be read; give yourself permission to")
    notes = _links_and_hidden(left_out)
    try:
        splits, others = arrange(tree)
    except UserError as error:
        raise UserError("; ".join([str(error), *notes])) from None
    training, *validation = splits.values()
    notes += _not_used(tree, [holder for split in splits.values() for holder in split.holders])
    notes += [f"{folder.place} has no images of the classes of {training.folder.place}" for folder in others]
    names = _english(tree, training)
    notes += _about_classes(training)
    for split in validation:
        notes += _about_validation(split, training, names)
        split.classes = {id: split.classes[id] for id in split.classes if id in training.classes}
    tables = {name: _table(split.classes) for name, split in splits.items()}
    folders = {name: split.folder.place for name, split in splits.items()}
    return Found(tables, folders, names, notes)


def prefers_parquet(tree: Folder, files: Iterable[str]) -> bool:
    """Whether a folder's data set is its parquet files: they have more images, or no folder of images is a class."""
    try:
        arrange(tree)
    except UserError:
        return True
    return sum(map(_images_in_parquet, files)) > tree.count


# ---- Tables ----


def _table(classes: dict[str, list[str]]) -> datasets.Dataset:
    paths = [as_text(path) for images in classes.values() for path in images]
    labels = [label for label, images in classes.items() for _ in images]
    features = datasets.Features(image=datasets.Image(decode=False), label=datasets.Value("string"))
    return datasets.Dataset.from_dict({"image": paths, "label": labels}, features)


def _english(tree: Folder, training: Split) -> dict[str, str]:
    """The first English name of each class id, from a file beside the data, as ImageNet and Tiny ImageNet have it."""
    parts = training.folder.parts
    places = [os.path.join(tree.root, *parts[:depth]) for depth in range(len(parts) + 1)]
    for place in [*places, os.path.dirname(os.path.abspath(tree.root))]:
        words = english_names(place)
        for name, separator in (("words.txt", "\t"), ("LOC_synset_mapping.txt", " ")):
            words |= dict(line.split(separator, 1) for line in lines_of(os.path.join(place, name)) if separator in line)
        if known := {id: nfc(words[id]) for id in training.classes if id in words}:
            return first_names(known)
    return {}


def _images_in_parquet(file: str) -> int:
    """The number of rows, if a column may hold encoded images."""
    try:
        with pq.ParquetFile(file) as opened:
            return opened.metadata.num_rows * any(map(_holds_bytes, opened.schema_arrow.types))
    except (OSError, pa.ArrowException):
        return 0


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_bytes(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


# ---- What to tell the user ----


def _links_and_hidden(left_out: LeftOut) -> list[str]:
    notes = {
        "hidden folders": sorted({os.path.basename(path) for path in left_out.hidden}),
        "folders that cannot be read": left_out.unreadable,
        "links that lead nowhere, or to a folder that contains the data": left_out.links,
    }
    return [f"not used: {what}: {_listed(map(shown, paths))}" for what, paths in notes.items() if paths]


def _not_used(tree: Folder, used: list[Folder]) -> list[str]:
    """Images outside the `used` folders, and files that are not images."""
    classes = {folder.parts for folder in used}
    above = {parts[:depth] for parts in classes for depth in range(len(parts))}
    loose, unused, empty, pending = [], [], [], [tree]
    for folder in pending:
        if folder.parts in classes:
            continue
        if folder.parts in above:
            loose += [shown("/".join((*folder.parts, name))) for name in folder.listing.images]
            pending += folder.filled
            empty += [kid.place for kid in folder.folders if not kid.count and split_name(kid.name) != NO_SPLIT]
        else:
            unused.append(f"{folder.place} ({counted(folder.count, 'image')})")
    notes = [f"not used: {_listed(unused)}"] if unused else []
    if empty:
        notes.append(f"no images in {_listed(empty)}")
    if loose:
        notes.append(f"not used: {counted(len(loose), 'image')} outside the folders of classes: {_listed(loose, 3)}")
    names = [name for folder in tree.walk() for name in folder.listing.others]
    if parquet := sorted(shown(name) for name in names if name.lower().endswith(".parquet")):
        notes.append(f"not used: parquet files beside the images: {_listed(parquet)}")
    suffixes = Counter(os.path.splitext(name)[1].lower() for name in names)
    kinds = {suffix: count for suffix, count in suffixes.most_common() if suffix not in BESIDE}
    if kinds:
        shares = [f"{shown(suffix) or 'without suffix'} {count}" for suffix, count in kinds.items()]
        notes.append(f"not used: files that are not images: {_listed(shares)}")
    return notes


def _about_classes(split: Split) -> list[str]:
    """Folders without images, and names that differ in less than one sees."""
    notes = []
    if empty := [folder for folder in split.folder.folders if not folder.count]:
        others = (inner.place + shown(name) for kid in empty for inner in kid.walk() for name in inner.listing.others)
        example = next((f"; {other} is not an image that Pillow can read" for other in others), "")
        notes.append(f"no images in {_listed(folder.place for folder in empty)}{example}")
    for name, count in Counter(as_label(folder.name) for folder in split.holders).items():
        if count > 1:
            notes.append(f"{count} folders are named {shown(name)}, but for spaces or the form of accents: one class")
    if mixed := [folder for folder in split.holders if all(by_preference([kid.name for kid in folder.filled]))]:
        names = ", ".join(kid.name for kid in mixed[0].filled)
        notes.append(f"{_listed(folder.place for folder in mixed)}: all of {names} in a class is taken as one split")
    alike: dict[str, list[str]] = {}
    for name in split.classes:
        alike.setdefault(name.casefold(), []).append(shown(name))
    return notes + [f"classes that differ only in case: {_listed(same)}" for same in alike.values() if len(same) > 1]


def _about_validation(split: Split, training: Split, names: dict[str, str]) -> list[str]:
    notes, place = [], split.folder.place
    counts = {id: len(images) for id, images in split.classes.items()}
    unknown = [f"{shown(id)} ({counted(count, 'image')})" for id, count in counts.items() if id not in training.classes]
    missing = [shown(names.get(id, id)) for id in training.classes if id not in counts]
    unlabelled = sum(folder.count for folder in split.holders) - sum(counts.values())
    if unknown:
        notes.append(f"not used: classes of {place} that {training.folder.place} lacks: {_listed(unknown)}")
    if missing:
        notes.append(f"{place} has no images of {_listed(missing)}")
    if unlabelled:
        notes.append(f"not used: {counted(unlabelled, 'image')} of {place} without a label")
    return notes


def _listed(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
