"""Which known tokens to mask again, bool (B, N) from a `View`: ReMDM (arXiv 2503.00307) or a critic (lesson 10).

alpha is the fraction of tokens that are known, before the step and, as planned, after it. ReMDM takes a token back
with probability sigma at most sigma_max = min(1, (1 - alpha_after) / alpha_before), so that enough new ones are kept.
"""

import torch
from torch import Tensor

from minimaskgit.decoders.loop import Correction, View
from minimaskgit.schedules import Schedule, cosine

BEGIN, END = 0.45, 0.95  # progress at which the loop begins and ends: 1 - t_on and 1 - t_off
LOOP_STEPS = 1024  # the decoding steps for which the paper chose eta; 0.04 below is ours, for 8 to 64 steps


def cap(most: float = 0.04, schedule: Schedule = cosine) -> Correction:
    """sigma = min(most, sigma_max)."""
    return lambda view: view.uniform() < sigma_max(view, schedule).clamp(max=most)[:, None]


def rescale(part: float = 0.04, schedule: Schedule = cosine) -> Correction:
    """sigma = part x sigma_max."""
    return lambda view: view.uniform() < part * sigma_max(view, schedule)[:, None]


def unsure(schedule: Schedule = cosine) -> Correction:
    """sigma_i = sigma_max x softmax over known tokens of minus their probability when kept.

    On average at most one token is taken back in a step.
    """

    def correction(view: View) -> Tensor:
        weights = (-view.sure).masked_fill(~view.known | view.given, -torch.inf).softmax(-1).nan_to_num(0.0)
        return view.uniform() < sigma_max(view, schedule)[:, None] * weights

    return correction


def loop(schedule: Schedule, eta: float = 0.02) -> Correction:
    """sigma = min(eta 1024 / T, sigma_max) in the second phase of the schedule, one of `paused`; 0 elsewhere.

    The paper takes back eta = 2 % of the known tokens in each of 1024 steps. With T steps there are fewer chances to
    take a token back, so each is 1024 / T times as likely: sigma_max, if T is small. Of 8 steps the second phase has 4,
    of which 3 can take back, because the last step keeps all. Of fewer than 4 steps none can.
    """

    def correction(view: View) -> Tensor:
        if not BEGIN <= view.step / view.steps < END:
            return torch.zeros_like(view.known)
        sigma = sigma_max(view, schedule).clamp(max=eta * LOOP_STEPS / view.steps)
        return view.uniform() < sigma[:, None]

    return correction


def doubted(part: float = 0.2, sure: float = 0.9) -> Correction:
    """A critic's: of F free tokens, the part x (1 - r) x F that it doubts most, where it is `sure` that they are wrong.

    sure: the least probability. The share falls to 0, because what is taken back late has few steps left to be drawn
    again. The critic must be sure, because it learned to call every token wrong that differs from the image's, and
    early on that includes rare but valid choices.
    """

    def correction(view: View) -> Tensor:
        doubt = view.doubt.masked_fill(~view.known | view.given, -torch.inf)
        most = part * (1 - view.progress) * (~view.given).sum(1)  # (B,)
        ranks = doubt.argsort(dim=1, descending=True).argsort(dim=1)  # 0 for the most doubted
        return (ranks < most.floor()[:, None]) & (doubt.sigmoid() > sure)

    return correction


def paused(schedule: Schedule, known: float = 0.9) -> Schedule:
    """The mask schedule of ReMDM's loop: reveal the fraction `known`, pause to correct it, then reveal the rest.

    The first and third phases each follow `schedule`; the second holds gamma at 1 - known.
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
