"""The autoregressive baseline: one token per pass, the same with or without cache (lesson 6; paper figure 2).

Laws of the functions that students write are in laws/test_lesson_6.py.
"""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import codes, seeds
from tiny import generator, tiny_transformer

from minimaskgit import autoregressive
from minimaskgit.autoregressive import generate, next_token_loss, raster_steps, sample_next

N, K, C = 9, 11, 3  # the tiny transformer's tokens, codes and classes
MODEL = tiny_transformer(causal=True)

model_runs = settings(max_examples=20)


def logits_while_generating(model, labels: torch.Tensor, cache: bool, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Generated tokens (B, N), and the logits (B, N, K) that they were drawn from."""
    seen = []

    def listen(logits, generator=None):
        seen.append(logits)
        return sample_next(logits, generator)

    with patch.object(autoregressive, "sample_next", listen):
        tokens = generate(model, labels, cache, generator(seed))
    return tokens, torch.stack(seen, 1)


@model_runs
@given(tokens=codes(K, 3, N), smoothing=st.sampled_from([0.0, 0.1]))
def test_the_loss_is_the_mean_negative_log_likelihood_given_earlier_tokens(tokens, smoothing):
    labels = torch.tensor([0, 2, 3])
    z = MODEL(tokens, labels).detach().double().numpy()
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    q = (1 - smoothing) * np.eye(K)[tokens.numpy()] + smoothing / K
    loss = next_token_loss(MODEL, tokens, labels, smoothing)
    assert loss.item() == pytest.approx(-(q * log_p).sum(-1).mean(), 1e-4)


@model_runs
@given(seed=seeds, labels=st.lists(st.integers(0, C), min_size=1, max_size=4), pre_norm=st.booleans())
def test_with_and_without_cache_the_same_seed_gives_the_same_tokens(seed, labels, pre_norm):
    model, labels = tiny_transformer(causal=True, pre_norm=pre_norm), torch.tensor(labels)
    cached, cached_logits = logits_while_generating(model, labels, True, seed)
    plain, plain_logits = logits_while_generating(model, labels, False, seed)
    assert cached.equal(plain)
    assert cached_logits.allclose(plain_logits, atol=1e-4)


@pytest.mark.parametrize("cache", [False, True])
@model_runs
@given(seed=seeds)
def test_every_token_is_drawn_from_the_distribution_that_training_uses_for_its_position(cache, seed):
    labels = torch.tensor([0, 1, 3])
    tokens, logits = logits_while_generating(MODEL, labels, cache, seed)
    assert logits.allclose(MODEL(tokens, labels), atol=1e-4)


@pytest.mark.parametrize("cache", [False, True])
def test_the_prefix_grows_by_one_code_per_step_and_never_changes(cache):
    *prefixes, tokens = raster_steps(MODEL, torch.arange(4), cache, generator(0))
    assert len(prefixes) == N - 1 and tokens.shape == (4, N)
    for length, prefix in enumerate(prefixes, 1):
        assert prefix.equal(tokens[:, :length])
    assert ((tokens >= 0) & (tokens < K)).all()


@pytest.mark.parametrize("cache", [False, True])
def test_mask_and_class_ids_are_never_generated_even_with_the_highest_logits(cache):
    model = tiny_transformer(causal=True)
    with torch.no_grad():
        model.bias[K:] = 1e6
    assert (generate(model, torch.arange(4), cache, generator(0)) < K).all()


@pytest.mark.parametrize(("cache", "lengths"), [(False, list(range(1, N + 1))), (True, [1] * N)])
def test_there_are_n_passes_and_with_a_cache_each_reads_one_position(cache, lengths):
    with patch.object(MODEL, "trunk", wraps=MODEL.trunk) as passes:
        generate(MODEL, torch.arange(2), cache)
    assert [call.args[0].shape[1] for call in passes.call_args_list] == lengths


@pytest.mark.parametrize("cache", [False, True])
def test_under_autocast_the_cache_works_as_well(cache):
    with torch.autocast("cpu", torch.bfloat16):
        tokens, logits = logits_while_generating(MODEL, torch.arange(4), cache, 0)
        assert logits.allclose(MODEL(tokens, torch.arange(4)), atol=0.1)


def test_a_seed_repeats_the_tokens_and_leaves_the_global_generator_alone():
    state, labels = torch.get_rng_state(), torch.zeros(4, dtype=torch.long)
    first, again, other = (generate(MODEL, labels, generator=generator(seed)) for seed in (0, 0, 1))
    assert first.equal(again) and not first.equal(other) and len(first.unique(dim=0)) > 1
    assert torch.get_rng_state().equal(state)


def test_generating_computes_no_gradients():
    _, logits = logits_while_generating(MODEL, torch.arange(2), True, 0)
    assert not logits.requires_grad


def test_a_causal_transformer_memorises_one_picture_per_class_and_generates_it():
    model = tiny_transformer(causal=True, width=32).train()
    tokens, labels = torch.randint(K, (3, N), generator=generator(0)), torch.arange(3)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        loss = next_token_loss(model, tokens, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02
    assert generate(model.eval(), labels, generator=generator(1)).equal(tokens)
