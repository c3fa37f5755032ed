"""Mask schedules gamma(r): the fraction of tokens masked at progress r (lesson 3; paper section 3.3 and table 3).

    r = 0 (nothing known)  gamma = 1: all masked  ──  gamma falls  ──>  gamma = 0: none masked  (all known) r = 1

A schedule is used twice: in training, gamma(r) with r ~ U[0, 1) is the fraction of an image to mask; in decoding,
gamma(r) with r = (t+1)/T is the fraction still masked after step t. Concave schedules (cosine, square, cubic,
exponential) fix few tokens in the first steps, when little is known, and most in the last; convex ones (square root,
logarithmic) do the reverse.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from minimaskgit.common.precision import double

# r in [0, 1] and the number of tokens N (only the exponential and the logarithmic use it) -> gamma in [0, 1]
Schedule = Callable[[Tensor, int | Tensor], Tensor]


def cosine(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """cos(pi r / 2), the paper's choice."""
    return torch.cos(math.pi / 2 * r).clamp(0, 1)  # rounding takes cos(pi/2) to either side of 0


def linear(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - r: the same number of tokens at every step."""
    return 1 - r


def square(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - r^2."""
    return 1 - r**2


def cubic(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - r^3."""
    return 1 - r**3


def exponential(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - N^(r-1): the most concave; starts at 1 - 1/N and reveals nearly everything at the end."""
    return 1 - _at_least_two(num_tokens, r) ** (r - 1)


def square_root(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """1 - sqrt(r)."""
    return 1 - torch.sqrt(r)


def logarithmic(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """-log_N(r), clipped to 1: the most convex; reveals most tokens at once."""
    return (-torch.log(r) / torch.log(_at_least_two(num_tokens, r))).clamp(0, 1)


def bert(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """A constant 0.15, after BERT: training never sees a nearly blank canvas, so the first steps of decoding guess."""
    return torch.full_like(r, 0.15)


SCHEDULES: dict[str, Schedule] = {
    "cosine": cosine,
    "linear": linear,
    "square": square,
    "cubic": cubic,
    "exponential": exponential,
    "square_root": square_root,
    "logarithmic": logarithmic,
    "bert": bert,
}


# --- After the paper: how much to mask in training only ---


def arccos(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """2/pi arccos(r), the inverse of the cosine: its mean too is 2/pi (Besnier et al. 2025, arXiv 2503.17076)."""
    return 2 / math.pi * torch.arccos(r)


def beta(r: Tensor, num_tokens: int | Tensor) -> Tensor:
    """A draw from Beta(12, 3), whose mean is 0.8, for r ~ U[0, 1) (AutoNAT, arXiv 2406.05478): its quantile 1 - r."""
    wanted = 1 - double(r)
    x, cumulative = _beta_table(wanted.device)
    above = torch.searchsorted(cumulative, wanted).clamp(1, len(x) - 1)
    low, high = cumulative[above - 1], cumulative[above]
    between = (wanted - low) / (high - low).clamp(min=1e-300)
    return (x[above - 1] + between * (x[above] - x[above - 1])).to(r)


@lru_cache(maxsize=8)
def _beta_table(device: torch.device) -> tuple[Tensor, Tensor]:
    """x from 0 to 1 and P(Beta(12, 3) <= x), kept on the device because every training step asks for them."""
    x = torch.linspace(0, 1, 4097, dtype=torch.double, device=device)
    return x, sum(math.comb(14, j) * x**j * (1 - x) ** (14 - j) for j in (12, 13, 14))


RATIOS: dict[str, Schedule] = SCHEDULES | {"arccos": arccos, "beta": beta}


def _at_least_two(num_tokens: int | Tensor, like: Tensor) -> Tensor:
    # With one token, log N = 0 would lead to a division by zero.
    return torch.as_tensor(num_tokens, dtype=like.dtype, device=like.device).clamp(min=2)
