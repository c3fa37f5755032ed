"""The points are floats: 9 phi_3(5) = 9 x 7/9 rounds down to 6."""

import torch

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.critic import critic_loss  # noqa: F401

BREAKS = ("test_the_halton_order_is_that_of_the_mirrored_digits",)


def phi(i, base):
    value, unit = 0.0, 1.0 / base
    while i:
        i, digit = divmod(i, base)
        value, unit = value + digit * unit, unit / base
    return value


def halton_order(height, width):
    seen, i = {}, 0
    while len(seen) < height * width:
        i += 1
        seen[int(height * phi(i, 2)) * width + int(width * phi(i, 3))] = None
    return torch.tensor(list(seen))
