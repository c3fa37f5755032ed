"""Laws of lesson 3: mask schedules gamma(r), who is masked, and the masked loss (paper sections 3.1 and 3.3)."""

import itertools
import math
from functools import partial

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sizes import assert_no_size_is_written_in
from strategies import codes, fractions, masks, predictions, seeds
from tiny import generator

from minimaskgit import masking, schedules
from minimaskgit.schedules import SCHEDULES

GAMMA = "lesson 3, 'How much to hide': gamma falls from 1 to 0, and its shape says when (paper section 3.3)"
COUNT = "lesson 3, 'A ratio for every picture': n = ceil(gamma(r) N), each sample with its own r (paper section 3.1)"
CHOOSE = "lesson 3, 'Which tokens': sort random numbers; ranks are a random permutation (paper section 3.1)"
LOSS = "lesson 3, 'What the model is asked': the mean of -log p over the masked tokens (paper equation 1)"

LESSON = {
    "cosine": (schedules, GAMMA),
    "linear": (schedules, GAMMA),
    "square": (schedules, GAMMA),
    "cubic": (schedules, GAMMA),
    "exponential": (schedules, GAMMA),
    "square_root": (schedules, GAMMA),
    "logarithmic": (schedules, GAMMA),
    "mask_counts": (masking, COUNT),
    "random_mask": (masking, CHOOSE),
    "masked_cross_entropy": (masking, LOSS),
}
CONCAVE = ["cosine", "square", "cubic", "exponential"]
CONVEX = ["square_root", "logarithmic"]

each_schedule = pytest.mark.parametrize("name", [*CONCAVE, "linear", *CONVEX])
schedule_names = st.sampled_from(sorted(SCHEDULES))
canvas_sizes = st.integers(2, 300)  # N
ratios = st.lists(fractions, min_size=1, max_size=8)  # r of each sample


def gamma(impl, name: str, r: float | list[float], num_tokens: int = 256) -> torch.Tensor:
    return getattr(impl, name)(torch.tensor(r, dtype=torch.double), num_tokens)


# --- All ---


@pytest.mark.parametrize("name", list(LESSON))
def test_no_size_is_written_into_the_function(impl, name):
    sizes = {f"N = {n}": partial(right_with, impl, name, n) for n in (2, 5, 64, 256)}
    assert_no_size_is_written_in(sizes)


