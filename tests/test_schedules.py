"""Laws of the mask schedules gamma(r) (lesson 3; paper section 3.3)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import canvas_sizes, falling_names, fractions, schedule_names

from minimaskgit import schedules
from minimaskgit.schedules import SCHEDULES

CONCAVE = ["cosine", "square", "cubic", "exponential"]
CONVEX = ["square_root", "logarithmic"]

# The formulas of the paper once more, in numpy and in double precision; N is at least 2.
ORACLE = {
    "cosine": lambda r, n: np.cos(np.pi * r / 2),
    "linear": lambda r, n: 1 - r,
    "square": lambda r, n: 1 - r * r,
    "cubic": lambda r, n: 1 - r * r * r,
    "exponential": lambda r, n: 1 - np.exp((r - 1) * np.log(n)),
    "square_root": lambda r, n: 1 - np.sqrt(r),
    "logarithmic": lambda r, n: np.minimum(1, -np.log(np.maximum(r, 1e-300)) / np.log(n)),
    "bert": lambda r, n: 0.15 + 0 * r,
}


def gamma(name: str, r: float | list[float], num_tokens: int = 256) -> torch.Tensor:
    return SCHEDULES[name](torch.tensor(r, dtype=torch.double), num_tokens)


def test_the_table_has_every_schedule_under_its_own_name():
    assert list(SCHEDULES) == list(ORACLE)
    assert all(SCHEDULES[name] is getattr(schedules, name) for name in SCHEDULES)


@given(name=schedule_names, r=fractions, num_tokens=canvas_sizes.filter(lambda n: n > 1))
def test_a_schedule_is_the_formula_of_the_paper(name, r, num_tokens):
    assert gamma(name, r, num_tokens).item() == pytest.approx(ORACLE[name](r, num_tokens), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@given(name=schedule_names, r=fractions, num_tokens=canvas_sizes)
def test_a_schedule_stays_between_0_and_1(dtype, name, r, num_tokens):
    value = SCHEDULES[name](torch.tensor([r], dtype=dtype), num_tokens)
    assert value.shape == (1,) and value.dtype == dtype
    assert 0 <= value.item() <= 1  # false for NaN too


@given(name=schedule_names, ends=st.tuples(fractions, fractions), num_tokens=canvas_sizes)
def test_a_schedule_never_rises(name, ends, num_tokens):
    before, after = gamma(name, sorted(ends), num_tokens)
    assert after <= before


@given(name=falling_names, num_tokens=canvas_sizes)
def test_a_schedule_begins_with_everything_masked(name, num_tokens):
    # The exponential starts at 1 - 1/N: all but one token.
    start = 1 - 1 / max(2, num_tokens) if name == "exponential" else 1
    assert gamma(name, 0.0, num_tokens).item() == pytest.approx(start)


@given(name=falling_names, num_tokens=canvas_sizes)
def test_a_schedule_ends_with_nothing_masked(name, num_tokens):
    assert gamma(name, 1.0, num_tokens).item() == pytest.approx(0, abs=1e-12)


@given(r=fractions, num_tokens=canvas_sizes)
def test_bert_masks_15_percent_whatever_the_progress(r, num_tokens):
    assert gamma("bert", r, num_tokens).item() == pytest.approx(0.15)


@pytest.mark.parametrize("name", CONCAVE)
@given(ends=st.tuples(fractions, fractions))
def test_a_concave_schedule_lies_above_its_chords(name, ends):
    left, right = gamma(name, list(ends))
    assert gamma(name, sum(ends) / 2) >= (left + right) / 2 - 1e-12


@pytest.mark.parametrize("name", CONVEX)
@given(ends=st.tuples(st.floats(1 / 256, 1), st.floats(1 / 256, 1)))  # below 1/N the logarithm is clipped to 1
def test_a_convex_schedule_lies_below_its_chords(name, ends):
    left, right = gamma(name, list(ends))
    assert gamma(name, sum(ends) / 2) <= (left + right) / 2 + 1e-12


@given(r=st.floats(0.01, 0.99))
def test_concave_schedules_mask_more_than_the_line_and_convex_ones_less(r):
    line = gamma("linear", r)
    assert all(gamma(name, r) > line for name in CONCAVE)
    assert all(gamma(name, r) < line for name in CONVEX)


def test_half_way_the_schedules_stand_in_the_paper_s_order():
    at_half = {name: gamma(name, 0.5).item() for name in ORACLE}
    expected = {
        "exponential": 15 / 16,  # of 256 tokens
        "cubic": 7 / 8,
        "square": 3 / 4,
        "cosine": math.sqrt(1 / 2),  # (1 + cos(pi r)) / 2, which some take for "the cosine", would be 1/2
        "linear": 1 / 2,
        "square_root": 1 - math.sqrt(1 / 2),
        "bert": 0.15,
        "logarithmic": 1 / 8,
    }
    assert at_half == pytest.approx(expected)
    assert sorted(at_half, key=at_half.get, reverse=True) == list(expected)


def test_under_the_cosine_2_over_pi_of_an_image_is_masked_on_average():
    r = (torch.arange(10_000).double() + 0.5) / 10_000
    assert SCHEDULES["cosine"](r, 256).mean().item() == pytest.approx(2 / math.pi, abs=1e-6)


@given(name=schedule_names, samples=st.lists(st.tuples(fractions, canvas_sizes), min_size=1, max_size=5))
def test_samples_of_different_sizes_may_share_a_batch(name, samples):
    r, sizes = zip(*samples)
    together = SCHEDULES[name](torch.tensor(r, dtype=torch.double), torch.tensor(sizes))
    alone = [gamma(name, one, size).item() for one, size in samples]
    assert together.tolist() == pytest.approx(alone, abs=1e-12)
