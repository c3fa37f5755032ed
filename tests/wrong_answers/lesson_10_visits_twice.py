"""The first N points are taken, whether new or not."""

import torch

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.critic import critic_loss  # noqa: F401
from minimaskgit.decoders.orders import radical_inverse

BREAKS = (
    "test_the_halton_order_visits_every_position_once",
    "test_the_halton_order_is_that_of_the_mirrored_digits",
)


def halton_order(height, width):
    points = [(*radical_inverse(i, 2), *radical_inverse(i, 3)) for i in range(1, height * width + 1)]
    return torch.tensor([height * a // p * width + width * b // q for a, p, b, q in points])
