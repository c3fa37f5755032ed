"""Lesson 1 answered in loops, and the straight-through estimator as a function with a gradient of its own."""

import math

import torch


def nearest_codes(z, codebook):
    found = []
    for vector in z.reshape(-1, z.shape[-1]):
        distances = [float(((vector - entry) ** 2).sum()) for entry in codebook]
        found.append(distances.index(min(distances)))
    return torch.tensor(found).reshape(z.shape[:-1])


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, z_q):
        return z_q.clone()

    @staticmethod
    def backward(ctx, upstream):
        return upstream, None


def straight_through(z, z_q):
    return StraightThrough.apply(z, z_q)


def vq_losses(z, z_q, beta):
    def mean_square(a, b):
        return sum((x - y) ** 2 for x, y in zip(a.flatten(), b.flatten())) / a.numel()

    return mean_square(z.detach(), z_q), beta * mean_square(z, z_q.detach())


def code_perplexity(codes, num_codes):
    entropy, numbers = 0.0, codes.flatten().tolist()
    for code in set(numbers):
        p = numbers.count(code) / len(numbers)
        entropy -= p * math.log(p)
    return torch.tensor(math.exp(entropy))
