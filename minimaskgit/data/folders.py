"""Image folders: ROOT/[SPLIT/]CLASS/**/x.png, listed as tables of paths and class names.

A folder that holds nothing but one other is looked through; so is images/ or data/, if it holds folders of classes.
Then, of the folders with images:

- One named for training that holds folders of classes is the training split, if another is named for validation, or
  if it is alone or holds two classes. Validation is the first of val/, dev/, test/, ... that shares a class with it.
- Otherwise each is a class, whatever its name.

Folder ──arrange──> splits: paths of images by class ──open_folder──> Found
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from minimaskgit.common.errors import UserError
from minimaskgit.data.parquet import english_names
from minimaskgit.data.splits import NO_SPLIT, Found, by_preference, rest_of_name, split_name
from minimaskgit.data.tree import Folder, LeftOut, as_label, as_text, nfc, shown

GENERIC = {"images", "image", "imgs", "img", "data", "dataset", "datasets"}  # folders that only hold others
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# Files that often lie beside images and need no word.
BESIDE = {".txt", ".json", ".csv", ".tsv", ".xml", ".db", ".ini", ".md", ".yaml", ".yml", ".py", ".parquet", *ARCHIVES}


@dataclass
class Split:
    """A folder, the folders in it that hold its images, and the paths of the images by class."""

    folder: Folder
    holders: list[Folder]
    classes: dict[str, list[str]]


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
    notes += [f"{_place(folder)} has no images of the classes of {_place(training.folder)}" for folder in others]
    names = _english(tree, training)
    notes += _about_classes(training)
    for split in validation:
        notes += _about_validation(split, training, names)
        split.classes = {id: split.classes[id] for id in split.classes if id in training.classes}
    tables = {name: _table(split.classes) for name, split in splits.items()}
    folders = {name: _place(split.folder) for name, split in splits.items()}
    return Found(tables, folders, names, notes)


def prefers_parquet(tree: Folder, files: Iterable[str]) -> bool:
    """Whether parquet files rather than images are the data set: if they have more images, or if no folder is a class."""
    try:
        arrange(tree)
    except UserError:
        return True
    return sum(map(_images_in_parquet, files)) > tree.count


# ---- Which folders are splits, and which are classes ----


def arrange(tree: Folder) -> tuple[dict[str, Split], list[Folder]]:
    """The splits, "train" and perhaps "valid", or "all"; and folders named for validation that cannot serve.

    UserError if no folder is a class.
    """
    folder = tree
    while not (training := _training(folder.filled)) and (inner := _wrapped(folder.filled)):
        folder = inner
    if not training:
        if all(_is_split_or_generic(kid.name) for kid in folder.filled):
            raise UserError(_no_classes(tree, folder))
        return {"all": _split(folder)}, []
    first, validation = training
    splits, others = {"train": _split(first)}, []
    for candidate in validation:
        split = _split(candidate, splits["train"].classes.keys())
        if split and split.classes.keys() & splits["train"].classes.keys():
            return splits | {"valid": split}, others
        others.append(candidate)
    return splits, others


def _training(folders: list[Folder]) -> tuple[Folder, list[Folder]] | None:
    """The folder of the training split and those named alike for validation, preferred first."""
    by_name = {folder.name: folder for folder in folders}
    training, validation = by_preference(by_name)
    for name in training:
        alike = [other for other in validation if rest_of_name(other) == rest_of_name(name)]
        split = _split(by_name[name])
        if split and (alike or not rest_of_name(name) and (len(folders) == 1 or len(split.classes) > 1)):
            return by_name[name], [by_name[other] for other in alike]
    return None


def _split(folder: Folder, known: Collection[str] = ()) -> Split | None:
    """The classes in a folder, or None if it holds none; a folder that holds a `known` class is not looked through."""
    inner = folder
    while not any(as_label(kid.name) in known for kid in inner.filled) and (wrapped := _wrapped(inner.filled)):
        inner = wrapped
    if len(inner.filled) > 1 or any(kid.name.lower() not in GENERIC for kid in inner.filled):
        classes: dict[str, list[str]] = {}
        for kid in inner.filled:
            classes.setdefault(as_label(kid.name), []).extend(kid.images())
        return Split(inner, inner.filled, dict(sorted(classes.items())))
    classes = _annotated(folder)
    return Split(folder, [folder], classes) if classes else None


def _wrapped(folders: list[Folder]) -> Folder | None:
    """The one folder to look through, if there is one."""
    candidates = folders if len(folders) == 1 else [folder for folder in folders if folder.name.lower() in GENERIC]
    return candidates[0] if len(candidates) == 1 and not _is_flat(candidates[0]) else None


def _is_flat(folder: Folder) -> bool:
    """Whether a folder holds images rather than folders of classes: most lie in it, or in a folder images/ in it."""
    own, inner = len(folder.listing.images), folder.filled
    if own:
        return len(inner) < 2 or 2 * own >= folder.count
    return len(inner) == 1 and inner[0].name.lower() in GENERIC and _is_flat(inner[0])


def _is_split_or_generic(name: str) -> bool:
    return name.lower() in GENERIC or (split_name(name) != NO_SPLIT and not rest_of_name(name))


def _annotated(folder: Folder) -> dict[str, list[str]]:
    """Images by class as Tiny ImageNet has them: images/val_0.JPEG, and val_annotations.txt with a line for each."""
    classes: dict[str, list[str]] = {}
    for name in folder.listing.others:
        if name.endswith("annotations.txt"):
            images = {os.path.basename(path): path for path in folder.images()}
            for line in _lines(folder.file(name)):
                image, *label = line.split("\t")
                if label and image in images:
                    classes.setdefault(nfc(label[0].strip()), []).append(images.pop(image))
    return dict(sorted(classes.items()))


def _no_classes(tree: Folder, folder: Folder) -> str:
    problem = f"{tree.root}: expected parquet files, or images like {tree.root}/cat/1.png; "
    names = [name for name in tree.listing.others if name.lower().endswith(ARCHIVES)]
    training, validation = by_preference([kid.name for kid in folder.filled])
    if validation and not training:
        return problem + f"found {_listed(map(_place, folder.filled))} but no folder for training, such as train/"
    if folder.count:
        return problem + f"its {_images(folder.count)} lie in no folders of classes"
    return problem + (f"unpack {shown(names[0])} first" if names else "found no images")


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
            words |= dict(line.split(separator, 1) for line in _lines(os.path.join(place, name)) if separator in line)
        names = {id: nfc(words[id].split(",")[0].strip()) for id in training.classes if id in words}
        if names:
            shared = Counter(names.values())
            return {id: f"{name} ({id})" if shared[name] > 1 else name for id, name in names.items()}
    return {}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


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
            empty += [_place(kid) for kid in folder.folders if not kid.count and split_name(kid.name) != NO_SPLIT]
        else:
            unused.append(f"{_place(folder)} ({_images(folder.count)})")
    notes = [f"not used: {_listed(unused)}"] if unused else []
    if empty:
        notes.append(f"no images in {_listed(empty)}")
    if loose:
        notes.append(f"not used: {_images(len(loose))} outside the folders of classes: {_listed(loose, 3)}")
    names = [name for folder in tree.walk() for name in folder.listing.others]
    if parquet := sorted(shown(name) for name in names if name.lower().endswith(".parquet")):
        notes.append(f"not used: parquet files beside the images: {_listed(parquet)}")
    suffixes = Counter(os.path.splitext(name)[1].lower() for name in names)
    kinds = {suffix: count for suffix, count in suffixes.most_common() if suffix not in BESIDE}
    if kinds:
        shares = [f"{shown(suffix) or 'without suffix'} {count}" for suffix, count in kinds.items()]
        notes.append(f"not used: {sum(kinds.values())} files that are not images ({_listed(shares)})")
    return notes


def _about_classes(split: Split) -> list[str]:
    """Folders without images, and names that differ in less than one sees."""
    notes = []
    empty = [folder for folder in split.folder.folders if not folder.count] if split.holders != [split.folder] else []
    if empty:
        file = next((inner.file(name) for folder in empty for inner in folder.walk() for name in inner.listing.others), "")
        example = f"; {shown(file)} is not an image that Pillow can read" if file else ""
        notes.append(f"no images in {_listed(map(_place, empty))}{example}")
    for name, count in Counter(as_label(folder.name) for folder in split.holders).items():
        if count > 1:
            notes.append(f"{count} folders are named {shown(name)}, in different forms of Unicode: taken as one class")
    alike: dict[str, list[str]] = {}
    for name in split.classes:
        alike.setdefault(name.casefold(), []).append(shown(name))
    mixed = [folder for folder in split.holders if all(by_preference([kid.name for kid in folder.filled]))]
    if mixed:
        names = ", ".join(kid.name for kid in mixed[0].filled)
        notes.append(f"{_listed(map(_place, mixed))}: the folders {names} in a class are not told apart")
    notes += [f"classes whose names differ only in case: {_listed(names)}" for names in alike.values() if len(names) > 1]
    return notes


def _about_validation(split: Split, training: Split, names: dict[str, str]) -> list[str]:
    notes, place = [], _place(split.folder)
    counts = {id: len(images) for id, images in split.classes.items()}
    unknown = [f"{shown(id)} ({_images(count)})" for id, count in counts.items() if id not in training.classes]
    missing = [shown(names.get(id, id)) for id in training.classes if id not in counts]
    unlabelled = sum(folder.count for folder in split.holders) - sum(counts.values())
    if unknown:
        notes.append(f"not used: classes of {place} that {_place(training.folder)} lacks: {_listed(unknown)}")
    if missing:
        notes.append(f"{place} has no images of {_listed(missing)}")
    if unlabelled:
        notes.append(f"not used: {_images(unlabelled)} of {place} without a label")
    return notes


def _place(folder: Folder) -> str:
    return shown("/".join(folder.parts) + "/") if folder.parts else "the data"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _listed(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
