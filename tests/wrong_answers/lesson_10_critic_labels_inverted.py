"""The critic learns which tokens are right."""

from minimaskgit.decoders import critic
from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = (
    "test_the_critic_s_loss_is_the_mean_cross_entropy_of_all_tokens",
    "test_only_the_counted_tokens_matter_each_the_same_in_whatever_sample",
    "test_a_sure_critic_pays_nothing_if_right_and_its_score_if_wrong",
    "test_each_score_is_pulled_by_its_probability_minus_the_truth",
)


def critic_loss(scores, wrong, counted=None):
    return critic.critic_loss(scores, ~wrong, counted)
