"""Lesson 6 answered with torch's own tools, and the Gumbel-max trick."""

import torch
import torch.nn.functional as F


def shift_right(tokens, start):
    shifted = F.pad(tokens, (1, -1))
    return torch.where(torch.arange(tokens.shape[1]) == 0, start, shifted)


def sample_next(logits, generator=None):
    u = torch.rand(logits.shape, generator=generator, dtype=torch.double)
    return (logits - torch.log(-torch.log(u))).argmax(-1)


def cached_step(model, newest, cache):
    return model.logits(model.trunk(newest, cache)).squeeze(1)
