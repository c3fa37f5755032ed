"""Iterative parallel decoding: the whole canvas at once, refined in T steps (lesson 5; paper section 3.2).

    all [MASK] ──> predict and sample every unknown token ──> keep the surest, re-mask the rest ──┐
                        ^─────────────────────── T times ─────────────────────────────────────────┘

The letters are the paper's: N tokens, K codes, T steps, gamma the mask schedule; U is the number of unknown tokens at
the start (N on a blank canvas, fewer when editing).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from minimaskgit.schedules import Schedule, cosine
from minimaskgit.transformer import Transformer

TEMPERATURE = 4.5  # of the paper's choice noise; annealed linearly to zero


class Step(NamedTuple):
    """What one decoding step leaves, for pictures: `sampled` is complete, `tokens` has [MASK] where not yet fixed."""

    sampled: Tensor  # (B, N) every token, fixed or proposed
    tokens: Tensor  # (B, N) the input of the next step
    masked: Tensor  # (B, N) bool, True where still masked


def sample_categorical(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw from softmax(logits): (..., K) to int64 (...)."""
    # The inverse of the cumulative distribution: one random number a draw, several times faster than torch.multinomial.
    cumulative = logits.float().softmax(-1).cumsum(-1)  # (..., K)
    u = torch.rand(*logits.shape[:-1], 1, generator=generator, device=logits.device) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, u, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def gumbel_noise(shape: torch.Size, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Standard Gumbel noise, -log(-log u) of a uniform u."""
    u = torch.rand(shape, generator=generator, device=device)
    return -torch.log(-torch.log(u.clamp(1e-20, 1 - 1e-7)))


def confidence(logits: Tensor, tokens: Tensor, known: Tensor, temperature: float, noise: Tensor) -> Tensor:
    """log p(token) + temperature * noise, and +inf where the token is known already.

    logits (B, N, K), tokens (B, N) in 0..K-1, known bool (B, N), noise (B, N) standard Gumbel: (B, N).
    """
    log_p = logits.float().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    return (log_p + temperature * noise).masked_fill(known, torch.inf)


def num_to_mask(unknown_at_start: Tensor, unknown_now: Tensor, step: int, steps: int, schedule: Schedule) -> Tensor:
    """How many tokens of each sample to re-mask after step t = 0..T-1: int64 (B,).

    floor(U * gamma((t+1)/T)), at least 1 and at most one fewer than are unknown now, so that every step fixes
    something; 0 after the last step and where nothing is left to fix.
    """
    if step == steps - 1:
        return torch.zeros_like(unknown_now)
    r = torch.full(unknown_at_start.shape, (step + 1) / steps, dtype=torch.double, device=unknown_at_start.device)
    counts = torch.floor(unknown_at_start * schedule(r, unknown_at_start)).long()
    return torch.minimum(counts.clamp(min=1), unknown_now - 1).clamp(min=0)


def remask(tokens: Tensor, confidence: Tensor, counts: Tensor, mask_id: int) -> Tensor:
    """Put [MASK] on each sample's `counts` (B,) least confident tokens: (B, N), (B, N) to (B, N)."""
    ranks = confidence.argsort(dim=1).argsort(dim=1)  # 0 for the least confident
    return tokens.masked_fill(ranks < counts[:, None], mask_id)


def mask_plan(unknown: Tensor, steps: int, schedule: Schedule, start_step: int = 0) -> Tensor:
    """The number of masked tokens after each step, (T - start_step, B), from those unknown at the start (B,)."""
    counts, now = [], unknown
    for step in range(start_step, steps):
        now = num_to_mask(unknown, now, step, steps, schedule)
        counts.append(now)
    return torch.stack(counts)


@torch.no_grad()
def decode_steps(
    model: Transformer,
    labels: Tensor,
    tokens: Tensor | None = None,
    steps: int = 8,
    schedule: Schedule = cosine,
    temperature: float = TEMPERATURE,
    guidance: float = 0.0,
    generator: torch.Generator | None = None,
    start_step: int = 0,
) -> Iterator[Step]:
    """Decode, giving every step: labels (B,) in 0..C (C: no class), tokens (B, N) with mask_id where unknown.

    Without `tokens` the canvas is blank. temperature: of the choice noise at the first step. guidance w: logits are
    (1 + w) * conditional - w * unconditional (0, as in the paper, is none). start_step: enter the schedule there, as
    editing does (released code). Nothing in the loop waits for the device.
    """
    if not 0 <= start_step < steps:
        raise ValueError(f"start_step {start_step} of {steps} steps; expected 0 to {steps - 1}")
    blank = tokens is None
    if blank:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id, device=labels.device)
    unknown = (tokens == model.mask_id).sum(1).cpu()  # (B,)
    plan = mask_plan(unknown, steps, schedule, start_step)  # (T, B)
    widths = [unknown.max().item(), *plan.amax(1).tolist()]  # M at each step: the most that any sample has unknown
    classes = labels.unique(return_inverse=True) if blank else None
    yield from refine(
        model, labels, tokens, plan.to(labels.device), widths, steps, temperature, guidance, generator, classes
    )


