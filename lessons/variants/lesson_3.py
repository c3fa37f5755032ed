"""Lesson 3, variants: a schedule given by a graph, how much it hides, as many hidden in every line of the picture."""

import random
from string import Template

from minimaskgit.grading.variants import falling_points


def draw(rng: random.Random) -> dict:
    """points: of the graph; stairs: level between them, not straight; columns: which lines have equal counts."""
    return {"points": falling_points(rng), "stairs": rng.random() < 0.5, "columns": rng.random() < 0.5}


def stub(drawn: dict) -> str:
    stairs = "level from each point to the next, where it drops: at a point itself the new value holds"
    between = stairs if drawn["stairs"] else "straight lines between the points"
    _, (x, y), *_ = drawn["points"]
    lines, across = ("column", "row") if drawn["columns"] else ("row", "column")
    shape, axis = ("(B, width)", 1) if drawn["columns"] else ("(B, height)", 2)
    texts = {"points": drawn["points"], "between": between, "x": x, "y": f"{y:.4f}", "line": lines, "across": across}
    counts = [[2, 1, 0]] if drawn["columns"] else [[2, 1]]
    return Template(STUB).substitute(texts, shape=shape, axis=axis, counts=counts)


STUB = '''
GRAPH = $points  # (r, gamma(r))


def graph(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """The schedule of GRAPH: r in [0, 1], any shape, to gamma(r), the same shape and dtype; num_tokens is not used.

    The curve goes through the points, and is $between.
    (Difficulty 1 of 3, 15 minutes.)

    >>> graph(torch.tensor([0.0, $x, 1.0]), 256)
    tensor([1.0000, $y, 0.0000])
    """
    raise NotImplementedError


def mean_hidden() -> float:
    """The fraction of the tokens that training hides on average under GRAPH, if r is uniform in [0, 1] and N is large.

    Predict it to 0.002 with pencil and paper, then measure it with your `graph`. (Difficulty 1 of 3, 10 minutes.)

    >>> 0 < mean_hidden() < 1
    True
    """
    raise NotImplementedError


def line_mask(counts: Tensor, height: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """Hide tokens of a grid with a count for every $line: int64 $shape to bool (B, height, width).

    True is hidden. Each $line hides exactly its count, at places that are drawn uniformly and independently of the
    other lines', all of them from `generator`. Every count is at most the number of places in a $line. (Difficulty 2 of
    3, 15 minutes.)

    >>> line_mask(torch.tensor($counts), height=2, width=3).sum($axis)
    tensor($counts)
    """
    raise NotImplementedError
'''
