"""The logarithm of a probability that has been rounded to 0 or 1."""

from minimaskgit.decoders.correction import remdm_probability  # noqa: F401
from minimaskgit.decoders.orders import halton_order  # noqa: F401

BREAKS = ("test_a_sure_critic_pays_nothing_if_right_and_its_score_if_wrong",)


def critic_loss(scores, wrong, counted=None):
    p = scores.sigmoid().clamp(1e-6, 1 - 1e-6)
    losses = -(wrong * p.log() + ~wrong * (1 - p).log())
    losses = losses if counted is None else losses[counted]
    return losses.sum() / max(1, losses.numel())
