"""Lesson 8 answered in loops over pictures; the root's trace from the eigenvalues of the product."""

import math

import torch


def frechet_distance(mu1, sigma1, mu2, sigma2):
    eigenvalues = torch.linalg.eigvals(sigma1.double() @ sigma2.double())
    overlap = sum(math.sqrt(max(value.real, 0.0)) for value in eigenvalues.tolist())
    distance = sum((a - b) ** 2 for a, b in zip(mu1.tolist(), mu2.tolist()))
    for i in range(len(mu1)):
        distance += sigma1[i, i].item() + sigma2[i, i].item()
    return torch.tensor(distance - 2 * overlap, dtype=torch.float64)


def inception_score(probs, splits=1):
    scores = []
    for part in torch.tensor_split(probs, splits):
        rows = part.tolist()
        marginal = [sum(column) / len(rows) for column in zip(*rows)]
        total = 0.0
        for row in rows:
            total += sum(p * math.log(p / q) for p, q in zip(row, marginal) if p > 0)
        scores.append(math.exp(total / len(rows)))
    mean = sum(scores) / splits
    return torch.tensor(mean), torch.tensor(math.sqrt(sum((score - mean) ** 2 for score in scores) / splits))


def precision_recall(real, fake, k=3):
    return share(fake, real, k), share(real, fake, k)


def share(points, cloud, k):
    points, cloud = points.tolist(), cloud.tolist()
    radii = []
    for i, centre in enumerate(cloud):
        others = sorted(math.dist(centre, other) for j, other in enumerate(cloud) if j != i)
        radii.append(others[k - 1])
    hits = [any(math.dist(x, centre) <= radius for centre, radius in zip(cloud, radii)) for x in points]
    return torch.tensor(sum(hits) / len(hits))