@torch.no_grad()
def refine(
    model: Transformer,
    labels: Tensor,
    tokens: Tensor,
    plan: Tensor,
    widths: Sequence[int],
    steps: int,
    temperature: float,
    guidance: float,
    generator: torch.Generator | None = None,
    classes: tuple[Tensor, Tensor] | None = None,
) -> Iterator[Step]:
    """The loop of `decode_steps`: all counts are known beforehand, so that nothing in it waits for the device.

    plan (T - start step, B): tokens masked after each step. widths: for each step the most unknown of any sample.
    classes: on a blank canvas the different labels, and which of them each sample has; None: do not look for equals.
    """
    start_step = steps - len(plan)
    for step, counts, width in zip(range(start_step, steps), plan, widths):
        # 1. Predict every unknown token and sample it; known ones stay. Logits are needed at `where` only: the unknown
        # positions of each sample, followed, in those that have fewer, by known ones.
        known = tokens != model.mask_id  # (B, N)
        where = known.int().argsort(dim=1, stable=True)[:, :width]  # (B, M)
        if classes and step == start_step:  # all samples of a class have the same logits: once a class is enough
            different, of_class = classes
            first = slice(len(different))
            logits = guided_logits(model, tokens[first], different, where[first], guidance)[of_class]
        else:
            logits = guided_logits(model, tokens, labels, where, guidance)  # (B, M, K)
        fixed, before = known.gather(1, where), tokens.gather(1, where)
        drawn = torch.where(fixed, before, sample_categorical(logits, generator))  # (B, M)
        # 2. How sure is the model of what it sampled? Noise, less and less of it, keeps the choice diverse.
        tau = temperature * (1 - (step + 1) / steps)
        noise = gumbel_noise(drawn.shape, drawn.device, generator)
        sure = confidence(logits, drawn, fixed, tau, noise)
        # 3. and 4. The schedule says how many to give up again: the least sure. The last step gives up none.
        sampled = tokens.scatter(1, where, drawn)
        tokens = tokens.scatter(1, where, remask(drawn, sure, counts, model.mask_id))
        yield Step(sampled, tokens, tokens == model.mask_id)


def decode(model: Transformer, labels: Tensor, tokens: Tensor | None = None, **options) -> Tensor:
    """The tokens (B, N) that `decode_steps`, which explains the options, ends with; never a [MASK] among them."""
    for step in decode_steps(model, labels, tokens, **options):  # noqa: B007
        pass
    return step.tokens


def guided_logits(model: Transformer, tokens: Tensor, labels: Tensor, where: Tensor, guidance: float) -> Tensor:
    """Logits (B, M, K) of one pass at positions `where` (B, M), moved by classifier-free guidance if asked for."""
    if guidance == 0:
        return model(tokens, labels, where)
    nothing = torch.full_like(labels, model.num_classes)
    both = model(tokens.repeat(2, 1), torch.cat([labels, nothing]), where.repeat(2, 1))  # one pass of twice the batch
    conditional, unconditional = both.chunk(2)
    return (1 + guidance) * conditional - guidance * unconditional
