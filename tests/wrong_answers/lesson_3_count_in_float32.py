"""gamma(r) N is computed in float32, where rounding carries it past an integer."""

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

BREAKS = ("test_gamma_n_is_computed_in_double_precision",)


def mask_counts(r, num_tokens, schedule):
    return torch.ceil(schedule(r.float(), num_tokens) * num_tokens).long().clamp(1, num_tokens)
