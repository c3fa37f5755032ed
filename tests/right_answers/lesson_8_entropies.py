"""Lesson 8 answered by other formulas: a symmetric product, entropies, squared distances from inner products."""

import torch
from torch.distributions import Categorical


def frechet_distance(mu1, sigma1, mu2, sigma2):
    values, vectors = torch.linalg.eigh(sigma1.double())
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.mT
    # The eigenvalues of sigma1 sigma2 are those of this symmetric matrix.
    overlap = torch.linalg.eigvalsh(root @ sigma2.double() @ root).clamp(min=0).sqrt().sum()
    return torch.dist(mu1.double(), mu2.double()) ** 2 + torch.trace(sigma1 + sigma2) - 2 * overlap


def inception_score(probs, splits=1):
    # The mean divergence from the marginal is the marginal's entropy less the mean entropy.
    scores = [
        (entropy(part.mean(0, keepdim=True)).squeeze() - entropy(part).mean()).exp()
        for part in probs.tensor_split(splits)
    ]
    variance, mean = torch.var_mean(torch.stack(scores), correction=0)
    return mean, variance.sqrt()


def entropy(probs):
    return Categorical(probs=probs).entropy()


def precision_recall(real, fake, k=3):
    return held_by(real, fake, k), held_by(fake, real, k)


def held_by(cloud, points, k):
    own = squared_distances(cloud, cloud).fill_diagonal_(torch.inf)
    radii = own.topk(k, largest=False).values[:, -1]
    return (squared_distances(points, cloud) <= radii).any(1).float().mean()


def squared_distances(a, b):
    a, b = a.double(), b.double()
    return (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
