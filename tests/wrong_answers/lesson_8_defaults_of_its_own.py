"""Options that are left out have values of their own: 10 splits, and balls that reach to the fifth neighbour."""

from minimaskgit import metrics
from minimaskgit.metrics import frechet_distance  # noqa: F401

BREAKS = (
    "test_the_inception_score_is_the_exponential_of_the_mean_divergence",
    "test_precision_and_recall_are_what_drawing_every_ball_gives",
)


def inception_score(probs, splits=10):
    return metrics.inception_score(probs, min(splits, len(probs)))


def precision_recall(real, fake, k=5):
    return metrics.precision_recall(real, fake, min(k, len(real) - 1, len(fake) - 1))
