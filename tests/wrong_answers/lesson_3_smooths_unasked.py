"""Labels are smoothed where no smoothing is asked for: the default is not 0."""

from minimaskgit import masking
from minimaskgit.masking import mask_counts, random_mask  # noqa: F401
from minimaskgit.schedules import (  # noqa: F401
    cosine,
    cubic,
    exponential,
    linear,
    logarithmic,
    square,
    square_root,
)

BREAKS = ("test_the_loss_is_the_mean_negative_log_likelihood_of_the_masked_tokens",)


def masked_cross_entropy(logits, targets, mask, label_smoothing=0.1):
    return masking.masked_cross_entropy(logits, targets, mask, label_smoothing)
