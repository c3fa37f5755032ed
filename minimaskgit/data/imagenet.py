"""The 1000 classes of ImageNet (ILSVRC 2012), in the order of their WordNet ids, which is that of their numbers.

    imagenet.txt: n01443537 goldfish, Carassius auratus ──> name "goldfish", id "n01443537", number 1

A name is the first of a line. Two classes that share it have their ids behind it, as in "crane (n02012849)".
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


def first_names(words: Mapping[str, str]) -> dict[str, str]:
    """A different name for each id, from all its names with commas between them."""
    names = {id: all_names.split(",")[0].strip() for id, all_names in words.items()}
    shared = Counter(names.values())
    return {id: f"{name} ({id})" if shared[name] > 1 else name for id, name in names.items()}


@cache
def synsets() -> dict[str, str]:
    """All names of each class, with commas between them, by WordNet id."""
    lines = (Path(__file__).parent / "imagenet.txt").read_text("utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@cache
def imagenet_names() -> tuple[str, ...]:
    """The name of each class, by number."""
    return tuple(first_names(synsets()).values())


def other_names(names: Sequence[str]) -> list[tuple[str, int]]:
    """Ids and further names of ImageNet's classes, such as "polar bear", with their numbers; none for other classes.

    Some names stand for several classes.
    """
    if tuple(as_imagenet(names)) != imagenet_names():
        return []
    found = []
    for number, (id, words) in enumerate(synsets().items()):
        found += [(other.strip(), number) for other in (id, words, *words.split(","))]
    return found


def as_imagenet(names: Sequence[str]) -> list[str]:
    """The names as above if these are ImageNet's classes under their ids or all of their names; otherwise unchanged."""
    ids = tuple(synsets())
    first = [name.split(",")[0].strip() for name in names]
    # Copies differ in what they call the two cranes and the two maillots.
    known = len(names) == len(ids) and all(a == b or "(" in b for a, b in zip(first, imagenet_names()))
    return list(imagenet_names()) if known or tuple(names) == ids else list(names)
