"""Laws of lesson 6: what a causal model reads, drawing the next token, and the step with a cache (paper figure 2)."""

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from strategies import codes, seeds
from tiny import cache_after, generator, tiny_transformer

from minimaskgit import autoregressive, transformer

SHIFT = "lesson 6, 'What it reads: one to the right': row i reads the start and all before token i, not token i"
NEXT = "lesson 6, 'Drawing': drawn with the probabilities of softmax(logits), not the likeliest"
CACHE = "lesson 6, 'The cache': keys and values of the earlier positions stay as they are"

LESSON = {
    "shift_right": (transformer, SHIFT),
    "sample_next": (autoregressive, NEXT),
    "cached_step": (autoregressive, CACHE),
}

N, K, C = 9, 11, 3  # the tiny transformer's tokens, codes and classes
model_runs = settings(max_examples=20)


@st.composite
def rows_and_starts(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens (B, N) and start (B, 1)."""
    batch, num_tokens = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return draw(codes(K, batch, num_tokens)), K + draw(codes(C, batch, 1))


@pytest.mark.law("shift_right")
@given(drawn=rows_and_starts())
def test_what_a_causal_model_reads_is_the_start_and_all_tokens_but_the_last(impl, drawn):
    tokens, start = drawn
    shifted = impl.shift_right(tokens, start)
    expected = [first + row[:-1] for first, row in zip(start.tolist(), tokens.tolist())]
    assert shifted.shape == tokens.shape, oracles.shape(shifted, tokens.shape)
    assert shifted.dtype == tokens.dtype, oracles.dtype(shifted, tokens.dtype)
    assert shifted.tolist() == expected, f"returned {shifted.tolist()}; expected {expected}"


@pytest.mark.law("sample_next")
@given(drawn=codes(K, 4))
def test_a_code_that_is_certain_is_what_each_sample_draws(impl, drawn):
    level = 2000.0 * torch.arange(len(drawn))[:, None]  # that all logits of a sample are large says nothing
    found = impl.sample_next(level + 1000 * torch.eye(K)[drawn], generator(0))
    assert found.shape == drawn.shape, oracles.shape(found, drawn.shape)
    assert found.dtype == torch.int64, oracles.dtype(found, torch.int64)
    assert found.equal(drawn), f"returned {found.tolist()}; these are certain: {drawn.tolist()}"


@pytest.mark.law("sample_next")
def test_the_next_token_is_drawn_with_the_probabilities_of_the_softmax(impl, seed):
    logits = torch.randn(6, generator=generator(seed))
    drawn = impl.sample_next(logits.expand(20_000, 6), generator(seed + 1)).bincount(minlength=6)
    expected = 20_000 * logits.double().softmax(-1)
    assert stats.chisquare(drawn, expected).pvalue > 1e-6, f"drawn {drawn.tolist()}; expected {expected.int().tolist()}"


@pytest.mark.law("sample_next")
def test_of_64_codes_that_are_equally_likely_every_one_is_drawn(impl, seed):
    drawn = impl.sample_next(torch.zeros(2000, 64), generator(seed)).unique().tolist()
    assert drawn == list(range(64)), f"in 2000 draws of 64 codes only these came: {drawn}"


@pytest.mark.law("sample_next")
def test_the_generator_alone_decides_what_is_drawn(impl, seed):
    logits = torch.zeros(50, K)
    first, again, other = (impl.sample_next(logits, generator(s)) for s in (seed, seed, seed + 1))
    assert first.equal(again), "the same generator gave two different answers: is all randomness drawn from it?"
    assert not first.equal(other), "two generators with different seeds gave the same answer"
    assert len(first.unique()) > 1, "50 samples drew the same code"


@pytest.mark.law("cached_step")
@model_runs
@given(ids=codes(K + C, 2, N), length=st.integers(0, N - 1), pre_norm=st.booleans(), draw=seeds)
def test_a_step_with_the_cache_says_what_reading_everything_again_says(impl, ids, length, pre_norm, draw):
    model = tiny_transformer(seed=draw, causal=True, pre_norm=pre_norm)
    newest, cache = ids[:, length : length + 1], cache_after(model, ids[:, :length])
    with torch.no_grad():
        expected = model.logits(model.trunk(ids[:, : length + 1])[:, -1])
    found = impl.cached_step(model, newest, cache)
    assert found.shape == (2, K), oracles.shape(found, (2, K))
    off = (found - expected).abs().max().item()
    assert off < 1e-4, f"after {length} earlier ids the logits are off by up to {off:.3f}"


@pytest.mark.law("cached_step")
@model_runs
@given(ids=codes(K + C, 2, N), length=st.integers(0, N - 1))
def test_a_step_adds_one_position_to_the_cache(impl, ids, length):
    model = tiny_transformer(causal=True)
    cache = cache_after(model, ids[:, :length])
    impl.cached_step(model, ids[:, length : length + 1], cache)
    assert cache.length == length + 1, f"the cache held {length} ids, and now {cache.length}; expected {length + 1}"
