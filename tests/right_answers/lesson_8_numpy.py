"""Lesson 8 answered in numpy and scipy."""

import numpy as np
import scipy.linalg
import scipy.spatial
import scipy.stats
import torch


def frechet_distance(mu1, sigma1, mu2, sigma2):
    mu1, sigma1, mu2, sigma2 = (np.asarray(x, dtype=np.float64) for x in (mu1, sigma1, mu2, sigma2))
    root = np.real(scipy.linalg.sqrtm(sigma1 @ sigma2))
    return torch.tensor(np.sum((mu1 - mu2) ** 2) + np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(root))


def inception_score(probs, splits=1):
    scores = []
    for part in np.array_split(probs.double().numpy(), splits):
        scores.append(np.exp(scipy.stats.entropy(part, part.mean(axis=0, keepdims=True), axis=1).mean()))
    return torch.tensor(np.mean(scores)), torch.tensor(np.std(scores))


def precision_recall(real, fake, k=3):
    real, fake = real.double().numpy(), fake.double().numpy()
    apart = scipy.spatial.distance.cdist(real, fake)
    real_radii = np.sort(scipy.spatial.distance.cdist(real, real), axis=1)[:, k]
    fake_radii = np.sort(scipy.spatial.distance.cdist(fake, fake), axis=1)[:, k]
    precision = (apart <= real_radii[:, None]).any(axis=0).mean()
    recall = (apart <= fake_radii[None, :]).any(axis=1).mean()
    return torch.tensor(precision), torch.tensor(recall)
