"""Metrics of image quality, all computed from feature vectors or class probabilities (lesson 8; paper section 4.1).

    real images ──network──> features (N, D) ──┐    frechet_distance   how far apart are the Gaussians of the two clouds
                                               ├──> precision, recall  is each image near the other cloud
    generated   ──network──> features (M, D) ──┘    density, coverage  the same, but more robust to outliers
                        └──> probs (M, C) ────────> inception_score    is each image clear, and are all classes there

The caller chooses the network, and every number depends on it: distances in the features of different networks cannot
be compared. The published FID needs the original Inception weights, its resizing, and the same reference. Every number
also depends on the counts N and M: compare only numbers measured with the same counts.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from minimaskgit.common.precision import double

BLOCK = 2**24  # distances held at once: 64 MB, so that 50,000 x 50,000 need no more memory than 4,000 x 4,000

# --- Gaussians: the Fréchet distance ---


def feature_statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D), in float64, of feature vectors (N, D); N is 2 or more."""
    if len(features) < 2:
        raise ValueError(f"{len(features)} feature vectors: expected 2 or more for a covariance")
    features = double(features)
    mu = features.mean(0)
    centred = features - mu
    return mu, centred.T @ centred / (len(features) - 1)


def frechet_distance(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> Tensor:
    """Squared Fréchet distance of two Gaussians, mu (D,) and sigma (D, D), a scalar in float64 (Heusel et al. 2017).

    |mu1 - mu2|^2 + Tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)); 0 if and only if they are equal. It falls as the
    number of samples grows, even if both sets come from the same distribution.
    """
    shift = (double(mu1) - double(mu2)).square().sum()
    # If A and B are the symmetric roots of the sigmas, Tr (A^2 B^2)^(1/2) is the sum of the singular values of A B.
    # They are real and exist even if a sigma is singular, unlike the root of the product, which is not symmetric.
    overlap = torch.linalg.svdvals(_root(sigma1) @ _root(sigma2)).sum()
    spread = double(sigma1).trace() + double(sigma2).trace() - 2 * overlap
    return (shift + spread).clamp(min=0)  # rounding may leave slightly less than 0


def _root(sigma: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(double(sigma))
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


# --- Class probabilities: the inception score ---


def inception_score(probs: Tensor, splits: int = 1) -> tuple[Tensor, Tensor]:
    """exp(mean over x of KL(p(y|x) || p(y))), from class probabilities (N, C): mean and deviation over the splits.

    It ranges from 1 (all images look alike to the classifier) to C (each image certainly shows one class, and all
    classes are equally frequent). Salimans et al. 2016 average over 10 splits of the N images. The deviation is that of
    the population: squared deviations are divided by the number of splits. The splits are consecutive, so the images
    should be in random order, or the classes in turn. Raises ValueError for fewer images than splits.
    """
    if not 1 <= splits <= len(probs):
        raise ValueError(f"{splits} splits of {len(probs)} images: expected 1 to {len(probs)}")
    scores = []
    for p in double(probs).tensor_split(splits):
        marginal = p.mean(0)  # (C,), p(y)
        # x log x is 0 at 0, and if p(y) is 0, so is every p(y|x).
        kl = torch.special.xlogy(p, p).sum(1) - torch.special.xlogy(p, marginal).sum(1)  # (N / splits,)
        scores.append(kl.mean().exp())
    scores = torch.stack(scores)
    return scores.mean(), scores.std(correction=0)


# --- Nearest neighbours: precision and recall, density and coverage ---


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    """Improved precision and recall of features (N, D) and (M, D): scalars in 0..1 (Kynkäänniemi et al. 2019).

    Each vector of a cloud is the centre of a ball that reaches to its k-th neighbour in that cloud. Precision is the
    fraction of fakes that lie in any real ball (do they look real?). Recall is the fraction of real vectors that lie in
    any fake ball (are all kinds generated?). Raises ValueError unless both clouds have more than k vectors.
    """
    precision = _in_balls(fake, real, neighbour_distances(real, k))[0] > 0
    recall = _in_balls(real, fake, neighbour_distances(fake, k))[0] > 0
    return double(precision).mean(), double(recall).mean()


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """Density, 0 and up, and coverage, 0..1, of features (N, D) and (M, D): scalars (Naeem et al. 2020).

    Both use real balls only, because the balls of a few fake outliers are large enough to contain anything. Density is
    the mean number of real balls that a fake lies in, divided by k: it rewards fakes where real vectors are dense.
    Coverage is the fraction of real balls that contain a fake. Raises ValueError unless there are more than k real
    vectors.
    """
    balls, hit = _in_balls(fake, real, neighbour_distances(real, k))
    return double(balls).mean() / k, double(hit).mean()


def neighbour_distances(features: Tensor, k: int) -> Tensor:
    """Distance of each of the vectors (N, D) to its k-th nearest neighbour: (N,); ValueError unless 1 <= k < N."""
    if not 1 <= k < len(features):
        raise ValueError(f"k = {k} neighbours among {len(features)} feature vectors: expected 1 to {len(features) - 1}")
    # k + 1, because each vector's nearest is itself, at distance 0.
    return torch.cat([block.kthvalue(k + 1, dim=1).values for block in _distances(features, features)])


def _in_balls(points: Tensor, centres: Tensor, radii: Tensor) -> tuple[Tensor, Tensor]:
    """The number of balls that each of the points (M, D) lies in, (M,), and whether each ball holds one, bool (N,)."""
    counts, hit = [], torch.zeros(len(centres), dtype=torch.bool, device=centres.device)
    for block in _distances(points, centres):
        inside = block <= radii  # (rows, N)
        counts.append(inside.sum(1))
        hit |= inside.any(0)
    return torch.cat(counts), hit


def _distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Yield the Euclidean distances (M, N) between (M, D) and (N, D) in blocks of rows (rows, N)."""
    for rows in a.split(max(1, BLOCK // len(b))):
        # The faster |a|^2 - 2 a.b + |b|^2 rounds too much: a vector would not be at distance 0 from itself.
        yield torch.cdist(rows, b, compute_mode="donot_use_mm_for_euclid_dist")


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, at most 100, averaged over images in [0, 1]."""
    return -10 * (images - originals).square().mean((1, 2, 3)).clamp(min=1e-10).log10().mean()
