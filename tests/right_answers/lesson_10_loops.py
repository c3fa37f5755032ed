"""Lesson 10 answered token by token, with fractions and Python's logarithm."""

import math
from fractions import Fraction

import torch


def halton_order(height, width):
    def phi(i, base):
        value, unit = Fraction(0), Fraction(1)
        while i > 0:
            unit /= base
            value += unit * (i % base)
            i //= base
        return value

    order, i = [], 1
    while len(order) < height * width:
        position = int(height * phi(i, 2)) * width + int(width * phi(i, 3))
        if position not in order:
            order.append(position)
        i += 1
    return torch.tensor(order)


def remdm_probability(before, after, sigma):
    taken, revealed = [], []
    for a, b, s in zip(before.tolist(), after.tolist(), sigma.tolist()):
        taken.append(min(s, 1, (1 - b) / a) if a > 0 else 0.0)
        revealed.append((b - (1 - taken[-1]) * a) / (1 - a) if a < 1 else 0.0)
    return torch.tensor(taken), torch.tensor(revealed)


def critic_loss(scores, wrong, counted=None):
    total, count = scores.new_zeros(()), 0
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            if counted is not None and not counted[i, j]:
                continue
            against = -scores[i, j] if wrong[i, j] else scores[i, j]
            total = total + (against if against > 30 else torch.log1p(torch.exp(against)))
            count += 1
    return total / max(count, math.ulp(1.0))
