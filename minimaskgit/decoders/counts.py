"""How many tokens stay masked after a step of decoding: int64 (B,) from a `View` and its priorities."""

import math
from typing import Literal

import torch
from torch import Tensor

from minimaskgit.common.precision import double
from minimaskgit.decoders.loop import Counts, View
from minimaskgit.decoders.orders import entropies
from minimaskgit.decoding import Count, num_to_mask
from minimaskgit.schedules import Schedule, cosine, cubic, linear, square, square_root

POWERS = {linear: 1, square: 2, cubic: 3}  # schedules 1 - r^k


def released(unknown_at_start: Tensor, unknown_now: Tensor, step: int, steps: int, schedule: Schedule) -> Tensor:
    """As `num_to_mask`, but computed as the authors' code, compiled by XLA, does on a CPU: int64 (B,).

    All is in float32, where cos(pi/3) is a hair below 1/2, so with U = 4 and T = 3 the second step leaves 1 token, not
    2. And where only one token is unknown, it stays so until the last step. Logarithmic and exponential counts may
    differ by one from theirs, because XLA rounds logarithms in another way. Which tokens are masked is not changed: if
    confidences are exactly equal, as may happen without choice noise, the released code masks fewer.
    """
    if step == steps - 1:
        return torch.zeros_like(unknown_now)
    U = unknown_at_start.float()
    if schedule in POWERS:  # XLA multiplies by 1/T instead of dividing by T, and rounds only after the subtraction
        k = POWERS[schedule]
        gamma = torch.full_like(U, 1 - (step + 1) ** k * (torch.tensor(1 / steps) ** k).item())
    elif schedule in (cosine, square_root):  # on the CPU, since an accelerator's cosine may be a hair off theirs
        gamma = torch.full_like(U, schedule(torch.tensor((step + 1) / steps), 1).item())
    else:
        gamma = schedule(torch.full_like(U, (step + 1) / steps), U)
    counts = torch.floor(U * gamma).long()
    return counts.minimum(unknown_now - 1).clamp(min=1).minimum(unknown_now)


Rounding = Literal["exact", "released"]
ROUNDINGS: dict[Rounding, Count] = {"exact": num_to_mask, "released": released}


def scheduled(schedule: Schedule, rounding: Rounding = "exact") -> Counts:
    """floor(U gamma(r)), as in decoding.num_to_mask, with any mask schedule (section 3.3)."""

    def counts(view: View, priority: Tensor) -> Tensor:
        return ROUNDINGS[rounding]((~view.given).sum(1), (~view.known).sum(1), view.step, view.steps, schedule)

    return counts


def arcsine(view: View, priority: Tensor) -> Tensor:
    """U - floor(U 2/pi asin(r)), with at least t+1 tokens known: few first, many last, as in the Halton paper."""
    unknown = (~view.given).sum(1)
    # 1e-9, because rounding must not turn a whole number, such as U/3 at r = 1/2, into the one below.
    kept = (double(unknown) * (2 / math.pi * math.asin(view.progress)) + 1e-9).floor().long().to(unknown.device)
    kept = kept.clamp(min=view.step + 1)
    return torch.minimum((unknown - kept).clamp(min=0), ((~view.known).sum(1) - 1).clamp(min=0))


def entropy_bound(bound: float) -> Counts:
    """Keep the largest set of tokens, greatest priority first, with sum H - max H <= bound nats (arXiv 2505.24857).

    Tokens kept at once are drawn independently of each other. What that ignores is their mutual information, which is
    at most this bound. Each step keeps at least one token, and the last all that are left.
    """

    def counts(view: View, priority: Tensor) -> Tensor:
        order = priority.masked_fill(view.known, -torch.inf).argsort(dim=1, descending=True)  # unknown tokens first
        unknown = (~view.known).gather(1, order)
        doubt = entropies(view).gather(1, order).masked_fill(~unknown, 0.0)
        within = (doubt.cumsum(1) - doubt.cummax(1).values <= bound) & unknown  # a prefix: the difference never falls
        return unknown.sum(1) - within.sum(1).clamp(min=1).minimum(unknown.sum(1))

    return counts
