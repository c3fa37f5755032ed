"""What opening a data set finds: its splits as tables, and the names that stand for a split.

folder, parquet files, hub ──open──> Found(tables by split, class names, notes) ──> sources.load_data
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minimaskgit.common.errors import UserError

if TYPE_CHECKING:
    import datasets  # takes a second

# The forms of each split's name; validation splits preferred first.
FORMS = {
    "train": "train|training",
    "valid": "valid|validate",
    "validation": "validation",
    "val": "val",
    "dev": "dev|devel|development",
    "eval": "eval|evaluation",
    "holdout": "hold[ _-]?out|held[ _-]?out",
    "test": "test|testing",
}
VALID_NAMES = tuple(FORMS)[1:]
SPLIT_NAMES = tuple(FORMS)
NO_SPLIT = "other"  # what `split_name` calls files that name no split
FILLER = "set|data|dataset|split|images?|imgs?|pictures|photos"  # as in train_set, TrainingImages, testset
_FORMS = "|".join(f"(?P<{name}>{forms})" for name, forms in FORMS.items())
WORD = re.compile(rf"(?<![a-z])(?:{_FORMS})(?:{FILLER})?(?![a-z])")


@dataclass(frozen=True)
class Found:
    """The tables of a data set, with images still encoded: "train" and perhaps "valid", or "all" without splits.

    folders: where each table was found, as the user knows it, such as "val/". names: English class names by class id,
    where they are known. notes: a line for each thing that was decided or left out, to print before training.
    """

    tables: "dict[str, datasets.Dataset]"
    folders: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def split_name(name: str) -> str:
    """The split that a file or folder is named for, by the first such word in any case and form, or NO_SPLIT."""
    found = WORD.search(_words(name))
    return found.lastgroup if found else NO_SPLIT


def rest_of_name(name: str) -> str:
    """The letters of a name that do not say which split it is: "" in train and Test_Images, "seg" in seg_train."""
    return re.sub(rf"{FILLER}|[\W\d_]", "", WORD.sub("", _words(name), count=1))


def by_preference(names: Collection[str]) -> tuple[list[str], list[str]]:
    """Those of the `names` that stand for training, and those for validation; in each list the preferred first."""
    ranked = sorted(names, key=lambda name: (name not in SPLIT_NAMES, rest_of_name(name) != "", len(name), name))
    training = [name for name in ranked if split_name(name) == "train"]
    return training, [name for split in VALID_NAMES for name in ranked if split_name(name) == split]


def chosen_splits(found: Collection[str], source: str) -> dict[str, str]:
    """Which of the `found` split names serve as "train" and "valid", or as "all"; UserError if none is for training."""
    training, validation = by_preference(found)
    if training:
        return {"train": training[0]} | ({"valid": validation[0]} if validation else {})
    if len(found) > 1:
        raise UserError(f"{source}: expected a split 'train', found {', '.join(found)}")
    return {"all": next(iter(found))}


def _words(name: str) -> str:
    """A name in lower case, with its words apart: TrainImages becomes train_images."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def counted(number: int, what: str) -> str:
    """A number of things in words: 1 image, 3 images, 2 classes."""
    return f"{number} {what}" + ("" if number == 1 else "es" if what.endswith("s") else "s")
