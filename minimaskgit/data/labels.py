"""Class labels: reading them from a column, and finding classes by what a user calls them."""

import difflib
import re
from collections.abc import Sequence

import datasets
import numpy as np

from minimaskgit.common.errors import UserError


def find_classes(wanted: Sequence[str], names: Sequence[str], ids: Sequence[str] = ()) -> list[int]:
    """Numbers of the `wanted` classes, given by name, id or number, in upper or lower case; () means all classes.

    UserError for an unknown class, with similar names.
    """
    numbers: dict[str, int] = {}  # a name wins over an id, an id over a number
    for keys in (names, ids, map(str, range(len(names)))):
        for number, key in enumerate(keys):
            numbers.setdefault(key, number)
    folded = {key.casefold(): number for key, number in reversed(numbers.items())}  # the first wins
    for given in wanted:
        key = given.casefold()
        if key not in folded:
            near = [other for other in folded if key in other] + difflib.get_close_matches(key, folded, n=5)
            near = list(dict.fromkeys(names[folded[other]] for other in near))
            hint = f"did you mean {', '.join(near[:5])}?" if near else f"they are {', '.join(names[:10])}"
            more = ", ..." if not near and len(names) > 10 else ""
            raise UserError(f"no class {given!r} among the {len(names)}; {hint}{more}")
    found = [numbers.get(given, folded[given.casefold()]) for given in wanted]
    return list(dict.fromkeys(found)) or list(range(len(names)))


def read_labels(
    table: datasets.Dataset, train: datasets.Dataset, column: str, source: str
) -> tuple[np.ndarray, list[str]]:
    """Class numbers of all rows of `table`, int64 (N,), and the class names of `train`."""
    values = table.with_format("arrow").select_columns(column)[:].column(0)
    present, trained = set(values.unique().to_pylist()), set(train.unique(column))
    feature = table.features[column]
    is_number = isinstance(feature, datasets.ClassLabel)
    if None in present | trained or (is_number and -1 in present):  # unlabelled splits on the hub have -1
        raise UserError(f"{source}: column {column!r} has rows without a label; expected one in every row")
    if is_number:
        return values.to_numpy().astype(np.int64), feature.names
    if not re.match("u?int|string|large_string|bool", getattr(feature, "dtype", "")):
        raise UserError(f"{source}: column {column!r} holds {feature}; expected class numbers or names")
    number = {value: i for i, value in enumerate(sorted(trained))}
    if unknown := present - trained:
        raise UserError(f"{source}: the validation split has a class {unknown.pop()} that the training split lacks")
    return np.array([number[value] for value in values.to_pylist()]), [str(value) for value in number]
