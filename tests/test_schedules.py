"""The package's table of schedules; laws of single schedules are in laws/test_lesson_3.py."""

import math

import oracles
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import canvas_sizes, fractions, schedule_names

from minimaskgit import schedules
from minimaskgit.schedules import RATIOS, SCHEDULES

CONCAVE = ["cosine", "square", "cubic", "exponential"]
CONVEX = ["square_root", "logarithmic"]


def gamma(name: str, r: float | list[float], num_tokens: int = 256) -> torch.Tensor:
    return SCHEDULES[name](torch.tensor(r, dtype=torch.double), num_tokens)


def test_the_table_has_every_schedule_under_its_own_name():
    assert list(SCHEDULES) == list(oracles.GAMMA)
    assert all(SCHEDULES[name] is getattr(schedules, name) for name in SCHEDULES)


@given(name=schedule_names, r=fractions, num_tokens=canvas_sizes.filter(lambda n: n > 1))
def test_a_schedule_is_the_formula_of_the_paper_to_twelve_digits(name, r, num_tokens):
    assert gamma(name, r, num_tokens).item() == pytest.approx(oracles.GAMMA[name](r, num_tokens), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@given(name=schedule_names, r=fractions, num_tokens=canvas_sizes)
def test_a_schedule_is_exactly_within_0_and_1_even_on_a_canvas_of_one_token(dtype, name, r, num_tokens):
    value = SCHEDULES[name](torch.tensor([r], dtype=dtype), num_tokens)
    assert value.shape == (1,) and value.dtype == dtype
    assert 0 <= value.item() <= 1  # false for NaN too


@given(r=fractions, num_tokens=canvas_sizes)
def test_bert_masks_15_percent_at_any_progress(r, num_tokens):
    assert gamma("bert", r, num_tokens).item() == pytest.approx(0.15)


@given(r=st.floats(0.01, 0.99))
def test_concave_schedules_mask_more_than_the_line_and_convex_ones_less(r):
    line = gamma("linear", r)
    assert all(gamma(name, r) > line for name in CONCAVE)
    assert all(gamma(name, r) < line for name in CONVEX)


def test_at_half_progress_the_schedules_are_in_the_paper_s_order():
    expected = {
        "exponential": 15 / 16,  # of 256 tokens
        "cubic": 7 / 8,
        "square": 3 / 4,
        "cosine": math.sqrt(1 / 2),  # (1 + cos(pi r)) / 2, another "cosine", would be 1/2
        "linear": 1 / 2,
        "square_root": 1 - math.sqrt(1 / 2),
        "bert": 0.15,
        "logarithmic": 1 / 8,
    }
    at_half = {name: gamma(name, 0.5).item() for name in expected}
    assert at_half == pytest.approx(expected)
    assert sorted(at_half, key=at_half.get, reverse=True) == list(expected)


# --- After the paper ---


@given(r=fractions)
def test_the_beta_ratio_is_the_quantile_of_beta_12_3(r):
    found = RATIOS["beta"](torch.tensor([r], dtype=torch.double), 64).item()
    assert found == pytest.approx(scipy.stats.beta.ppf(1 - r, 12, 3), abs=2e-4)


@given(r=fractions)
def test_the_arccos_ratio_turned_around_is_its_inverse(r):
    found = RATIOS["arccos"](torch.tensor([r], dtype=torch.double), 64).item()
    assert math.cos(math.pi / 2 * found) == pytest.approx(r, abs=1e-12)


def test_the_table_of_the_beta_ratio_is_not_made_anew_at_every_step(monkeypatch):
    r = torch.tensor([0.0, 0.3, 1.0])
    expected = RATIOS["beta"](r, 64)
    monkeypatch.setattr(torch, "linspace", None)
    assert RATIOS["beta"](r, 64).equal(expected)


@pytest.mark.parametrize("name", ["arccos", "beta"])
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_a_later_ratio_falls_from_1_to_0(name, dtype):
    values = RATIOS[name](torch.linspace(0, 1, 101, dtype=dtype), 64)
    assert values.dtype == dtype and values[0] == 1 and values[-1].item() == pytest.approx(0, abs=1e-3)
    assert (values.diff() <= 0).all()
