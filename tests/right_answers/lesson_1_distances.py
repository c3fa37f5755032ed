"""Lesson 1 answered with torch's own distances, losses and distributions."""

import torch
import torch.nn.functional as F
from torch.distributions import Categorical


def nearest_codes(z, codebook):
    flat = torch.cdist(z.flatten(0, -2)[None], codebook[None], compute_mode="donot_use_mm_for_euclid_dist")[0]
    return flat.min(dim=1).indices.view(z.shape[:-1])


def straight_through(z, z_q):
    with torch.no_grad():
        step = z_q - z
    return z + step


def vq_losses(z, z_q, beta):
    with torch.no_grad():
        fixed_z, fixed_q = z.clone(), z_q.clone()
    return F.mse_loss(z_q, fixed_z), F.mse_loss(z, fixed_q).mul(beta)


def code_perplexity(codes, num_codes):
    used = F.one_hot(codes.flatten(), num_codes).sum(0)
    return Categorical(probs=used / used.sum()).entropy().exp()
