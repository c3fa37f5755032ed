"""Bug 10: one mask ratio for the whole batch."""

import math

import torch

from minimaskgit.masking import masked_cross_entropy, random_mask  # noqa: F401
from minimaskgit.schedules import cosine, cubic, exponential, linear, logarithmic, square, square_root  # noqa: F401

BREAKS = ("test_each_sample_masks_the_ceiling_of_gamma_n_of_its_own_ratio",)


def mask_counts(r, num_tokens, schedule):
    count = math.ceil(schedule(r.double().mean(), num_tokens).item() * num_tokens)
    return torch.full((len(r),), min(max(count, 1), num_tokens))
