"""Lesson 3, exercises: how much to hide, where, and what to ask (notebook 3_masking_and_schedules).

Replace each `raise NotImplementedError`, then `make check-3`. Never write into an argument; work on a copy.
B samples, N tokens, K codes, gamma the schedule.
"""

import math  # noqa: F401

import torch
import torch.nn.functional as F  # noqa: F401
from torch import Tensor

from minimaskgit.schedules import Schedule

# --- Schedules: r in [0, 1], any shape, to gamma(r) in [0, 1], the same shape ---
# num_tokens is N, 2 or more: a number, or a tensor of r's shape when samples differ in size.


def cosine(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """cos(pi r / 2), the paper's choice.

    As with all schedules here, num_tokens may be a tensor of r's shape, and the result has r's shape.

    >>> cosine(torch.tensor([0.0, 0.5]), 256)
    tensor([1.0000, 0.7071])
    """
    raise NotImplementedError


def linear(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - r.

    >>> linear(torch.tensor([0.0, 0.25, 1.0]), 256)
    tensor([1.0000, 0.7500, 0.0000])
    """
    raise NotImplementedError


def square(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - r^2.

    >>> square(torch.tensor([0.5]), 256)
    tensor([0.7500])
    """
    raise NotImplementedError


def cubic(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - r^3.

    >>> cubic(torch.tensor([0.5]), 256)
    tensor([0.8750])
    """
    raise NotImplementedError


def exponential(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - N^(r-1): gamma(0) is 1 - 1/N, not 1, so all tokens but one are masked. N may be a tensor of r's shape.

    >>> exponential(torch.tensor([0.0, 0.5, 1.0]), 16)
    tensor([0.9375, 0.7500, 0.0000])
    """
    raise NotImplementedError


def square_root(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - sqrt(r).

    >>> square_root(torch.tensor([0.25]), 256)
    tensor([0.5000])
    """
    raise NotImplementedError


def logarithmic(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """-log_N(r), clipped to 1: where r is below 1/N, and at 0, everything is masked. N may be a tensor of r's shape.

    >>> logarithmic(torch.tensor([0.0, 0.25, 0.5]), 16)
    tensor([1.0000, 0.5000, 0.2500])
    """
    raise NotImplementedError


# --- Masking ---


def mask_counts(r: Tensor, num_tokens: int, schedule: Schedule) -> Tensor:
    """How many tokens of each sample to mask, ceil(gamma(r) * N): r (B,) in [0, 1] to int64 (B,) in 1..N.

    schedule: called as schedule(r, num_tokens). At least one token is masked, or there would be nothing to predict.
    Compute gamma(r) N in double precision (r.double()): in float32, rounding may carry it past an integer.

    >>> from minimaskgit.schedules import linear
    >>> mask_counts(torch.tensor([0.0, 0.55, 1.0]), 10, linear)
    tensor([10,  5,  1])
    """
    raise NotImplementedError


def random_mask(counts: Tensor, num_tokens: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose exactly `counts` positions of each sample uniformly: (B,) to bool (B, N), True where masked.

    All random numbers come from `generator` (torch.rand takes it by that name).

    >>> random_mask(torch.tensor([0, 2, 5]), 5).sum(1)
    tensor([0, 2, 5])
    """
    raise NotImplementedError


def masked_cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood over the masked positions only (paper equation 1); a scalar.

    logits (B, N, K), targets (B, N) in 0..K-1, mask bool (B, N) with at least one True. label_smoothing s: the target
    is 1 - s on the right code, plus s / K on every code.

    >>> logits = torch.zeros(1, 2, 4)  # no opinion about 4 codes: log 4 nats per token
    >>> logits[0, 1, 3] = 100.0  # sure, but wrong, about a visible token: not counted
    >>> mask = torch.tensor([[True, False]])
    >>> masked_cross_entropy(logits, torch.tensor([[2, 0]]), mask)
    tensor(1.3863)
    """
    raise NotImplementedError
