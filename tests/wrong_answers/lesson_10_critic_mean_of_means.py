"""The mean of each sample's mean: where few tokens count, each counts for more."""

import torch.nn.functional as F

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = ("test_only_the_counted_tokens_matter_each_the_same_in_whatever_sample",)


def critic_loss(scores, wrong, counted=None):
    losses = F.binary_cross_entropy_with_logits(scores, wrong.float(), reduction="none")
    counted = wrong | True if counted is None else counted
    return ((losses * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()
