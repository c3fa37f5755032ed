"""Lesson 6 answered in numpy, but for the model."""

import numpy as np
import torch


def shift_right(tokens, start):
    shifted = np.roll(tokens.numpy(), 1, axis=1)
    shifted[:, 0] = start.numpy()[:, 0]
    return torch.from_numpy(shifted)


def sample_next(logits, generator=None):
    z = logits.detach().double().numpy()
    p = np.exp(z - z.max(axis=1, keepdims=True))
    cumulative = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
    u = torch.rand(len(z), 1, generator=generator, dtype=torch.double).numpy()
    return torch.from_numpy(np.minimum((cumulative < u).sum(axis=1), z.shape[1] - 1))


@torch.no_grad()
def cached_step(model, newest, cache):
    every = model.logits(model.trunk(newest, cache))
    return torch.from_numpy(every.numpy()[:, -1, :].copy())
