"""Lesson 10 answered otherwise: digits as text, probabilities of what is new, softplus of signed scores."""

import torch
import torch.nn.functional as F
from torch import Tensor


def digits_of(i: int, base: int) -> str:
    return digits_of(i // base, base) + str(i % base) if i else ""


def halton_order(height: int, width: int) -> Tensor:
    order: dict[int, int] = {}
    for i in range(1, 10**9):
        if len(order) == height * width:
            break
        rows, columns = digits_of(i, 2)[::-1], digits_of(i, 3)[::-1]
        row, column = height * int(rows, 2) // 2 ** len(rows), width * int(columns, 3) // 3 ** len(columns)
        order.setdefault(row * width + column, i)
    return torch.tensor(sorted(order, key=order.get))


def remdm_probability(before: Tensor, after: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    known_again = torch.maximum(1 - sigma, (before + after - 1) / before.clamp(min=1e-9))  # is it kept?
    taken = (1 - known_again).clamp(0, 1) * (before > 0)
    still_missing = after - before * (1 - taken)
    return taken, (still_missing / (1 - before).clamp(min=1e-9)) * (before < 1)


def critic_loss(scores: Tensor, wrong: Tensor, counted: Tensor | None = None) -> Tensor:
    losses = F.softplus(torch.where(wrong, -scores, scores))
    losses = losses.flatten() if counted is None else losses[counted]
    return losses.sum() / max(1, losses.numel())
