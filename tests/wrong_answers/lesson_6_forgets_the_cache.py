"""The newest id is read alone, at position 0, and the cache is neither read nor extended."""

from minimaskgit.autoregressive import sample_next  # noqa: F401
from minimaskgit.transformer import shift_right  # noqa: F401

BREAKS = (
    "test_a_step_with_the_cache_says_what_reading_everything_again_says",
    "test_a_step_adds_one_position_to_the_cache",
)


def cached_step(model, newest, cache):
    return model.logits(model.trunk(newest)[:, -1])
