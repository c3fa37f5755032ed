"""Rounding leaves eigenvalues of a singular product a little less than 0, and their roots are not a number."""

import torch

from minimaskgit.metrics import inception_score, precision_recall  # noqa: F401

BREAKS = ("test_the_frechet_distance_is_a_number_even_if_the_covariances_are_singular",)


def frechet_distance(mu1, sigma1, mu2, sigma2):
    mu1, sigma1, mu2, sigma2 = (x.double() for x in (mu1, sigma1, mu2, sigma2))
    overlap = torch.linalg.eigvals(sigma1 @ sigma2).real.sqrt().sum()
    return (mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2 * overlap
