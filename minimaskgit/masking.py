"""Masked visual token modelling: hide part of the tokens, predict them from the rest (lesson 3; paper section 3.1).

tokens (B, N) ── r ~ U[0,1) per sample ── ceil(gamma(r) N) positions ──> [MASK] there ──> transformer ──> loss there
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaskgit.common.precision import double
from minimaskgit.schedules import Schedule


def mask_counts(r: Tensor, num_tokens: int, schedule: Schedule) -> Tensor:
    """How many tokens of each sample to mask, ceil(gamma(r) * N): r (B,) in [0, 1] to int64 (B,) in 1..N."""
    # In double precision: float32 rounding would at times put gamma * N on the other side of an integer.
    fraction = schedule(double(r), num_tokens)
    return torch.ceil(fraction * num_tokens).long().clamp(1, num_tokens).to(r.device)


def random_mask(counts: Tensor, num_tokens: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose exactly `counts` positions of each sample uniformly: (B,) to bool (B, N), True where masked."""
    scores = torch.rand(len(counts), num_tokens, generator=generator, device=counts.device)
    ranks = scores.argsort(dim=1).argsort(dim=1)  # (B, N) a random permutation of 0..N-1 a row
    return ranks < counts[:, None]


def masked_cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood over the masked positions only (paper equation 1, which has the sum).

    logits (B, N, K), targets (B, N) in 0..K-1, mask (B, N), bool with at least one True or weights. Returns a scalar in
    nats a token. The paper smooths labels by 0.1 (section 4.1).
    """
    losses = F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), reduction="none", label_smoothing=label_smoothing
    )
    weights = mask.flatten().to(losses)
    return (losses * weights).sum() / weights.sum()


def draw_masks(
    batch: int,
    num_tokens: int,
    schedule: Schedule,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Which tokens training masks: bool (B, N), True where masked (paper section 3.1).

    Each sample draws its own ratio r ~ U[0, 1), so a batch has canvases from almost blank to almost complete.
    """
    r = torch.rand(batch, generator=generator, device=device)
    return random_mask(mask_counts(r, num_tokens, schedule), num_tokens, generator)


def mvtm_loss(model: nn.Module, tokens: Tensor, labels: Tensor, mask: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The training objective: tokens (B, N) in 0..K-1, labels (B,), mask bool (B, N) to a scalar (paper equation 1).

    model: a Transformer that is not causal; mask: from `draw_masks`.
    """
    mask_id = getattr(model, "module", model).mask_id  # DDP wraps the model, and hides its attributes
    logits = model(tokens.masked_fill(mask, mask_id), labels)  # (B, N, K)
    return masked_cross_entropy(logits, tokens, mask, label_smoothing)
