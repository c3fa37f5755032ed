"""Bug 1: the mask is inverted; gamma(r) N tokens are kept instead of masked."""

import torch

from minimaskgit.masking import mask_counts, masked_cross_entropy  # noqa: F401
from minimaskgit.schedules import cosine, cubic, exponential, linear, logarithmic, square, square_root  # noqa: F401

BREAKS = ("test_a_random_mask_has_exactly_the_asked_count_in_every_row", "test_every_position_is_masked_equally_often")


def random_mask(counts, num_tokens, generator=None):
    order = torch.rand(len(counts), num_tokens, generator=generator).argsort(dim=1)
    keep = torch.arange(num_tokens) < counts[:, None]
    mask = torch.ones(len(counts), num_tokens, dtype=torch.bool)
    return mask.scatter(1, order, ~keep)
