"""Classes by what a user calls them: names, ids or numbers."""

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from minimaskgit.common.errors import UserError
from minimaskgit.data.imagenet import other_names


def find_classes(wanted: Sequence[str], names: Sequence[str], ids: Sequence[str] = ()) -> list[int]:
    """Numbers of the `wanted` classes, given by name, id or number; () means all classes.

    Spaces around a name, _ for a space, upper or lower case and the form of accents matter only where classes differ in
    nothing else. ImageNet's classes also go by their ids and further names (imagenet.py). UserError for an unknown
    class, with similar names, and for what may be one of several.
    """
    numbers = [(str(number), number) for number in range(len(names))]
    ranks = [zip(names, range(len(names))), zip(ids, range(len(ids))), other_names(names), numbers]
    ranks = [list(rank) for rank in ranks]  # what is found in an earlier one wins
    tables = []  # of numbers by key; keys as they are, then tidied, then folded
    for form in (str, tidied, _folded):
        table: dict[str, list[int]] = {}
        for rank in ranks:
            here = defaultdict(list)
            for key, number in rank:
                here[form(key)].append(number)
            table = here | table
        tables.append(table)
    found = []
    for given in wanted:
        forms = (given, tidied(given), _folded(given))
        matches = next((table[form] for table, form in zip(tables, forms) if form in table), [])
        matches = list(dict.fromkeys(matches))
        if not matches:
            raise UserError(f"no class {given!r} among the {len(names)}; {_hint(forms[-1], names, tables[-1])}")
        if matches[1:]:
            several = " or ".join(f"{names[number]} (number {number})" for number in matches)
            raise UserError(f"class {given!r} may be {several}; expected the name or the number of one")
        found += matches
    return list(dict.fromkeys(found)) or list(range(len(names)))


def _hint(key: str, names: Sequence[str], table: Mapping[str, Sequence[int]]) -> str:
    """What a user may have meant by a name that is no class: names with it as a word, with it inside, or like it."""
    if key.removeprefix("-").isdecimal():
        return f"they have the numbers 0 to {len(names) - 1}"
    inside = [other for other in table if key and key in other]
    alike = difflib.get_close_matches(key, table, n=5, cutoff=0.7)
    near = sorted(inside, key=lambda other: key not in other.split()) + alike
    near = list(dict.fromkeys(names[number] for other in near for number in table[other]))
    if near:
        return f"did you mean {', '.join(near[:5])}?"
    return f"they are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"


def tidied(name: str) -> str:
    """A name without spaces around it, its accents as Unicode's NFC: files from a Mac have them as NFD."""
    return unicodedata.normalize("NFC", name).strip()


def _folded(name: str) -> str:
    return tidied(tidied(name).casefold().replace("_", " "))


def renumbering(chosen: Sequence[int], num_classes: int) -> np.ndarray:
    """The new label of each class, its index in `chosen` or -1: int64 (num_classes,)."""
    new = np.full(num_classes, -1)
    new[chosen] = np.arange(len(chosen))
    return new
