"""sigma is not cut off at sigma_max: more is taken back than can be revealed instead."""

from minimaskgit.decoders.critic import critic_loss  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = (
    "test_a_known_token_is_taken_back_with_sigma_but_never_more_often_than_the_plan_allows",
    "test_what_is_taken_back_or_revealed_has_a_probability",
)


def remdm_probability(before, after, sigma):
    taken = sigma * (before > 0)
    return taken, ((after - (1 - taken) * before) / (1 - before).clamp(min=1e-9)) * (before < 1)
