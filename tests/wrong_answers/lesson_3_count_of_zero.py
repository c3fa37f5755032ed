"""Where gamma is 0, no token is masked, and there is nothing to predict."""

import torch

from minimaskgit.masking import masked_cross_entropy, random_mask  # noqa: F401
from minimaskgit.schedules import (  # noqa: F401
    cosine,
    cubic,
    exponential,
    linear,
    logarithmic,
    square,
    square_root,
)

BREAKS = ("test_at_least_one_token_is_masked_and_at_most_all",)


def mask_counts(r, num_tokens, schedule):
    return torch.ceil(schedule(r.double(), num_tokens) * num_tokens).long()
