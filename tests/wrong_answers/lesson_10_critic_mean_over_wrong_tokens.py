"""The mean is over the wrong tokens: a critic that calls everything wrong pays nothing."""

import torch.nn.functional as F

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = (
    "test_the_critic_s_loss_is_the_mean_cross_entropy_of_all_tokens",
    "test_only_the_counted_tokens_matter_each_the_same_in_whatever_sample",
    "test_without_an_opinion_the_critic_pays_log_2_however_many_tokens_are_wrong",
    "test_a_sure_critic_pays_nothing_if_right_and_its_score_if_wrong",
    "test_each_score_is_pulled_by_its_probability_minus_the_truth",
)


def critic_loss(scores, wrong, counted=None):
    wrong = wrong if counted is None else wrong & counted
    return (F.softplus(-scores) * wrong).sum() / wrong.sum().clamp(min=1)
