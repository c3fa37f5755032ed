"""Only the six likeliest codes are drawn from (top-k sampling), not the whole softmax."""

from minimaskgit import autoregressive
from minimaskgit.autoregressive import cached_step  # noqa: F401
from minimaskgit.transformer import shift_right  # noqa: F401

BREAKS = ("test_of_64_codes_that_are_equally_likely_every_one_is_drawn",)


def sample_next(logits, generator=None):
    best, codes = logits.topk(min(6, logits.shape[1]), dim=1)
    return codes.gather(1, autoregressive.sample_next(best, generator)[:, None])[:, 0]
