"""As many are revealed as without taking back: the canvas fills too slowly."""

from minimaskgit.decoders import correction
from minimaskgit.decoders.critic import critic_loss  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = ("test_on_average_as_many_tokens_are_known_after_the_step_as_planned",)


def remdm_probability(before, after, sigma):
    taken, _ = correction.remdm_probability(before, after, sigma)
    return taken, correction.remdm_probability(before, after, 0 * sigma)[1]
