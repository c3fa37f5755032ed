"""Which folders hold the classes of a data set, and which are its splits: decided by their names and what they hold.

A folder that holds nothing but one other is looked through; so is images/ or data/, if it holds folders of classes.
Then, of the folders with images:

- One named for training that holds folders of classes is the training split, if another is named for validation, or
  if it is alone or holds two classes. Validation is the first of val/, dev/, test/, ... that shares a class with it.
- Otherwise each is a class, whatever its name.

Folder ──arrange──> {split: paths of images by class}
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from minimaskgit.common.errors import UserError
from minimaskgit.data.splits import NO_SPLIT, by_preference, rest_of_name, split_name
from minimaskgit.data.tree import Folder, as_label, nfc, shown

GENERIC = {"images", "image", "imgs", "img", "data", "dataset", "datasets"}  # folders that only hold others
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass
class Split:
    """A folder, the folders in it that hold its images, and the paths of the images by class."""

    folder: Folder
    holders: list[Folder]
    classes: dict[str, list[str]]


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
        if split and (alike or (not rest_of_name(name) and (len(folders) == 1 or len(split.classes) > 1))):
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
            for line in lines_of(folder.file(name)):
                image, *label = line.split("\t")
                if label and image in images:
                    classes.setdefault(nfc(label[0].strip()), []).append(images.pop(image))
    return dict(sorted(classes.items()))


def lines_of(path: str) -> list[str]:
    """The lines of a text file; none if it cannot be read."""
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _no_classes(tree: Folder, folder: Folder) -> str:
    archives = [shown(name) for name in tree.listing.others if name.lower().endswith(ARCHIVES)]
    training, validation = by_preference([kid.name for kid in folder.filled])
    if validation and not training:
        problem = f"found {', '.join(kid.place for kid in folder.filled)} but no folder for training, such as train/"
    elif folder.count:
        problem = f"the images in it ({folder.count}) lie in no folders of classes"
    else:
        problem = f"unpack {archives[0]} first" if archives else "found no images"
    return f"{tree.root}: expected parquet files, or images like {tree.root}/cat/1.png; {problem}"
