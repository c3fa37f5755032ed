"""Bug 10: one mask ratio for the whole batch."""

import math

import torch

from minimaskgit.masking import (
    masked_cross_entropy,  # noqa: F401
    random_mask,  # noqa: F401
)
from minimaskgit.schedules import (
    cosine,  # noqa: F401
    cubic,  # noqa: F401
    exponential,  # noqa: F401
    linear,  # noqa: F401
    logarithmic,  # noqa: F401
    square,  # noqa: F401
    square_root,  # noqa: F401
)

BREAKS = ("test_each_sample_masks_the_ceiling_of_gamma_n_of_its_own_ratio",)


def mask_counts(r, num_tokens, schedule):
    count = math.ceil(schedule(r.double().mean(), num_tokens).item() * num_tokens)
    return torch.full((len(r),), min(max(count, 1), num_tokens))
