"""Reading class labels from a column of a table."""

import reprlib
from collections import Counter

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from minimaskgit.common.errors import UserError
from minimaskgit.data.classes import tidied
from minimaskgit.data.columns import LABELS, label_dtype, type_name

MANY = 100  # classes; more than that, and most with a single image, are hardly classes


def read_labels(
    table: datasets.Dataset, train: datasets.Dataset, column: str, source: str
) -> tuple[np.ndarray, list[str]]:
    """Class numbers of all rows of `table`, int64 (N,), and the class names of `train`."""
    trained = _labels_of(train, column, source)
    present = trained if table is train else _labels_of(table, column, source)
    for split, labels in (("training", trained), ("validation", present)):
        if None in labels:
            where = "" if table is train else f" in the {split} split"
            raise UserError(
                f"{source}: column {column!r} has rows without a label{where}: {labels.count(None)} of {len(labels)} "
                "are null, NaN, -1 or empty, which mean no label; expected one in every row; remove these rows"
            )
    feature = train.features[column]
    if isinstance(feature, datasets.ClassLabel):
        names = feature.names
        number = {i: i for i in range(len(names))} | {tidied(name): i for i, name in enumerate(names)}
        number |= {name: i for i, name in enumerate(names)}
    else:
        number = {label: i for i, label in enumerate(sorted(set(trained)))}
        names = [str(label) for label in number]
        if len(names) > max(MANY, len(trained) / 2):
            raise UserError(
                f"{source}: {len(names)} classes of {len(trained)} images: is {column!r} the label column? "
                "choose another with --images.label-column NAME"
            )
    if unknown := Counter(label for label in present if label not in number):
        some = ", ".join(f"{label} ({count} of {len(present)} rows)" for label, count in unknown.most_common(5))
        raise UserError(
            f"{source}: the validation split has classes that the training split lacks: {some}"
            f"{', ...' if len(unknown) > 5 else ''}; remove these rows, or add training images of these classes"
        )
    return np.array([number[label] for label in present], dtype=np.int64), names


def has_labels(values: pa.ChunkedArray) -> bool:
    """Whether any row has a label; test splits often have none, or -1."""
    return label_dtype(values.type) is None or any(_label(value) is not None for value in _distinct(values))


def _labels_of(table: datasets.Dataset, column: str, source: str) -> list[str | int | None]:
    """The label of each row: the name in a ClassLabel, otherwise a number or a tidied name; None if unlabelled."""
    values = table.with_format("arrow").select_columns(column)[:].column(0)
    names = getattr(table.features[column], "names", None)  # of a ClassLabel
    label = {}
    for value in _distinct(values):
        try:
            label[value] = _label(value)
            if names and label[value] is not None:
                if isinstance(label[value], int) and label[value] < 0:
                    raise IndexError("Python would count from the end")
                label[value] = names[label[value]]
        except (ValueError, IndexError, OverflowError) as error:
            expected = f"expected class numbers from 0 to {len(names) - 1}" if names else LABELS
            held = f"{reprlib.repr(value)} ({type_name(values.type)})"
            raise UserError(f"{source}: column {column!r} holds {held}; {expected}") from error
    return [label[value] for value in _plain(values).to_pylist()]


def _label(value: bool | int | float | str | bytes | None) -> str | int | None:
    """What a value says of the class; None if nothing. ValueError for 0.5 and for bytes that are no text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if isinstance(value, str):
        return tidied(value) or None
    if value is None or value == -1:  # the hub has -1 for a class that is kept secret
        return None
    if int(value) != value:
        raise ValueError(f"{value} is not a whole number")
    return value if isinstance(value, bool) else int(value)


def _distinct(values: pa.ChunkedArray) -> list:
    return _plain(values).unique().to_pylist()


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values instead of categories, and null instead of NaN, which pandas has for a missing number."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(values.type) else values
