"""Lesson 5 answered in numpy; torch holds the model, the schedule and the generator."""

import numpy as np
import torch

from minimaskgit.schedules import cosine


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def uniform(shape, generator):
    return np.clip(torch.rand(*shape, generator=generator, dtype=torch.double).numpy(), 1e-12, 1 - 1e-12)


def confidence(logits, tokens, known, temperature, noise):
    log_p = np.take_along_axis(log_softmax(logits.double().numpy()), tokens.numpy()[..., None], -1)[..., 0]
    return torch.from_numpy(np.where(known.numpy(), np.inf, log_p + temperature * noise.numpy()))


def num_to_mask(unknown_at_start, unknown_now, step, steps, schedule):
    start, now = unknown_at_start.numpy(), unknown_now.numpy()
    if step + 1 == steps:
        return torch.zeros(len(now), dtype=torch.int64)
    r = torch.full((len(start),), (step + 1) / steps, dtype=torch.double)
    counts = np.floor(start * schedule(r, unknown_at_start).numpy())
    return torch.from_numpy(np.maximum(0, np.minimum(np.maximum(counts, 1), now - 1)).astype(np.int64))


def remask(tokens, confidence, counts, mask_id):
    left = tokens.numpy().copy()
    for row, order, count in zip(left, np.argsort(confidence.numpy(), axis=1), counts.numpy()):
        row[order[:count]] = mask_id
    return torch.from_numpy(left)


def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        logits = model(tokens, labels).detach()
        # The Gumbel-max trick: the argmax of logits plus standard Gumbel noise is a draw from their softmax.
        gumbel = -np.log(-np.log(uniform(logits.shape, generator)))
        drawn = torch.from_numpy(np.argmax(logits.numpy() + gumbel, -1))
        noise = torch.from_numpy(-np.log(-np.log(uniform(tokens.shape, generator))))
        sure = confidence(logits, drawn, known, temperature * (1 - (step + 1) / steps), noise)
        counts = num_to_mask(start, (~known).sum(1), step, steps, schedule)
        tokens = remask(torch.where(known, tokens, drawn), sure, counts, model.mask_id)
    return tokens