def right_with(impl, name: str, num_tokens: int) -> bool:
    """Whether an answer is right for N tokens, of as many codes."""
    r = torch.tensor([0.25, 0.4, 0.8], dtype=torch.double)  # above 1/N, where the logarithm is not clipped
    if name in SCHEDULES:
        return np.allclose(getattr(impl, name)(r, num_tokens).numpy(), oracles.GAMMA[name](r.numpy(), num_tokens))
    if name == "mask_counts":
        counts = impl.mask_counts(r, num_tokens, SCHEDULES["linear"])
        return counts.tolist() == np.ceil((1 - r.numpy()) * num_tokens - 1e-6).astype(int).tolist()
    counts = torch.tensor([1, num_tokens // 2, num_tokens])
    if name == "random_mask":
        mask = impl.random_mask(counts, num_tokens, generator(0))
        return mask.shape == (3, num_tokens) and mask.sum(1).equal(counts)
    logits = torch.randn(3, num_tokens, num_tokens, generator=generator(0))
    targets, mask = torch.arange(num_tokens).expand(3, -1), torch.arange(num_tokens) < counts[:, None]
    expected = oracles.cross_entropy(logits, targets, mask, 0.1)
    return impl.masked_cross_entropy(logits, targets, mask, 0.1).item() == pytest.approx(expected, 1e-4)


# --- Schedules ---


@each_schedule
@given(r=fractions, num_tokens=canvas_sizes)
def test_a_schedule_is_the_formula_of_the_paper(impl, name, r, num_tokens):
    found, expected = gamma(impl, name, r, num_tokens).item(), oracles.GAMMA[name](r, num_tokens)
    assert found == pytest.approx(expected, abs=1e-6), oracles.instead(found, expected)


@each_schedule
@given(r=ratios, num_tokens=canvas_sizes, double=st.booleans())
def test_a_schedule_gives_a_number_between_0_and_1_for_every_r_of_a_batch(impl, name, r, num_tokens, double):
    r = torch.tensor(r, dtype=torch.double if double else torch.float)
    value = getattr(impl, name)(r, num_tokens)
    assert value.shape == r.shape, oracles.shape(value, r.shape)
    within = ((value >= -1e-6) & (value <= 1 + 1e-6)).all()  # false for NaN too
    assert within, f"returned {value.tolist()}; expected numbers from 0 to 1"


@each_schedule
@given(ends=st.tuples(fractions, fractions), num_tokens=canvas_sizes)
def test_a_schedule_never_rises(impl, name, ends, num_tokens):
    before, after = gamma(impl, name, sorted(ends), num_tokens)
    assert after <= before + 1e-9, f"gamma rises from {before:.4f} to {after:.4f}"


@each_schedule
@given(num_tokens=canvas_sizes)
def test_a_schedule_begins_with_everything_masked_and_ends_with_nothing(impl, name, num_tokens):
    # The exponential starts at 1 - 1/N: all but one token.
    start = 1 - 1 / num_tokens if name == "exponential" else 1
    for r, expected in ((0.0, start), (1.0, 0)):
        found = gamma(impl, name, r, num_tokens).item()
        assert found == pytest.approx(expected, abs=1e-6), f"at r = {r:.0f}: returned {found:.4f}; expected {expected}"


@pytest.mark.parametrize("name", CONCAVE)
@given(ends=st.tuples(fractions, fractions))
def test_a_concave_schedule_lies_above_its_chords(impl, name, ends):
    left, right = gamma(impl, name, list(ends))
    middle, chord = gamma(impl, name, sum(ends) / 2), (left + right) / 2
    assert middle >= chord - 1e-9, f"gamma is {middle:.4f} in the middle, the chord {chord:.4f}"


@pytest.mark.parametrize("name", CONVEX)
@given(ends=st.tuples(st.floats(1 / 256, 1), st.floats(1 / 256, 1)))  # below 1/N the logarithm is clipped to 1
def test_a_convex_schedule_lies_below_its_chords(impl, name, ends):
    left, right = gamma(impl, name, list(ends))
    middle, chord = gamma(impl, name, sum(ends) / 2), (left + right) / 2
    assert middle <= chord + 1e-9, f"gamma is {middle:.4f} in the middle, the chord {chord:.4f}"


@pytest.mark.law("cosine")
def test_under_the_cosine_2_over_pi_of_an_image_is_masked_on_average(impl):
    r = (torch.arange(10_000).double() + 0.5) / 10_000
    mean = impl.cosine(r, 256).mean().item()
    assert mean == pytest.approx(2 / math.pi, abs=1e-6), f"the mean of gamma is {mean:.3f}, not 2 / pi = 0.637"


@each_schedule
@given(samples=st.lists(st.tuples(fractions, canvas_sizes), min_size=1, max_size=5))
def test_samples_of_different_sizes_may_share_a_batch(impl, name, samples):
    r, sizes = zip(*samples)
    together = getattr(impl, name)(torch.tensor(r, dtype=torch.double), torch.tensor(sizes))
    alone = [gamma(impl, name, one, size).item() for one, size in samples]
    said = f"{together.tolist()} together, but {alone} one by one: num_tokens may be a tensor of r's shape"
    assert together.tolist() == pytest.approx(alone, abs=1e-6), said


# --- How many tokens are masked ---


@pytest.mark.law("mask_counts")
@given(name=schedule_names, r=ratios, num_tokens=canvas_sizes)
def test_each_sample_masks_the_ceiling_of_gamma_n_of_its_own_ratio(impl, name, r, num_tokens):
    counts = impl.mask_counts(torch.tensor(r), num_tokens, SCHEDULES[name])
    exact = oracles.GAMMA[name](torch.tensor(r).double().numpy(), num_tokens) * num_tokens
    assert counts.shape == (len(r),), oracles.shape(counts, (len(r),))
    assert counts.dtype == torch.int64, oracles.dtype(counts, torch.int64)
    # Where gamma N is an integer but for rounding, either neighbour will do.
    least, most = (np.clip(np.ceil(exact + error), 1, num_tokens) for error in (-1e-9, 1e-9))
    fits = (least <= counts.numpy()) & (counts.numpy() <= most)
    assert fits.all(), f"returned {counts.tolist()}; gamma N is {exact.round(3).tolist()}"


@pytest.mark.law("mask_counts")
@given(name=schedule_names, r=ratios, num_tokens=canvas_sizes)
def test_at_least_one_token_is_masked_and_at_most_all(impl, name, r, num_tokens):
    counts = impl.mask_counts(torch.tensor([*r, 0.0, 1.0]), num_tokens, SCHEDULES[name])
    assert (counts >= 1).all() and (counts <= num_tokens).all(), f"{counts.tolist()} of {num_tokens} masked"


@pytest.mark.law("mask_counts")
def test_where_gamma_n_is_a_whole_number_just_so_many_are_masked(impl):
    found = impl.mask_counts(torch.tensor([0.0, 0.25, 0.5, 0.875]), 8, schedules.linear).tolist()
    assert found == [8, 6, 4, 1], f"returned {found}; expected [8, 6, 4, 1]"


@pytest.mark.law("mask_counts")
def test_gamma_n_is_computed_in_double_precision(impl):
    r = torch.tensor([0.01, 0.64, 0.81])  # as float32, a little less than 0.01 and 0.64, and a little more than 0.81
    found = impl.mask_counts(r, 10, schedules.square_root).tolist()
    said = "gamma N is 9.00000001, 2.00000009 and 0.99999999; in float32 it is 9, 2 and 1.0000001"
    assert found == [10, 3, 1], f"returned {found}; expected [10, 3, 1] ({said})"


@pytest.mark.law("mask_counts")
def test_under_the_cosine_2_over_pi_of_the_tokens_are_masked_on_average(impl):
    r = (torch.arange(1000) + 0.5) / 1000
    fraction = (impl.mask_counts(r, 256, schedules.cosine) / 256).mean().item()
    assert fraction == pytest.approx(2 / math.pi, abs=1 / 256), f"{fraction:.3f} masked on average, not 0.637"


# --- Which tokens are masked ---


@pytest.mark.law("random_mask")
@given(counts=st.lists(st.integers(0, 20), min_size=1, max_size=6), extra=st.integers(0, 5), draw=seeds)
def test_a_random_mask_has_exactly_the_asked_count_in_every_row(impl, counts, extra, draw):
    num_tokens = max(1, *counts) + extra
    mask = impl.random_mask(torch.tensor(counts), num_tokens, generator(draw))
    assert mask.dtype == torch.bool, oracles.dtype(mask, torch.bool)
    assert mask.shape == (len(counts), num_tokens), oracles.shape(mask, (len(counts), num_tokens))
    assert mask.sum(1).tolist() == counts, f"{mask.sum(1).tolist()} are True in each row; expected {counts}"


@pytest.mark.law("random_mask")
def test_every_choice_of_positions_is_equally_likely(impl, seed):
    drawn = impl.random_mask(torch.full((20_000,), 2), 5, generator(seed))
    choices = [drawn[:, [i, j]].all(1).sum().item() for i, j in itertools.combinations(range(5), 2)]
    assert sum(choices) == 20_000, "not every row has exactly 2 masked positions"
    same = "; all samples have the same mask" if max(choices) == 20_000 else ""
    assert stats.chisquare(choices).pvalue > 1e-6, f"the 10 pairs of 5 positions came {choices} times{same}"


@pytest.mark.law("random_mask")
@pytest.mark.parametrize("count", [1, 40, 63])
def test_every_position_is_masked_equally_often(impl, seed, count):
    samples, p = 4000, count / 64
    hits = impl.random_mask(torch.full((samples,), count), 64, generator(seed)).sum(0).double()
    deviations = (hits - samples * p) / math.sqrt(samples * p * (1 - p))
    assert deviations.abs().max() < 6, f"position {deviations.abs().argmax()} is off by many standard deviations"


@pytest.mark.law("random_mask")
def test_samples_are_masked_differently_and_a_seed_repeats_them(impl, seed):
    counts = torch.full((8,), 10)
    mask = impl.random_mask(counts, 30, generator(seed))
    assert len(mask.unique(dim=0)) == 8, "two samples have the same mask"
    assert mask.equal(impl.random_mask(counts, 30, generator(seed))), "the generator is not used"
    assert not mask.equal(impl.random_mask(counts, 30, generator(seed + 1))), "the generator is not used"


# --- The loss ---


@pytest.mark.law("masked_cross_entropy")
@given(drawn=predictions(), smoothing=st.sampled_from([0.0, 0.1, 0.9]))
def test_the_loss_is_the_mean_negative_log_likelihood_of_the_masked_tokens(impl, drawn, smoothing):
    expected = oracles.cross_entropy(*drawn, smoothing)
    loss = impl.masked_cross_entropy(*drawn, **({"label_smoothing": smoothing} if smoothing else {}))
    assert loss.shape == (), oracles.shape(loss, ())
    assert loss.item() == pytest.approx(expected, 1e-4), oracles.instead(loss.item(), expected)


@pytest.mark.law("masked_cross_entropy")
@given(drawn=predictions(), other=seeds)
def test_the_loss_knows_nothing_of_the_tokens_that_were_shown(impl, drawn, other):
    logits, targets, mask = drawn
    noise = 9 * torch.randn(logits.shape, generator=generator(other))
    changed = torch.where(mask[..., None], logits, noise)
    wrong = torch.where(mask, targets, (targets + 1) % logits.shape[-1])
    before, after = impl.masked_cross_entropy(*drawn, 0.0), impl.masked_cross_entropy(changed, wrong, mask, 0.0)
    assert after.item() == pytest.approx(before.item(), 1e-5), "only shown tokens changed, and so did the loss"


@pytest.mark.law("masked_cross_entropy")
@given(drawn=predictions())
def test_the_loss_teaches_every_masked_position_and_no_other(impl, drawn):
    logits, targets, mask = drawn
    (gradient,) = impl.gradients("masked_cross_entropy", logits, targets, mask, 0.1)
    assert gradient is not None, "no gradient reaches the logits"
    taught = gradient.abs().sum(-1) > 0
    expected = torch.where(mask, oracle_gradient(logits, targets), 0)
    assert taught.equal(expected > 1e-7), f"positions with a gradient: {taught.tolist()}; masked: {mask.tolist()}"


def oracle_gradient(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.1) -> torch.Tensor:
    """Size of the gradient of each position's own loss, sum_k |p_k - q_k|: (B, N)."""
    num_codes = logits.shape[-1]
    q = (1 - smoothing) * torch.eye(num_codes)[targets] + smoothing / num_codes
    return (logits.detach().softmax(-1) - q).abs().sum(-1)


@pytest.mark.law("masked_cross_entropy")
@given(targets=codes(5, 2, 3), mask=masks(2, 3), smoothing=st.floats(0, 0.9))
def test_who_guesses_blindly_pays_the_logarithm_of_the_number_of_codes(impl, targets, mask, smoothing):
    loss = impl.masked_cross_entropy(torch.zeros(2, 3, 5), targets, mask, smoothing).item()
    assert loss == pytest.approx(math.log(5), 1e-5), f"returned {loss:.4f}; expected log 5 = {math.log(5):.4f}"


@pytest.mark.law("masked_cross_entropy")
def test_with_label_smoothing_certainty_does_not_pay(impl):
    targets, mask = torch.arange(5)[None], torch.ones(1, 5, dtype=torch.bool)
    sure, modest = (scale * torch.eye(5)[None] for scale in (50.0, 4.0))
    plain, smoothed = ([impl.masked_cross_entropy(x, targets, mask, s) for x in (sure, modest)] for s in (0.0, 0.1))
    assert plain[0] < plain[1], "without smoothing, being surer of the right code should cost less"
    assert smoothed[0] > smoothed[1], "with smoothing, being all too sure should cost more"
