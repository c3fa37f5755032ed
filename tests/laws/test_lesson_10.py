"""Laws of lesson 10: the Halton order, taking tokens back as ReMDM does, and a critic's loss."""

import math
from fractions import Fraction

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator

from minimaskgit.decoders import correction, critic, orders

HALTON = "lesson 10, 'Which order': point i at row floor(h phi_2(i)), column floor(w phi_3(i)), i = 1, 2, ..."
REMDM = (
    "lesson 10, 'Taking back': sigma, no more than (1 - after) / before, and as many more revealed as are taken back"
)
CRITIC = "lesson 10, 'A critic': binary cross-entropy over right and wrong tokens alike (Token-Critic, 2209.04439)"

LESSON = {
    "halton_order": (orders, HALTON),
    "remdm_probability": (correction, REMDM),
    "critic_loss": (critic, CRITIC),
}

sides = st.integers(1, 12)
SIGMAS = [0.0, 0.125, 0.5, 1.0]
CLOSE = {"rel": 1e-5, "abs": 1e-5}


@st.composite
def plans(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """before, after and sigma, (B,): fractions of N tokens, before <= after, the extremes among them."""
    size, count = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    known = [sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for _ in range(count)]
    before, after = torch.tensor(known).T / size
    return before, after, torch.tensor(draw(st.lists(st.sampled_from(SIGMAS), min_size=count, max_size=count)))


@st.composite
def verdicts(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """scores, and which tokens are wrong and which count: (B, N)."""
    random = generator(draw(seeds))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    scores = draw(st.sampled_from([1.0, 20.0])) * torch.randn(shape, generator=random)
    wrong, counted = (torch.rand(shape, generator=random) < draw(st.sampled_from([0.1, 0.5, 1.0])) for _ in range(2))
    return scores.mul(10).round() / 10, wrong, counted


def cross_entropy(scores: torch.Tensor, wrong: torch.Tensor) -> list[float]:
    """Of each token, in nats: -log of the probability given to the truth."""
    return [np.logaddexp(0, -s if w else s) for s, w in zip(scores.double().flatten().tolist(), wrong.flatten())]


# --- Which order ---


def cells(order: torch.Tensor, width: int) -> list[tuple[int, int]]:
    return [divmod(position, width) for position in order.tolist()]


@pytest.mark.law("halton_order")
@given(height=sides, width=sides)
def test_the_halton_order_visits_every_position_once(impl, height, width):
    order = impl.halton_order(height, width)
    assert order.dtype == torch.int64, oracles.dtype(order, torch.int64)
    assert tuple(order.shape) == (height * width,), oracles.shape(order, (height * width,))
    missing = sorted(set(range(height * width)) - set(order.tolist()))
    assert not missing, f"the positions {missing} are never visited"


@pytest.mark.law("halton_order")
@pytest.mark.parametrize(
    ("height", "width", "first"),
    [(8, 8, [(4, 2), (2, 5), (6, 0), (1, 3)]), (4, 6, [(2, 2), (1, 4), (3, 0), (0, 2), (2, 4), (1, 1), (3, 3)])],
)
def test_the_first_points_of_the_halton_order(impl, height, width, first):
    found = cells(impl.halton_order(height, width)[: len(first)], width)
    if found[0] == (0, 0):
        hint = "; the sequence begins with point 1, not with point 0"
    elif found[0] == (height // 3, width // 2):
        hint = "; rows go by base 2, columns by base 3"
    else:
        hint = ""
    assert found == first, f"the first (row, column) are {found}; expected {first}{hint}"


@pytest.mark.law("halton_order")
@given(height=sides, width=sides)
def test_the_halton_order_is_that_of_the_mirrored_digits(impl, height, width):
    def phi(i: int, base: int) -> Fraction:
        return sum((Fraction(int(d), base**k) for k, d in enumerate(np.base_repr(i, base)[::-1], 1)), Fraction(0))

    found, expected, i = cells(impl.halton_order(height, width), width), [], 0
    while len(expected) < height * width:
        i += 1
        cell = math.floor(height * phi(i, 2)), math.floor(width * phi(i, 3))
        if cell not in expected:
            expected.append(cell)
    at = next((at for at, (a, b) in enumerate(zip(found, expected)) if a != b), 0)
    hint = "; in floats, 9 * phi_3(5) is less than 7" if width % 9 == 0 else ""
    assert found == expected, f"visit {at + 1} is to {found[at]}; expected {expected[at]}{hint}"


# --- Taking back ---


@pytest.mark.law("remdm_probability")
@given(plan=plans())
def test_a_known_token_is_taken_back_with_sigma_but_never_more_often_than_the_plan_allows(impl, plan):
    taken, _ = impl.remdm_probability(*plan)
    for before, after, sigma, found in zip(*(x.tolist() for x in (*plan, taken)), strict=True):
        most = 0.0 if before == 0 else min(1.0, (1 - after) / before)
        expected, why = min(sigma, most), f"known {before:.3f} before, {after:.3f} after, sigma {sigma}"
        assert found == pytest.approx(expected, **CLOSE), f"{why}, taken back: {oracles.instead(found, expected)}"


@pytest.mark.law("remdm_probability")
@given(plan=plans())
def test_on_average_as_many_tokens_are_known_after_the_step_as_planned(impl, plan):
    taken, revealed = impl.remdm_probability(*plan)
    before, after, sigma = plan
    known = before * (1 - taken) + (1 - before) * revealed
    for given_, expected, found in zip(zip(before.tolist(), sigma.tolist()), after.tolist(), known.tolist()):
        why = "known {:.3f} before, sigma {}".format(*given_)
        assert found == pytest.approx(expected, **CLOSE), f"{why}, after: {oracles.instead(found, expected)}"


@pytest.mark.law("remdm_probability")
@given(plan=plans())
def test_what_is_taken_back_or_revealed_has_a_probability(impl, plan):
    for name, found in zip(("taken back", "revealed"), impl.remdm_probability(*plan), strict=True):
        assert found.shape == plan[0].shape, f"{name}: {oracles.shape(found, plan[0].shape)}"
        within = ((found >= -1e-5) & (found <= 1 + 1e-5)).all()
        assert within, f"{name} with probability {found.tolist()} (division by 0 where nothing is known, or all is?)"


@pytest.mark.law("remdm_probability")
@given(plan=plans())
def test_with_everything_known_nothing_is_revealed_and_without_sigma_nothing_is_taken_back(impl, plan):
    before, after, sigma = plan
    everything = torch.ones_like(before)
    _, revealed = impl.remdm_probability(everything, everything, sigma)
    assert not revealed.any(), f"all tokens are known, but revealed with probability {revealed.tolist()}"
    taken, _ = impl.remdm_probability(before, after, torch.zeros_like(sigma))
    assert not taken.any(), f"sigma is 0, but tokens are taken back with probability {taken.tolist()}"


# --- A critic ---


@pytest.mark.law("critic_loss")
@given(verdict=verdicts())
def test_the_critic_s_loss_is_the_mean_cross_entropy_of_all_tokens(impl, verdict):
    scores, wrong, _ = verdict
    found, expected = impl.critic_loss(scores, wrong), np.mean(cross_entropy(scores, wrong))
    assert found.shape == (), oracles.shape(found, ())
    inverted = found.item() == pytest.approx(np.mean(cross_entropy(scores, ~wrong)), 1e-3)
    hint = "; a high score must mean wrong, not right" if inverted else ""
    assert found.item() == pytest.approx(expected, **CLOSE), oracles.instead(found.item(), expected) + hint


@pytest.mark.law("critic_loss")
@given(verdict=verdicts())
def test_only_the_counted_tokens_matter_each_the_same_in_whatever_sample(impl, verdict):
    scores, wrong, counted = verdict
    found = impl.critic_loss(scores, wrong, counted).item()
    losses = [loss for loss, counts in zip(cross_entropy(scores, wrong), counted.flatten()) if counts]
    expected = np.mean(losses) if losses else 0.0
    assert found == pytest.approx(expected, **CLOSE), f"{len(losses)} tokens count: {oracles.instead(found, expected)}"


@pytest.mark.law("critic_loss")
@given(wrong=st.lists(st.booleans(), min_size=1, max_size=6))
def test_without_an_opinion_the_critic_pays_log_2_however_many_tokens_are_wrong(impl, wrong):
    found = impl.critic_loss(torch.zeros(1, len(wrong)), torch.tensor([wrong])).item()
    assert found == pytest.approx(math.log(2), **CLOSE), f"returned {found:.4f}; expected log 2 = {math.log(2):.4f}"


@pytest.mark.law("critic_loss")
def test_a_sure_critic_pays_nothing_if_right_and_its_score_if_wrong(impl):
    for score, wrong, expected in [(1e3, True, 0), (-1e3, False, 0), (-1e3, True, 1e3), (1e3, False, 1e3)]:
        found = impl.critic_loss(torch.tensor([[score]]), torch.tensor([[wrong]])).item()
        why = f"the score is {score:g}, the token {'wrong' if wrong else 'right'}"
        assert found == pytest.approx(expected, **CLOSE), f"{why}: {oracles.instead(found, expected)}"


@pytest.mark.law("critic_loss")
@given(verdict=verdicts())
def test_each_score_is_pulled_by_its_probability_minus_the_truth(impl, verdict):
    scores, wrong, _ = verdict
    (found,) = impl.gradients("critic_loss", scores, wrong)
    expected = (scores.sigmoid() - wrong.float()) / wrong.numel()
    assert found is not None, "no gradient arrives at the scores"
    assert found.allclose(expected, atol=1e-5), f"the gradient: {oracles.instead(found, expected)}"
