"""Which known tokens to mask again, bool (B, N) from a `View`: ReMDM's rules (arXiv 2503.00307; lesson 10).

alpha is the fraction of tokens that are known, before the step and, as planned, after it. A token may be taken back
with probability sigma at most sigma_max = min(1, (1 - alpha_after) / alpha_before), so that enough new ones are kept.
"""

import torch
from torch import Tensor

from minimaskgit.decoders.loop import Correction, View
from minimaskgit.schedules import Schedule, cosine


def cap(most: float = 0.04, schedule: Schedule = cosine) -> Correction:
    """sigma = min(most, sigma_max)."""
    return lambda view: view.uniform() < sigma_max(view, schedule).clamp(max=most)[:, None]


def rescale(part: float = 0.04, schedule: Schedule = cosine) -> Correction:
    """sigma = part x sigma_max."""
    return lambda view: view.uniform() < part * sigma_max(view, schedule)[:, None]


def unsure(schedule: Schedule = cosine) -> Correction:
    """sigma_i = sigma_max x softmax over known tokens of minus their probability when kept: about one in all."""

    def correction(view: View) -> Tensor:
        weights = (-view.sure).masked_fill(~view.known | view.given, -torch.inf).softmax(-1).nan_to_num(0.0)
        return view.uniform() < sigma_max(view, schedule)[:, None] * weights

    return correction


def sigma_max(view: View, schedule: Schedule) -> Tensor:
    """The greatest probability of taking a token back, (B,); 0 where nothing is known yet."""
    free = (~view.given).sum(1).clamp(min=1)
    before = (view.known & ~view.given).sum(1) / free
    after = 1 - schedule(torch.full_like(before, view.progress), free)
    return remdm_probability(before, after, torch.ones_like(before))[0]


def remdm_probability(before: Tensor, after: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities that a known token is masked again, and that a masked one is revealed: ReMDM's posterior.

    before, after: alpha, in [0, 1], before <= after; sigma: how often to take back, in [0, 1], cut off at sigma_max.
    On average the fraction `after` is then known, whatever sigma. Where nothing is known, nothing is taken back; where
    nothing is masked, nothing is revealed. All are float and of one shape. The loop reveals as many as planned instead
    of drawing how many, and so takes the first of the two only.
    """
    most = torch.where(before > 0, (1 - after) / before, 0.0)
    taken = sigma.minimum(most)
    return taken, torch.where(before < 1, (after - (1 - taken) * before) / (1 - before), 0.0)
