"""Laws of masked visual token modelling: what is hidden, and what the loss asks for (lesson 3; paper section 3.1)."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import canvas_sizes, codes, falling_names, masks, normal, ratios, schedule_names, seeds
from test_schedules import ORACLE
from tiny import FixedLogits, generator, tiny_transformer

from minimaskgit.masking import mask_counts, masked_cross_entropy, mvtm_loss, random_mask
from minimaskgit.schedules import SCHEDULES, cosine

B, N, K = 3, 7, 5  # samples, tokens and codes of the small examples


def cross_entropy_oracle(logits, targets, mask, smoothing) -> float:
    """In plain numpy: -sum_k q_k log p_k with q = (1 - s) one-hot + s / K, averaged over the masked positions."""
    logits = logits.double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    q = (1 - smoothing) * np.eye(logits.shape[-1])[targets.numpy()] + smoothing / logits.shape[-1]
    return -(q * log_p).sum(-1)[mask.numpy()].mean()


# --- How many tokens are masked ---


@given(name=schedule_names, r=ratios, num_tokens=canvas_sizes.filter(lambda n: n > 1))
def test_each_sample_masks_the_ceiling_of_gamma_n_of_its_own_ratio(name, r, num_tokens):
    counts = mask_counts(torch.tensor(r), num_tokens, SCHEDULES[name])
    exact = ORACLE[name](torch.tensor(r).double().numpy(), num_tokens) * num_tokens
    # Where gamma N is an integer but for rounding, in double precision, either neighbour will do.
    least, most = (np.clip(np.ceil(exact + error), 1, num_tokens) for error in (-1e-9, 1e-9))
    assert counts.dtype == torch.int64 and counts.shape == (len(r),)
    assert (least <= counts.numpy()).all() and (counts.numpy() <= most).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_counts_are_exact_for_hundreds_of_thousands_of_ratios(name):
    r = torch.rand(300_000, generator=generator(0))  # in single precision some of these would be one off
    exact = ORACLE[name](r.double().numpy(), 1024) * 1024
    assert (mask_counts(r, 1024, SCHEDULES[name]).numpy() == np.clip(np.ceil(exact), 1, 1024)).all()


@given(name=schedule_names, r=ratios, num_tokens=canvas_sizes)
def test_at_least_one_token_is_masked_and_at_most_all(name, r, num_tokens):
    counts = mask_counts(torch.tensor(r), num_tokens, SCHEDULES[name])
    assert (counts >= 1).all() and (counts <= num_tokens).all()


@given(name=falling_names, num_tokens=canvas_sizes.filter(lambda n: n > 1))
def test_little_progress_masks_much_and_much_progress_little(name, num_tokens):
    first, last = mask_counts(torch.tensor([0.0, 1.0]), num_tokens, SCHEDULES[name])
    assert first >= num_tokens - 1 and last == 1


def test_under_the_cosine_2_over_pi_of_the_tokens_are_masked_on_average():
    r = (torch.arange(10_000) + 0.5) / 10_000
    fraction = (mask_counts(r, 256, cosine) / 256).mean().item()
    assert fraction == pytest.approx(2 / math.pi, abs=1 / 256)  # 0.637; the inverted mask has 0.363


# --- Which tokens are masked ---


@given(counts=st.lists(st.integers(0, 20), min_size=1, max_size=6), extra=st.integers(0, 5), seed=seeds)
def test_a_random_mask_has_exactly_the_asked_count_in_every_row(counts, extra, seed):
    mask = random_mask(torch.tensor(counts), max(counts) + extra, generator(seed))
    assert mask.dtype == torch.bool and mask.shape == (len(counts), max(counts) + extra)
    assert mask.sum(1).tolist() == counts


def test_every_choice_of_positions_is_equally_likely():
    drawn = random_mask(torch.full((20_000,), 2), 5, generator(0))
    choices = [drawn[:, [i, j]].all(1).sum().item() for i, j in itertools.combinations(range(5), 2)]
    assert sum(choices) == 20_000
    assert stats.chisquare(choices).pvalue > 1e-3


@pytest.mark.parametrize("count", [1, 40, 63])
def test_every_position_is_masked_equally_often(count):
    samples = 4000
    hits = random_mask(torch.full((samples,), count), 64, generator(1)).sum(0).double()
    p = count / 64
    assert ((hits - samples * p) / math.sqrt(samples * p * (1 - p))).abs().max() < 4.5  # standard deviations


def test_samples_are_masked_differently_and_a_seed_repeats_them():
    counts = torch.full((8,), 10)
    mask = random_mask(counts, 30, generator(0))
    assert len(mask.unique(dim=0)) == 8
    assert mask.equal(random_mask(counts, 30, generator(0)))
    assert not mask.equal(random_mask(counts, 30, generator(1)))


# --- The loss ---


@given(logits=normal(B, N, K), targets=codes(K, B, N), mask=masks(B, N), smoothing=st.sampled_from([0.0, 0.1, 0.9]))
def test_the_loss_is_the_mean_negative_log_likelihood_of_the_masked_tokens(logits, targets, mask, smoothing):
    loss = masked_cross_entropy(logits, targets, mask, smoothing)
    assert loss.shape == () and loss.item() == pytest.approx(
        cross_entropy_oracle(logits, targets, mask, smoothing), 1e-5
    )


@given(logits=normal(B, N, K), targets=codes(K, B, N), mask=masks(B, N), other=seeds)
def test_the_loss_knows_nothing_of_the_tokens_that_were_shown(logits, targets, mask, other):
    noise = 9 * torch.randn(logits.shape, generator=generator(other))
    changed = torch.where(mask[..., None], logits, noise)
    wrong = torch.where(mask, targets, (targets + 1) % K)
    assert masked_cross_entropy(changed, wrong, mask).equal(masked_cross_entropy(logits, targets, mask))


@given(logits=normal(B, N, K), targets=codes(K, B, N), mask=masks(B, N))
def test_the_loss_teaches_every_masked_position_and_no_other(logits, targets, mask):
    logits.requires_grad_()
    masked_cross_entropy(logits, targets, mask, 0.1).backward()
    assert (logits.grad.abs().sum(-1) > 0).equal(mask)


@given(targets=codes(K, B, N), mask=masks(B, N), smoothing=st.floats(0, 0.9))
def test_who_guesses_blindly_pays_the_logarithm_of_the_number_of_codes(targets, mask, smoothing):
    loss = masked_cross_entropy(torch.zeros(B, N, K), targets, mask, smoothing)
    assert loss.item() == pytest.approx(math.log(K), 1e-5)


def test_with_label_smoothing_certainty_does_not_pay():
    targets = torch.arange(K)[None]
    sure, modest = (scale * torch.eye(K)[None] for scale in (50.0, 4.0))
    mask = torch.ones(1, K, dtype=torch.bool)
    assert masked_cross_entropy(sure, targets, mask) < masked_cross_entropy(modest, targets, mask)
    assert masked_cross_entropy(sure, targets, mask, 0.1) > masked_cross_entropy(modest, targets, mask, 0.1)


def test_the_loss_is_taken_in_single_precision():
    logits = torch.randn(B, N, K, generator=generator(0)).bfloat16()
    mask = torch.ones(B, N, dtype=torch.bool)
    loss = masked_cross_entropy(logits, torch.zeros(B, N, dtype=torch.long), mask)
    assert loss.dtype == torch.float
    assert loss.equal(masked_cross_entropy(logits.float(), torch.zeros(B, N, dtype=torch.long), mask))


# --- One draw of the training objective ---


@given(tokens=codes(K, 4, N), name=schedule_names, seed=seeds)
def test_the_model_sees_mask_where_a_token_is_hidden_and_the_token_elsewhere(tokens, name, seed):
    model = FixedLogits(torch.zeros(N, K))
    mvtm_loss(model, tokens, torch.zeros(4, dtype=torch.long), SCHEDULES[name], generator=generator(seed))
    (seen,) = model.seen
    hidden = seen == model.mask_id
    assert seen[~hidden].equal(tokens[~hidden])
    assert (hidden.sum(1) >= 1).all()


@given(logits=normal(N, K), tokens=codes(K, 4, N), smoothing=st.sampled_from([0.0, 0.1]), seed=seeds)
def test_the_objective_is_the_loss_of_the_hidden_tokens(logits, tokens, smoothing, seed):
    model = FixedLogits(logits)
    loss = mvtm_loss(model, tokens, torch.zeros(4, dtype=torch.long), cosine, smoothing, generator(seed))
    hidden = model.seen[0] == model.mask_id
    expected = cross_entropy_oracle(logits.expand(4, N, K), tokens, hidden, smoothing)
    assert loss.item() == pytest.approx(expected, 1e-5)


def test_the_objective_teaches_the_hidden_positions_only():
    model = FixedLogits(torch.randn(64, K, generator=generator(0)))
    tokens = torch.randint(K, (1, 64), generator=generator(1))
    mvtm_loss(model, tokens, torch.zeros(1, dtype=torch.long), cosine, 0.1, generator(2)).backward()
    hidden = model.seen[0][0] == model.mask_id
    assert 0 < hidden.sum() < 64
    assert (model.answer.grad.abs().sum(-1) > 0).equal(hidden)


def test_every_sample_of_a_batch_has_a_ratio_of_its_own_drawn_uniformly():
    batch, num_tokens = 4000, 256
    model = FixedLogits(torch.zeros(num_tokens, 2))
    tokens = torch.zeros(batch, num_tokens, dtype=torch.long)
    labels = torch.zeros(batch, dtype=torch.long)
    mvtm_loss(model, tokens, labels, SCHEDULES["linear"], generator=generator(0))
    share = (model.seen[0] == model.mask_id).double().mean(1)  # under the line 1 - r it is as uniform as r
    assert stats.kstest(share.numpy(), "uniform").pvalue > 1e-3
    assert stats.pearsonr(share[::2], share[1::2]).pvalue > 1e-3  # and neighbours do not share it


def test_in_training_2_over_pi_of_the_tokens_are_hidden_on_average():
    batch, num_tokens = 4000, 256
    model = FixedLogits(torch.zeros(num_tokens, 2))
    tokens, labels = torch.zeros(batch, num_tokens, dtype=torch.long), torch.zeros(batch, dtype=torch.long)
    mvtm_loss(model, tokens, labels, cosine, generator=generator(0))
    share = (model.seen[0] == model.mask_id).double().mean().item()
    assert share == pytest.approx(2 / math.pi, abs=0.02)  # 0.637; the inverted mask has 0.363


def test_a_seed_repeats_the_objective_and_leaves_the_tokens_alone():
    model, tokens = tiny_transformer(), torch.randint(11, (4, 9), generator=generator(0))
    before, labels = tokens.clone(), torch.tensor([0, 1, 2, 3])
    first, again, other = (mvtm_loss(model, tokens, labels, cosine, generator=generator(seed)) for seed in (5, 5, 6))
    assert first.equal(again) and not first.equal(other) and tokens.equal(before)


def test_a_masked_transformer_learns_a_batch_by_heart():
    torch.manual_seed(0)
    model = tiny_transformer(width=32).train()
    tokens, labels = torch.randint(11, (3, 9), generator=generator(0)), torch.tensor([0, 1, 2])
    mask = random_mask(torch.tensor([5, 7, 9]), 9, generator(1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        loss = masked_cross_entropy(model(tokens.masked_fill(mask, model.mask_id), labels), tokens, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
