"""All hypothesis strategies for the laws.

Tensors are drawn by their seed: any random tensor will do, and a seed is easy to read and to shrink.
"""

import torch
from hypothesis import strategies as st
from tiny import generator
from torch import Tensor

from minimaskgit.schedules import SCHEDULES

seeds = st.integers(0, 2**32 - 1)
fractions = st.floats(0, 1)  # r, progress
ratios = st.lists(fractions, min_size=1, max_size=8)  # r of each sample of a batch
canvas_sizes = st.integers(1, 300)  # N
schedule_names = st.sampled_from(sorted(SCHEDULES))
falling_names = st.sampled_from(sorted(set(SCHEDULES) - {"bert"}))


@st.composite
def normal(draw: st.DrawFn, *shape: int) -> Tensor:
    """Standard normal tensors of the given shape."""
    return torch.randn(shape, generator=generator(draw(seeds)))


@st.composite
def codes(draw: st.DrawFn, num_codes: int, *shape: int) -> Tensor:
    """Tensors of codes in 0..K-1."""
    return torch.randint(num_codes, shape, generator=generator(draw(seeds)))


@st.composite
def masks(draw: st.DrawFn, batch: int, num_tokens: int) -> Tensor:
    """Bool (B, N) with one or more True per sample."""
    counts = draw(st.lists(st.integers(1, num_tokens), min_size=batch, max_size=batch))
    return _scattered(counts, num_tokens, draw(seeds))


@st.composite
def canvases(draw: st.DrawFn, num_codes: int, num_tokens: int, mask_id: int, max_batch: int = 4) -> Tensor:
    """Tokens (B, N); each sample has its own known region, from nothing to everything."""
    counts = draw(st.lists(st.integers(0, num_tokens), min_size=1, max_size=max_batch))
    seed = draw(seeds)
    tokens = torch.randint(num_codes, (len(counts), num_tokens), generator=generator(seed + 1))
    return tokens.masked_fill(_scattered(counts, num_tokens, seed), mask_id)


def _scattered(counts: list[int], num_tokens: int, seed: int) -> Tensor:
    order = torch.rand(len(counts), num_tokens, generator=generator(seed)).argsort(1).argsort(1)
    return order < torch.tensor(counts)[:, None]


# --- Small tensors, for the laws whose failures students read ---


@st.composite
def small(draw: st.DrawFn, *sides: int) -> Tensor:
    """Normal tensors (..., D), rounded to one digit; each side is drawn from 1 (the last from 2) to the given one."""
    shape = [draw(st.integers(1, side)) for side in sides[:-1]] + [draw(st.integers(2, sides[-1]))]
    return _rounded(shape, draw(seeds))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """logits (B, N, K), targets (B, N) in 0..K-1 and a mask (B, N) with at least one True per sample."""
    logits = draw(small(3, 6, 5))
    batch, num_tokens, num_codes = logits.shape
    return logits, draw(codes(num_codes, batch, num_tokens)), draw(masks(batch, num_tokens))


@st.composite
def like(draw: st.DrawFn, x: Tensor) -> Tensor:
    """Normal tensors, rounded to one digit, with the shape of another tensor."""
    return _rounded(x.shape, draw(seeds))


def _rounded(shape: tuple[int, ...], seed: int) -> Tensor:
    return (torch.randn(*shape, generator=generator(seed)) * 10).round() / 10
