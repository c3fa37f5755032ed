"""A decoder with settings of its own for every step, the result of a search (AutoNAT, arXiv 2406.05478).

    step t          0     1     2    ...   T-1
    masked        0.98  0.92  0.83   ...     0     of the tokens unknown at the start: gamma, step by step
    choice         2.6   2.2   1.9   ...     0     temperature of the choice noise, not annealed any further
    sampling       0.9   0.9   0.9   ...     1     temperature of the distributions that tokens are drawn from
    guidance         0     0     0   ...   0.5

and one number for all steps: the share of tokens that a critic may take back, times 1 - r.
The paper derives all but this from r = (t+1)/T; `papers_policy` has its values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minimaskgit.decoders.correction import doubted
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.loop import Decoder, View
from minimaskgit.decoders.sampling import tempered
from minimaskgit.decoding import gumbel_noise, num_to_mask
from minimaskgit.schedules import Schedule

SURE = 0.8  # how sure the critic must be; less than by default, since the search decides how many tokens to take back
LARGEST = 10_000.0  # of a temperature or a weight: more can overflow the logits


@dataclass(frozen=True)
class Policy:
    """The settings of each of T steps; ValueError if they cannot decode."""

    masked: tuple[float, ...]  # fraction of the unknown tokens still masked after each step; falls to 0
    choice: tuple[float, ...]
    sampling: tuple[float, ...]
    guidance: tuple[float, ...]
    doubted: float = 0.0  # as `part` of correction.doubted; 0: no critic

    @property
    def steps(self) -> int:
        return len(self.masked)

    def __post_init__(self) -> None:
        if not self.masked or any(len(each) != self.steps for each in (self.choice, self.sampling, self.guidance)):
            raise ValueError("expected a value of masked, choice, sampling and guidance for each step")
        falls = all(a >= b for a, b in zip((1.0, *self.masked), self.masked))
        if not falls or self.masked[-1] != 0:
            raise ValueError(f"masked {self.masked}: expected fractions that fall from at most 1 to 0")
        for name in ("choice", "guidance"):
            if not all(0 <= value <= LARGEST for value in getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)}: expected 0 to {LARGEST:g} in every step")
        if not 0 <= self.doubted <= 1:
            raise ValueError(f"doubted {self.doubted}: expected 0 to 1")
        if not all(0 < value <= LARGEST for value in self.sampling):
            raise ValueError(f"sampling {self.sampling}: expected more than 0, and at most {LARGEST:g}, in every step")


def decoder_of(policy: Policy, critic: Critic | None = None) -> Decoder:
    """The decoder with these settings, for `loop.run` with T = policy.steps; ValueError if it lacks its critic."""
    if policy.doubted and critic is None:
        raise ValueError("this policy takes tokens back, which needs a critic")

    def at(values: tuple[float, ...], r: float) -> float:
        return values[round(r * policy.steps) - 1]

    def order(view: View) -> Tensor:
        log_p = view.log_probabilities().gather(-1, view.sampled[..., None]).squeeze(-1)
        return log_p + policy.choice[view.step] * gumbel_noise(log_p.shape, log_p.device, view.generator)

    def counts(view: View, priority: Tensor) -> Tensor:
        gamma = lambda r, num_tokens: torch.full_like(r, policy.masked[view.step])
        return num_to_mask((~view.given).sum(1), (~view.known).sum(1), view.step, view.steps, gamma)

    return Decoder(
        order,
        counts,
        sampling=lambda logits, r: tempered(at(policy.sampling, r))(logits, r),
        correction=doubted(policy.doubted, SURE) if policy.doubted else None,
        guidance=lambda r: at(policy.guidance, r),
        critic=critic if policy.doubted else None,
    )


def papers_policy(steps: int, schedule: Schedule, temperature: float, num_tokens: int) -> Policy:
    """The paper's decoding of a blank canvas in T steps: counts by the schedule, choice noise annealed to zero."""
    r = torch.arange(1, steps + 1, dtype=torch.double) / steps
    masked = schedule(r, torch.full((steps,), num_tokens))
    nothing, whole = (0.0,) * steps, (1.0,) * steps
    choice = tuple(temperature * (1 - (t + 1) / steps) for t in range(steps))
    return Policy((*masked[:-1].tolist(), 0.0), choice, sampling=whole, guidance=nothing)
