"""The autoregressive baseline: the same backbone, one token per pass, in raster order (lesson 6; paper figure 2).

    [class] ──> t1      [class] t1 ──> t2      [class] t1 t2 ──> t3   ...   N passes for N tokens

Without a cache every pass reads the whole sequence again. With a cache it reads only the newest token and reuses the
keys and values of the earlier ones. Both generate the same tokens.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from minimaskgit.decoding import sample_categorical
from minimaskgit.transformer import KVCache, Transformer


def sample_next(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw the next token of each sample: logits (B, K) to int64 (B,)."""
    return sample_categorical(logits, generator)


def next_token_loss(model: Transformer, tokens: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood of each token given the class and earlier tokens: (B, N), (B,) to a scalar."""
    logits = model(tokens, labels).float()  # (B, N, K)
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), label_smoothing=label_smoothing)


def cached_step(model: Transformer, newest: Tensor, cache: KVCache) -> Tensor:
    """Read the newest id (B, 1), add it to the cache, and return the logits of the next token, (B, K)."""
    return model.logits(model.trunk(newest, cache)[:, -1])


@torch.no_grad()
def raster_steps(
    model: Transformer, labels: Tensor, cache: bool = True, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Generate token by token, yielding the prefix (B, 1), (B, 2), ... (B, N) after each; labels (B,) in 0..C."""
    ids = (model.num_codes + labels)[:, None]  # (B, 1 + tokens so far)
    memory = KVCache(model, len(labels)) if cache else None
    for _ in range(model.num_tokens):
        logits = cached_step(model, ids[:, -1:], memory) if cache else model.logits(model.trunk(ids)[:, -1])  # (B, K)
        ids = torch.cat([ids, sample_next(logits, generator)[:, None]], dim=1)
        yield ids[:, 1:]


def generate(
    model: Transformer, labels: Tensor, cache: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """Generate all N tokens of each sample, (B, N), in N forward passes."""
    for tokens in raster_steps(model, labels, cache, generator):  # noqa: B007
        pass
    return tokens
