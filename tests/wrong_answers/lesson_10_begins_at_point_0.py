"""The sequence begins with point 0, the corner."""

import torch

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.critic import critic_loss  # noqa: F401
from minimaskgit.decoders.orders import radical_inverse

BREAKS = (
    "test_the_first_points_of_the_halton_order",
    "test_the_halton_order_is_that_of_the_mirrored_digits",
)


def halton_order(height, width):
    seen, i = {}, 0
    while len(seen) < height * width:
        (a, p), (b, q) = radical_inverse(i, 2), radical_inverse(i, 3)
        seen[height * a // p * width + width * b // q] = None
        i += 1
    return torch.tensor(list(seen))
