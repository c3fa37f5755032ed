"""Lesson 1 answered in numpy where no gradient is needed."""

import numpy as np
import torch


def nearest_codes(z, codebook):
    apart = z.numpy()[..., None, :] - codebook.numpy()
    return torch.from_numpy(np.linalg.norm(apart, axis=-1).argmin(-1))


def straight_through(z, z_q):
    return z - z.detach() + z_q.detach()


def vq_losses(z, z_q, beta):
    return (z.detach() - z_q).square().mean(), beta * (z - z_q.detach()).square().mean()


def code_perplexity(codes, num_codes):
    _, counts = np.unique(codes.numpy(), return_counts=True)
    p = counts / counts.sum()
    return torch.tensor(np.prod(p**-p))
