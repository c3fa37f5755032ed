"""Iterative parallel decoding: the whole canvas at once, refined in T steps (lesson 5; paper section 3.2).

    all [MASK] ──> predict and sample every unknown token ──> keep the surest, re-mask the rest ──┐
                        ^─────────────────────── T times ─────────────────────────────────────────┘

The letters are the paper's: N tokens, K codes, T steps, gamma the mask schedule; U is the number of unknown tokens at
the start (N on a blank canvas, fewer when editing). Read `reference_decode` first: it is the algorithm. What follows it
computes the same with less work, and never waits for the device:

- how many tokens are masked after each step is known in advance (`mask_plan`);
- logits are computed only where a token is unknown;
- on a blank canvas all samples of a class share their first pass.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from minimaskgit.common.precision import double
from minimaskgit.schedules import Schedule, cosine
from minimaskgit.transformer import Transformer

TEMPERATURE = 4.5  # of the paper's choice noise; annealed linearly to zero


def sample_categorical(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw from softmax(logits): (..., K) to int64 (...)."""
    # Inverting the cumulative distribution needs one random number per draw; torch.multinomial is several times slower.
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

    floor(U * gamma((t+1)/T)), at least 1 and at most one fewer than are unknown now, so that every step keeps a token;
    0 after the last step and where all tokens are known.
    """
    if step == steps - 1:
        return torch.zeros_like(unknown_now)
    U = double(unknown_at_start)
    r = torch.full_like(U, (step + 1) / steps)
    counts = torch.floor(U * schedule(r, U)).long().to(unknown_now.device)
    return torch.minimum(counts.clamp(min=1), unknown_now - 1).clamp(min=0)


def remask(tokens: Tensor, confidence: Tensor, counts: Tensor, mask_id: int) -> Tensor:
    """Put [MASK] on each sample's `counts` (B,) least confident tokens: (B, N), (B, N) to (B, N)."""
    ranks = confidence.argsort(dim=1).argsort(dim=1)  # 0 for the least confident
    return tokens.masked_fill(ranks < counts[:, None], mask_id)


