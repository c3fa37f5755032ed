"""Precision and recall are exchanged."""

from minimaskgit import metrics
from minimaskgit.metrics import frechet_distance, inception_score  # noqa: F401

BREAKS = (
    "test_few_true_copies_are_precise_and_recall_little",
    "test_precision_and_recall_are_what_drawing_every_ball_gives",
)


def precision_recall(real, fake, k=3):
    precision, recall = metrics.precision_recall(real, fake, k)
    return recall, precision
