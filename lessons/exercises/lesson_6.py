"""Lesson 6, exercises: the autoregressive rival (notebook 6_autoregressive_rival).

Replace each `raise NotImplementedError`, then `make check-6`. Never write into an argument; work on a copy.
B samples, N tokens, K codes.
"""

import torch
from torch import Tensor

from minimaskgit.transformer import KVCache, Transformer


def shift_right(tokens: Tensor, start: Tensor) -> Tensor:
    """What a causal model reads to predict `tokens`: (B, N) and (B, 1) to [start, t1, ..., tN-1], (B, N).

    >>> shift_right(torch.tensor([[4, 5, 6]]), torch.tensor([[9]]))
    tensor([[9, 4, 5]])
    """
    raise NotImplementedError


def sample_next(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw the next token of each sample from softmax(logits): (B, K) to int64 (B,).

    >>> sample_next(torch.tensor([[0.0, 100.0, 0.0], [100.0, 0.0, 0.0]]))
    tensor([1, 0])
    """
    raise NotImplementedError


def cached_step(model: Transformer, newest: Tensor, cache: KVCache) -> Tensor:
    """Logits of the next token, (B, K), from the newest id (B, 1) and the cache of those before, which grows by it.

    model.trunk(ids, cache) reads ids (B, S) after those in the cache, adds them to it, and returns (B, S, D);
    model.logits turns (B, D) into logits over the codes.

    >>> options = {"num_codes": 5, "num_classes": 2, "num_tokens": 4, "width": 8, "depth": 1, "heads": 1}
    >>> model = Transformer(**options, mlp_width=8, causal=True).eval()
    >>> cache = KVCache(model, batch=1)
    >>> cached_step(model, torch.tensor([[model.num_codes + 1]]), cache).shape, cache.length  # first, the class
    (torch.Size([1, 5]), 1)
    """
    raise NotImplementedError
