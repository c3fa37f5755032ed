"""Nothing known, or everything, is a division by 0."""

from minimaskgit.decoders.critic import critic_loss  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = (
    "test_a_known_token_is_taken_back_with_sigma_but_never_more_often_than_the_plan_allows",
    "test_on_average_as_many_tokens_are_known_after_the_step_as_planned",
    "test_what_is_taken_back_or_revealed_has_a_probability",
    "test_with_everything_known_nothing_is_revealed_and_without_sigma_nothing_is_taken_back",
)


def remdm_probability(before, after, sigma):
    taken = sigma.minimum(((1 - after) / before).clamp(max=1))
    return taken, (after - (1 - taken) * before) / (1 - before)
