"""Which known tokens to mask again, bool (B, N) from a `View`: ReMDM's rules (arXiv 2503.00307).

alpha is the fraction of tokens that are known, before the step and, as planned, after it. A token may be taken back
with probability sigma at most sigma_max = min(1, (1 - alpha_after) / alpha_before), so that enough new ones are kept.
"""

import torch
from torch import Tensor

from minimaskgit.decoders.loop import Correction, View
from minimaskgit.schedules import Schedule, cosine

BEGIN, END = 0.45, 0.95  # progress at which the loop begins and ends: 1 - t_on and 1 - t_off
LOOP_STEPS = 1024  # the decoding steps for which the paper chose eta


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


def loop(eta: float = 0.02, schedule: Schedule = cosine) -> Correction:
    """In the second phase of `paused`, whose schedule this is, sigma = min(eta 1024 / T, sigma_max); elsewhere 0.

    The paper takes back eta = 2 % of the known tokens in each of 1024 steps. With T steps there are fewer chances to
    take a token back, so each is 1024 / T times as likely: below 184 steps, sigma_max. The second phase of 8 steps has
    4 of them; that of fewer than 4 steps has none but the last, which keeps all, so nothing is taken back.
    """

    def correction(view: View) -> Tensor:
        if not BEGIN <= view.step / view.steps < END:
            return torch.zeros_like(view.known)
        sigma = sigma_max(view, schedule).clamp(max=eta * LOOP_STEPS / view.steps)
        return view.uniform() < sigma[:, None]

    return correction


def paused(schedule: Schedule, known: float = 0.9) -> Schedule:
    """The mask schedule of ReMDM's loop: up to `known` tokens, a pause to correct them, and then the others.

    The first and the third phase each follow `schedule`, the second holds gamma at 1 - known.
    """

    def gamma(r: Tensor, num_tokens: Tensor) -> Tensor:
        first = 1 - known * (1 - schedule((r / BEGIN).clamp(max=1), num_tokens))
        others = (1 - known) * schedule(((r - END) / (1 - END)).clamp(0, 1), num_tokens)
        return torch.where(r < BEGIN, first, others)

    return gamma


def sigma_max(view: View, schedule: Schedule) -> Tensor:
    """The greatest probability of taking a token back, (B,); 0 where nothing is known yet."""
    free = (~view.given).sum(1).clamp(min=1)
    before = (view.known & ~view.given).sum(1) / free
    after = 1 - schedule(torch.full_like(before, view.progress), free)
    return torch.where(before > 0, ((1 - after) / before.clamp(min=1e-9)).clamp(0, 1), torch.zeros_like(before))
