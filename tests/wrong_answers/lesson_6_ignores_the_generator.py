"""The draw is right, but from the global generator: no seed repeats a picture."""

import torch

from minimaskgit.autoregressive import cached_step  # noqa: F401
from minimaskgit.transformer import shift_right  # noqa: F401

BREAKS = ("test_the_generator_alone_decides_what_is_drawn",)


def sample_next(logits, generator=None):
    return torch.multinomial(logits.softmax(-1), 1)[:, 0]
