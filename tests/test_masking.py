"""Masked visual token modelling: one draw of its objective, and precision (lesson 3; paper section 3.1).

Laws of the functions that students write are in laws/test_lesson_3.py.
"""

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import canvas_sizes, codes, falling_names, normal, schedule_names, seeds
from tiny import FixedLogits, generator, tiny_transformer

from minimaskgit.masking import draw_masks, mask_counts, masked_cross_entropy, mvtm_loss, random_mask
from minimaskgit.schedules import SCHEDULES, cosine

B, N, K = 3, 7, 5  # samples, tokens and codes of the small examples


# --- How many tokens are masked ---


@pytest.mark.parametrize("name", SCHEDULES)
def test_counts_are_exact_for_hundreds_of_thousands_of_ratios(name):
    r = torch.rand(300_000, generator=generator(0))  # in single precision some of these would be one off
    exact = oracles.GAMMA[name](r.double().numpy(), 1024) * 1024
    assert (mask_counts(r, 1024, SCHEDULES[name]).numpy() == np.clip(np.ceil(exact), 1, 1024)).all()


@given(name=falling_names, num_tokens=canvas_sizes.filter(lambda n: n > 1))
def test_little_progress_masks_many_tokens_and_much_progress_few(name, num_tokens):
    first, last = mask_counts(torch.tensor([0.0, 1.0]), num_tokens, SCHEDULES[name])
    assert first >= num_tokens - 1 and last == 1


# --- The loss ---


def test_the_loss_is_taken_in_single_precision():
    logits = torch.randn(B, N, K, generator=generator(0)).bfloat16()
    mask = torch.ones(B, N, dtype=torch.bool)
    loss = masked_cross_entropy(logits, torch.zeros(B, N, dtype=torch.long), mask)
    assert loss.dtype == torch.float
    assert loss.equal(masked_cross_entropy(logits.float(), torch.zeros(B, N, dtype=torch.long), mask))


# --- One draw of the training objective ---


def objective(model, tokens, labels, schedule, smoothing=0.0, generator=None):
    masks = draw_masks(*tokens.shape, schedule, generator=generator)
    return mvtm_loss(model, tokens, labels, masks, smoothing)


@given(tokens=codes(K, 4, N), name=schedule_names, seed=seeds)
def test_the_model_sees_mask_for_hidden_tokens_and_the_other_tokens_unchanged(tokens, name, seed):
    model = FixedLogits(torch.zeros(N, K))
    objective(model, tokens, torch.zeros(4, dtype=torch.long), SCHEDULES[name], generator=generator(seed))
    (seen,) = model.seen
    hidden = seen == model.mask_id
    assert seen[~hidden].equal(tokens[~hidden])
    assert (hidden.sum(1) >= 1).all()


@given(logits=normal(N, K), tokens=codes(K, 4, N), smoothing=st.sampled_from([0.0, 0.1]), seed=seeds)
def test_the_objective_is_the_loss_of_the_hidden_tokens(logits, tokens, smoothing, seed):
    model = FixedLogits(logits)
    loss = objective(model, tokens, torch.zeros(4, dtype=torch.long), cosine, smoothing, generator(seed))
    hidden = model.seen[0] == model.mask_id
    expected = oracles.cross_entropy(logits.expand(4, N, K), tokens, hidden, smoothing)
    assert loss.item() == pytest.approx(expected, 1e-5)


def test_the_objective_trains_only_the_hidden_positions():
    model = FixedLogits(torch.randn(64, K, generator=generator(0)))
    tokens = torch.randint(K, (1, 64), generator=generator(1))
    objective(model, tokens, torch.zeros(1, dtype=torch.long), cosine, 0.1, generator(2)).backward()
    hidden = model.seen[0][0] == model.mask_id
    assert 0 < hidden.sum() < 64
    assert (model.answer.grad.abs().sum(-1) > 0).equal(hidden)


def test_every_sample_of_a_batch_has_its_own_uniformly_drawn_ratio():
    batch, num_tokens = 4000, 256
    model = FixedLogits(torch.zeros(num_tokens, 2))
    tokens = torch.zeros(batch, num_tokens, dtype=torch.long)
    labels = torch.zeros(batch, dtype=torch.long)
    objective(model, tokens, labels, SCHEDULES["linear"], generator=generator(0))
    share = (model.seen[0] == model.mask_id).double().mean(1)  # under the line 1 - r it is as uniform as r
    assert stats.kstest(share.numpy(), "uniform").pvalue > 1e-3
    assert stats.pearsonr(share[::2], share[1::2]).pvalue > 1e-3  # and samples in a batch do not share it


def test_in_training_2_over_pi_of_the_tokens_are_hidden_on_average():
    batch, num_tokens = 4000, 256
    model = FixedLogits(torch.zeros(num_tokens, 2))
    tokens, labels = torch.zeros(batch, num_tokens, dtype=torch.long), torch.zeros(batch, dtype=torch.long)
    objective(model, tokens, labels, cosine, generator=generator(0))
    share = (model.seen[0] == model.mask_id).double().mean().item()
    assert share == pytest.approx(2 / math.pi, abs=0.02)  # 0.637; the inverted mask has 0.363


def test_a_seed_repeats_the_objective_and_leaves_the_tokens_alone():
    model, tokens = tiny_transformer(), torch.randint(11, (4, 9), generator=generator(0))
    before, labels = tokens.clone(), torch.tensor([0, 1, 2, 3])
    first, again, other = (objective(model, tokens, labels, cosine, generator=generator(seed)) for seed in (5, 5, 6))
    assert first.equal(again) and not first.equal(other) and tokens.equal(before)


def test_a_masked_transformer_memorises_a_batch():
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
