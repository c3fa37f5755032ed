"""Bug 14: the loss is over all tokens, shown ones too, where only the masked ones are to be asked for."""

import torch.nn.functional as F

from minimaskgit.masking import mask_counts, random_mask  # noqa: F401
from minimaskgit.schedules import cosine, cubic, exponential, linear, logarithmic, square, square_root  # noqa: F401

BREAKS = (
    "test_the_loss_is_the_mean_negative_log_likelihood_of_the_masked_tokens",
    "test_the_loss_knows_nothing_of_the_tokens_that_were_shown",
    "test_the_loss_teaches_every_masked_position_and_no_other",
)


def masked_cross_entropy(logits, targets, mask, label_smoothing=0.0):
    return F.cross_entropy(logits.transpose(1, 2), targets, label_smoothing=label_smoothing)
