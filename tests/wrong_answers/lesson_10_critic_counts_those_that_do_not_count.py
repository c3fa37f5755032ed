"""The tokens that do not count cost nothing, but the sum is divided by all."""

import torch.nn.functional as F

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = ("test_only_the_counted_tokens_matter_each_the_same_in_whatever_sample",)


def critic_loss(scores, wrong, counted=None):
    losses = F.binary_cross_entropy_with_logits(scores, wrong.float(), reduction="none")
    return (losses if counted is None else losses * counted).mean()
