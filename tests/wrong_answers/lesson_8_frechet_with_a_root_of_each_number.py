"""The root is taken of each number of the product, not of the matrix: right for independent features only."""

from minimaskgit.metrics import inception_score, precision_recall  # noqa: F401

BREAKS = (
    "test_the_frechet_distance_of_clouds_of_one_shape_is_that_of_their_means_squared",
    "test_the_frechet_distance_is_the_formula_with_the_root_of_the_product",
)


def frechet_distance(mu1, sigma1, mu2, sigma2):
    overlap = (sigma1.double() @ sigma2.double()).diagonal().clamp(min=0).sqrt().sum()
    return (mu1 - mu2).double().square().sum() + sigma1.trace() + sigma2.trace() - 2 * overlap
