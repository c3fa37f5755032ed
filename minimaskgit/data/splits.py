"""What opening a data set finds: its splits as tables, and the names that stand for a split.

folder, parquet files, hub ──open──> Found(tables by split, class names, notes) ──> sources.load_data
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

import datasets

from minimaskgit.common.errors import UserError

VALID_NAMES = ("valid", "validation", "val", "test")  # names of validation splits, preferred first
SPLIT_NAMES = ("train", *VALID_NAMES)
NO_SPLIT = "other"  # what `split_name` calls files that name no split


@dataclass(frozen=True)
class Found:
    """The tables of a data set, with images still encoded: "train" and perhaps "valid", or "all" without splits.

    folders: where each table was found, as the user knows it, such as "val/". names: English class names by class id,
    where they are known. notes: a line for each thing that was decided or left out, to print before training.
    """

    tables: dict[str, datasets.Dataset]
    folders: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def split_name(name: str) -> str:
    """The first word in the name of a file or folder that stands for a split, in lower case, or NO_SPLIT."""
    found = re.search(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?![a-z])", name.lower())
    return found[1] if found else NO_SPLIT


def chosen_splits(found: Collection[str], source: str) -> dict[str, str]:
    """Which of the `found` split names serve as "train" and "valid", or as "all"; UserError if none is for training."""
    if "train" in found:
        valid = next((name for name in VALID_NAMES if name in found), None)
        return {"train": "train"} | ({"valid": valid} if valid else {})
    if len(found) > 1:
        raise UserError(f"{source}: expected a split 'train', found {', '.join(found)}")
    return {"all": next(iter(found))}
