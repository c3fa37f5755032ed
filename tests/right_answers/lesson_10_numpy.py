"""Lesson 10 answered with numpy: all points at once, and the loss with its gradient written by hand."""

import numpy as np
import torch


def halton_order(height, width):
    def cells(size, base, count):
        points, left, top, bottom = np.arange(1, count + 1), np.arange(1, count + 1), np.zeros(count, int), 1
        for _ in range(len(np.base_repr(points[-1], base))):
            left, digit = np.divmod(left, base)
            top, bottom = top * base + digit, bottom * base
        return size * top // bottom

    count = 16 * height * width  # more points than any grid has needed
    while True:
        positions = cells(height, 2, count) * width + cells(width, 3, count)
        found, first = np.unique(positions, return_index=True)
        if len(found) == height * width:
            return torch.from_numpy(found[np.argsort(first)])
        count *= 2


def remdm_probability(before, after, sigma):
    a, b, s = (x.double().numpy() for x in (before, after, sigma))
    most = np.divide(1 - b, a, out=np.zeros_like(a), where=a > 0)
    taken = np.minimum(s, np.minimum(most, 1))
    revealed = np.divide(b - a + taken * a, 1 - a, out=np.zeros_like(a), where=a < 1)
    return torch.from_numpy(taken), torch.from_numpy(revealed)


class CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, wrong, weights):
        s, truth = scores.numpy(), wrong.numpy()
        probability = torch.from_numpy(0.5 * (1 + np.tanh(s / 2)))
        ctx.save_for_backward((probability - wrong.float()) * weights)
        return (torch.from_numpy(np.logaddexp(0, np.where(truth, -s, s))) * weights).sum()

    @staticmethod
    def backward(ctx, upstream):
        return upstream * ctx.saved_tensors[0], None, None


def critic_loss(scores, wrong, counted=None):
    counted = torch.ones_like(wrong) if counted is None else counted
    return CrossEntropy.apply(scores, wrong, counted / counted.sum().clamp(min=1))
