"""The digits are put behind the point as they are: 6 = 110 becomes 0.110."""

import torch

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.critic import critic_loss  # noqa: F401

BREAKS = (
    "test_the_first_points_of_the_halton_order",
    "test_the_halton_order_is_that_of_the_mirrored_digits",
)


def halton_order(height, width):
    seen, i = {}, 0
    while len(seen) < height * width and i < 1000:
        i += 1
        p, q = (next(base**k for k in range(1, 99) if base**k > i) for base in (2, 3))
        seen[height * i // p * width + width * i // q] = None
    return torch.tensor([*seen, *(position for position in range(height * width) if position not in seen)])
