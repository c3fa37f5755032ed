"""Mask schedules gamma(r): the fraction of tokens masked at progress r (lesson 3; paper section 3.3 and table 3).

    r = 0 (nothing known)  gamma = 1: all masked  ──  gamma falls  ──>  gamma = 0: none masked  (all known) r = 1

One family of functions, used twice: in training r ~ U[0, 1) says how much of an image to hide, in decoding
r = (t+1)/T says how much is still hidden after step t. Concave schedules (cosine, square, cubic, exponential) keep
most tokens hidden for long and fix few at first, when little is known; convex ones (square root, logarithmic) do
the reverse.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# r in [0, 1] and the number of tokens N (only the exponential and the logarithm need it) -> gamma in [0, 1]
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
    """BERT's constant 0.15, for contrast: it never trains near a blank canvas and so cannot generate."""
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


def _at_least_two(num_tokens: int | Tensor, like: Tensor) -> Tensor:
    # A canvas of one token has no room for a schedule, and log 1 = 0 would divide by zero.
    return torch.as_tensor(num_tokens, dtype=like.dtype, device=like.device).clamp(min=2)
