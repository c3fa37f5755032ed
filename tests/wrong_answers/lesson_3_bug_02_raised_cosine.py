"""Bug 2: the cosine written as the learning-rate schedule of the same name, (1 + cos(pi r)) / 2."""

import math

import torch

from minimaskgit.masking import mask_counts, masked_cross_entropy, random_mask  # noqa: F401
from minimaskgit.schedules import cubic, exponential, linear, logarithmic, square, square_root  # noqa: F401

BREAKS = ("test_under_the_cosine_2_over_pi_of_an_image_is_masked_on_average",)


def cosine(r, num_tokens):
    return 0.5 * (1 + torch.cos(math.pi * r))
