"""Lesson 5, exercises: iterative parallel decoding (notebook 5_parallel_decoding).

Replace each `raise NotImplementedError`, then `make check-5`. Never write into an argument; work on a copy.
N tokens, K codes, T steps numbered t = 0..T-1, U unknown tokens at the start, gamma the schedule.
"""

import torch
from torch import Tensor

from minimaskgit.decoding import gumbel_noise, sample_categorical  # noqa: F401
from minimaskgit.schedules import Schedule, cosine
from minimaskgit.transformer import Transformer


def confidence(logits: Tensor, tokens: Tensor, known: Tensor, temperature: float, noise: Tensor) -> Tensor:
    """log p(token) + temperature * noise, and +inf where the token is known already.

    logits (B, N, K), tokens (B, N) in 0..K-1, known bool (B, N), noise (B, N) standard Gumbel: (B, N).

    >>> logits, tokens = torch.zeros(1, 2, 4), torch.tensor([[3, 0]])  # p = 1/4 each
    >>> confidence(logits, tokens, torch.tensor([[False, True]]), 2.0, torch.tensor([[1.0, 1.0]]))
    tensor([[0.6137,    inf]])
    """
    raise NotImplementedError


def num_to_mask(unknown_at_start: Tensor, unknown_now: Tensor, step: int, steps: int, schedule: Schedule) -> Tensor:
    """How many tokens of each sample to re-mask after step t: int64 (B,), from two int64 (B,).

    floor(U * gamma((t+1)/T)), at least 1, but at most one fewer than are unknown now, so that every step fixes
    something; never below 0, and 0 after the last step. U is unknown_at_start. schedule: called as schedule(r, U),
    where r is a tensor (B,) of doubles.
    Compute in double precision: in float32, cos(pi/3) is a little less than 1/2, and the floor falls by one.

    >>> from minimaskgit.schedules import linear
    >>> start = torch.tensor([100, 8, 0])
    >>> num_to_mask(start, start, 0, 10, linear), num_to_mask(start, start, 9, 10, linear)
    (tensor([90,  7,  0]), tensor([0, 0, 0]))
    """
    raise NotImplementedError


def remask(tokens: Tensor, confidence: Tensor, counts: Tensor, mask_id: int) -> Tensor:
    """Put [MASK] on each sample's `counts` (B,) least confident tokens: (B, N), (B, N) to (B, N).

    >>> sure = torch.tensor([[-1.0, -5.0, -3.0], [-1.0, -5.0, -3.0]])
    >>> remask(torch.tensor([[7, 8, 9], [7, 8, 9]]), sure, torch.tensor([1, 2]), mask_id=99)
    tensor([[ 7, 99,  9],
            [ 7, 99, 99]])
    """
    raise NotImplementedError


def decode(
    model: Transformer,
    labels: Tensor,
    tokens: Tensor | None = None,
    steps: int = 8,
    schedule: Schedule = cosine,
    temperature: float = 4.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill a canvas in T passes of the model: labels (B,), tokens (B, N) with model.mask_id where unknown, to (B, N).

    Without `tokens` the canvas is blank: model.num_tokens times [MASK]. model(tokens, labels) returns logits (B, N, K).
    In each step t: predict and sample every unknown token (`sample_categorical(logits, generator)`); how sure, with
    the choice temperature * (1 - (t+1)/T) and fresh `gumbel_noise(shape, device, generator)`; how many stay masked;
    re-mask these. Known tokens stay as they are, and no [MASK] is left at the end. Do not write into `tokens`.

    >>> from minimaskgit.transformer import Transformer
    >>> model = Transformer(num_codes=5, num_classes=2, num_tokens=4, width=8, depth=1, heads=1, mlp_width=8).eval()
    >>> canvas = torch.tensor([[0, 3, model.mask_id, model.mask_id]])
    >>> decode(model, torch.tensor([1]), canvas, steps=2)[:, :2]
    tensor([[0, 3]])
    """
    raise NotImplementedError
