"""Rows go by base 3 and columns by base 2."""

from minimaskgit.decoders import orders
from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.critic import critic_loss  # noqa: F401

BREAKS = (
    "test_the_first_points_of_the_halton_order",
    "test_the_halton_order_is_that_of_the_mirrored_digits",
)


def halton_order(height, width):
    order = orders.halton_order(width, height)
    return order % height * width + order // height
