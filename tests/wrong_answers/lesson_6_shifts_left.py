"""The shift goes the wrong way: each position reads the token that comes after it, which gives the answer away."""

import torch

from minimaskgit.autoregressive import cached_step, sample_next  # noqa: F401

BREAKS = ("test_what_a_causal_model_reads_is_the_start_and_all_tokens_but_the_last",)


def shift_right(tokens, start):
    return torch.cat([tokens[:, 1:], start], dim=1)
