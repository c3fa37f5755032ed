"""Bug 6, in training: the number of masked tokens is taken from sample 0 for the whole batch."""

import torch

from minimaskgit.masking import mask_counts, masked_cross_entropy  # noqa: F401
from minimaskgit.schedules import cosine, cubic, exponential, linear, logarithmic, square, square_root  # noqa: F401

BREAKS = ("test_a_random_mask_has_exactly_the_asked_count_in_every_row",)


def random_mask(counts, num_tokens, generator=None):
    scores = torch.rand(len(counts), num_tokens, generator=generator)
    chosen = scores.topk(int(counts[0]), dim=1).indices
    return torch.zeros(len(counts), num_tokens, dtype=torch.bool).scatter(1, chosen, True)
