"""Lesson 2 answered as one would in numpy: maxima with zero, and norms by numpy itself."""

import numpy as np
import torch


def hinge_d_loss(real, fake):
    zero = torch.zeros(())
    return 0.5 * torch.maximum(zero, 1 - real).mean() + 0.5 * torch.maximum(zero, 1 + fake).mean()


def hinge_g_loss(fake):
    return (-fake).mean()


def discriminator_loss(discriminator, real, fake):
    return hinge_d_loss(discriminator(real), discriminator(fake.clone().detach()))


def adaptive_weight(rec_grad, gan_grad):
    rec, gan = (np.linalg.norm(grad.detach().numpy()) for grad in (rec_grad, gan_grad))
    return torch.tensor(np.minimum(rec / (gan + 1e-6), 1e4))


def perceptual_loss(features_a, features_b):
    return sum((a - b).pow(2).mean() for a, b in zip(features_a, features_b)) / len(features_a)
