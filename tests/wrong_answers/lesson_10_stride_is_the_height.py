"""Positions are row x height + column: right for squares only."""

from minimaskgit.decoders import orders
from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.critic import critic_loss  # noqa: F401

BREAKS = (
    "test_the_halton_order_visits_every_position_once",
    "test_the_halton_order_is_that_of_the_mirrored_digits",
)


def halton_order(height, width):
    order = orders.halton_order(height, width)
    return order // width * height + order % width
