"""Laws of lesson 3's variants: a schedule given by a graph, how much it hides, as many hidden as asked in every line.

`drawn` is what the teacher's number drew (lessons/variants/lesson_3.py).
"""

from bisect import bisect_right
from itertools import pairwise

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import fractions, seeds
from tiny import generator
from unsaid import assert_predicts

from minimaskgit.grading.variants import stubs

LESSON = {
    "graph": (stubs(3), "lesson 3, 'Schedules': gamma is any falling curve from 1 to 0 (paper section 3.3)"),
    "mean_hidden": (stubs(3), "lesson 3: why does the cosine hide 2 / pi on average? The area under a curve"),
    "line_mask": (stubs(3), "lesson 3, 'Which tokens': exactly so many of each, and all choices equally likely"),
}

# --- The graph ---


@pytest.mark.law("graph")
@given(shares=st.lists(fractions, min_size=1, max_size=4), segment=st.integers(0, 3))
def test_the_curve_goes_through_its_points_and_runs_between_them_as_asked(impl, drawn, shares, segment):
    (a, high), (b, low) = drawn["points"][segment : segment + 2]
    shares = [share * 0.999 for share in shares]  # a stair's end belongs to the next
    r = torch.tensor([a, *(a + share * (b - a) for share in shares), b], dtype=torch.double)
    found = impl.graph(r, 256)
    inside = [high if drawn["stairs"] else high - share * (high - low) for share in shares]
    expected = torch.tensor([high, *inside, low], dtype=torch.double)
    assert found.dtype == r.dtype, oracles.dtype(found, r.dtype)
    assert torch.allclose(found, expected, atol=1e-6), oracles.instead(found, expected)


@pytest.mark.law("graph")
@given(r=st.lists(fractions, min_size=6, max_size=6))
def test_any_shape_will_do_and_each_value_stands_for_itself(impl, drawn, r):
    together = impl.graph(torch.tensor(r).view(3, 1, 2), 16)
    assert together.shape == (3, 1, 2), oracles.shape(together, (3, 1, 2))
    assert together.dtype == torch.float32, oracles.dtype(together, torch.float32)
    alone = torch.stack([impl.graph(torch.tensor(one), 16) for one in r])
    assert torch.allclose(together.flatten(), alone, atol=1e-5), oracles.instead(together.flatten(), alone)
    order = torch.tensor(r).argsort()
    assert (together.flatten()[order].diff() <= 1e-6).all(), "the curve rises somewhere"


# --- A number ---


def height_at(points: list, r: float, stairs: bool) -> float:
    at = min(bisect_right([x for x, _ in points], r), len(points) - 1)
    (a, high), (b, low) = points[at - 1], points[at]
    return high if stairs else high + (low - high) * (r - a) / (b - a)


@pytest.mark.law("mean_hidden")
def test_so_much_is_hidden_on_average_when_it_is_measured(impl, drawn):
    hidden = [height_at(drawn["points"], (i + 0.5) / 20_000, drawn["stairs"]) for i in range(20_000)]
    assert_predicts(impl.mean_hidden(), sum(hidden) / len(hidden), 0.002)


# --- Lines ---


@st.composite
def counts_of_lines(draw: st.DrawFn) -> tuple[int, int, list]:
    """Number of lines, places in each, and a count for each line of each sample."""
    lines, places = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    row = st.lists(st.integers(0, places), min_size=lines, max_size=lines)
    return lines, places, draw(st.lists(row, min_size=1, max_size=3))


def hidden_by(impl, drawn: dict, lines: int, places: int, counts: torch.Tensor, seed: int) -> torch.Tensor:
    """What is hidden, bool (B, lines, places)."""
    height, width = (places, lines) if drawn["columns"] else (lines, places)
    mask = impl.line_mask(counts, height, width, generator(seed))
    assert mask.dtype == torch.bool, oracles.dtype(mask, torch.bool)
    assert mask.shape == (len(counts), height, width), oracles.shape(mask, (len(counts), height, width))
    return mask.transpose(1, 2) if drawn["columns"] else mask


@pytest.mark.law("line_mask")
@given(grid=counts_of_lines(), draw=seeds)
def test_every_line_hides_exactly_its_count(impl, drawn, grid, draw):
    lines, places, counts = grid
    found = hidden_by(impl, drawn, lines, places, torch.tensor(counts), draw).sum(2).tolist()
    assert found == counts, f"{found} are hidden in the lines of each sample; expected {counts}"


@pytest.mark.law("line_mask")
def test_every_choice_in_a_line_is_equally_likely_and_lines_are_independent(impl, drawn, seed):
    counts = torch.tensor([1, 2, 1]).expand(6000, 3)
    mask = hidden_by(impl, drawn, 3, 3, counts, seed)
    firsts = mask[:, 0].int().argmax(1), mask[:, 1].int().argmin(1), mask[:, 2].int().argmax(1)
    for one, other in pairwise(firsts):
        pairs = (3 * one + other).bincount(minlength=9).tolist()
        assert stats.chisquare(pairs).pvalue > 1e-6, f"the 9 pairs of places in two lines came {pairs} times"


@pytest.mark.law("line_mask")
def test_samples_differ_and_the_generator_repeats_them(impl, drawn):
    counts = torch.full((5, 6), 3)
    first, again, other = (hidden_by(impl, drawn, 6, 8, counts, seed) for seed in (0, 0, 1))
    assert first.equal(again) and not first.equal(other), "does all noise come from the generator?"
    assert len(first.flatten(1).unique(dim=0)) == 5, "two samples are hidden alike"