@torch.no_grad()
def reference_decode(
    model: Transformer,
    labels: Tensor,
    T: int = 8,
    gamma: Schedule = cosine,
    temperature: float = TEMPERATURE,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Section 3.2, as the released code does it, and nothing else: class labels (B,) to tokens (B, N).

    The paper masks ceil(gamma(t/T) N) tokens with t from 0, so that its first step would keep none; the code takes the
    floor and (t+1)/T. The paper's confidence is p, and 1 where known; log p and +inf order the tokens alike, and noise
    can be added to them.

    `decode` does the same faster, with other random numbers, and can also start from a canvas that is partly known.
    """
    Y = torch.full((len(labels), model.num_tokens), model.mask_id, device=labels.device)  # (B, N) a blank canvas
    U = (Y == model.mask_id).sum(1)  # (B,)
    for t in range(T):
        known = Y != model.mask_id
        # 1. Predict: the probabilities of all tokens at once, from those that are known.
        logits = model(Y, labels)  # (B, N, K)
        # 2. Sample every unknown token. Its probability, plus noise that fades out, is the model's confidence in it.
        sampled = torch.where(known, Y, sample_categorical(logits, generator))
        noise = gumbel_noise(sampled.shape, labels.device, generator)
        c = confidence(logits, sampled, known, temperature * (1 - (t + 1) / T), noise)
        # 3. Mask schedule: how many tokens stay unknown.
        n = num_to_mask(U, (~known).sum(1), t, T, gamma)  # (B,)
        # 4. Mask: the n least confident tokens become unknown again.
        Y = remask(sampled, c, n, model.mask_id)
    return Y


# --- The same, fast, from any canvas, and step by step ---


class Step(NamedTuple):
    """The canvas after one decoding step."""

    sampled: Tensor  # (B, N) every token, kept or only proposed
    tokens: Tensor  # (B, N) the input of the next step: [MASK] where a proposal was not kept
    masked: Tensor  # (B, N) bool, True where still masked


# How many tokens to mask after a step; `num_to_mask` is one, and decoders/counts.py has the released code's.
Count = Callable[[Tensor, Tensor, int, int, Schedule], Tensor]


def mask_plan(
    unknown: Tensor, steps: int, schedule: Schedule, start_step: int = 0, count: Count = num_to_mask
) -> Tensor:
    """The number of masked tokens after each step, (T - start_step, B), from those unknown at the start (B,)."""
    counts, now = [], unknown
    for step in range(start_step, steps):
        now = count(unknown, now, step, steps, schedule)
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
    count: Count = num_to_mask,
) -> Iterator[Step]:
    """Decode and yield every step: labels (B,) in 0..C (C: no class), tokens (B, N) with mask_id where unknown.

    tokens: the canvas to start from; blank by default. temperature: of the choice noise, before it is annealed to 0.
    guidance w: logits become (1 + w) * conditional - w * unconditional; 0, as in the paper, is no guidance. start_step:
    enter the schedule there, as the released code does when it edits. count: how many tokens to mask after a step.
    ValueError unless 0 <= start_step < steps.
    """
    if not 0 <= start_step < steps:
        raise ValueError(f"start_step {start_step} of {steps} steps; expected 0 to {steps - 1}")
    blank = tokens is None
    if blank:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id, device=labels.device)
    unknown = (tokens == model.mask_id).sum(1).cpu()  # (B,)
    plan = mask_plan(unknown, steps, schedule, start_step, count)  # (T - start_step, B)
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
    """The loop of `decode_steps`. All counts are known in advance, so nothing in it waits for the device.

    plan (T - start_step, B): tokens masked after each step. widths: before each step, the most tokens that any sample
    has unknown. classes: on a blank canvas, the distinct labels and the index of each sample's; None otherwise.
    """
    start_step = steps - len(plan)
    for step, counts, width in zip(range(start_step, steps), plan, widths):
        # 1. Predict, at `where` only: the unknown positions of each sample, padded with known ones to equal widths.
        known = tokens != model.mask_id  # (B, N)
        where = known.int().argsort(dim=1, stable=True)[:, :width]  # (B, M)
        if classes and step == start_step:  # a blank canvas has the same logits for all samples of a class
            distinct, of_class = classes
            C = len(distinct)  # any C rows of the canvas will do: all are blank
            logits = guided_logits(model, tokens[:C], distinct, where[:C], guidance)[of_class]
        else:
            logits = guided_logits(model, tokens, labels, where, guidance)  # (B, M, K)
        # 2. Sample the unknown tokens, with a confidence for each.
        fixed, before = known.gather(1, where), tokens.gather(1, where)
        drawn = torch.where(fixed, before, sample_categorical(logits, generator))  # (B, M)
        tau = temperature * (1 - (step + 1) / steps)
        noise = gumbel_noise(drawn.shape, drawn.device, generator)
        sure = confidence(logits, drawn, fixed, tau, noise)
        # 3. and 4. The plan says how many to mask again: the least confident. The last step masks none.
        sampled = tokens.scatter(1, where, drawn)
        tokens = tokens.scatter(1, where, remask(drawn, sure, counts, model.mask_id))
        yield Step(sampled, tokens, tokens == model.mask_id)


def decode(model: Transformer, labels: Tensor, tokens: Tensor | None = None, **options) -> Tensor:
    """The tokens (B, N) after the last of `decode_steps`, which explains the options; none of them is [MASK]."""
    for step in decode_steps(model, labels, tokens, **options):  # noqa: B007
        pass
    return step.tokens


def guided_logits(model: Transformer, tokens: Tensor, labels: Tensor, where: Tensor, guidance: float) -> Tensor:
    """Logits (B, M, K) at positions `where` (B, M), with classifier-free guidance unless it is 0 (one pass)."""
    if guidance == 0:
        return model(tokens, labels, where)
    nothing = torch.full_like(labels, model.num_classes)
    both = model(tokens.repeat(2, 1), torch.cat([labels, nothing]), where.repeat(2, 1))  # one pass of twice the batch
    conditional, unconditional = both.chunk(2)
    return (1 + guidance) * conditional - guidance * unconditional
