"""Lesson 3 answered in loops, a number at a time, as one thinks of it first."""

import math
import random

import torch


def of_each(formula):
    def schedule(r, num_tokens):
        sizes = torch.as_tensor(num_tokens).expand(r.shape).flatten().tolist()
        values = [formula(x, n) for x, n in zip(r.flatten().tolist(), sizes)]
        return torch.tensor(values, dtype=r.dtype).reshape(r.shape)

    return schedule


cosine = of_each(lambda r, n: math.cos(math.pi * r / 2))
linear = of_each(lambda r, n: 1 - r)
square = of_each(lambda r, n: 1 - r * r)
cubic = of_each(lambda r, n: 1 - r * r * r)
exponential = of_each(lambda r, n: 1 - n ** (r - 1))
square_root = of_each(lambda r, n: 1 - r**0.5)
logarithmic = of_each(lambda r, n: 1.0 if r * n <= 1 else -math.log(r, n))


def mask_counts(r, num_tokens, schedule):
    counts = []
    for x in r:
        count = math.ceil(float(schedule(x[None].double(), num_tokens)) * num_tokens)
        counts.append(max(1, min(num_tokens, count)))
    return torch.tensor(counts)


def random_mask(counts, num_tokens, generator=None):
    draw = random.Random(torch.randint(2**60, (), generator=generator).item())
    mask = []
    for count in counts.tolist():
        chosen = set(draw.sample(range(num_tokens), count))
        mask.append([position in chosen for position in range(num_tokens)])
    return torch.tensor(mask, dtype=torch.bool).view(len(counts), num_tokens)


def masked_cross_entropy(logits, targets, mask, label_smoothing=0.0):
    batch, num_tokens, num_codes = logits.shape
    losses = []
    for i in range(batch):
        for j in range(num_tokens):
            if mask[i, j]:
                log_p = logits[i, j] - logits[i, j].logsumexp(0)
                likely = (1 - label_smoothing) * log_p[targets[i, j]]
                losses.append(-likely - label_smoothing / num_codes * log_p.sum())
    return sum(losses) / len(losses)
