"""The shifted ids are floats, which no embedding can look up."""

import torch

from minimaskgit.autoregressive import cached_step, sample_next  # noqa: F401

BREAKS = ("test_what_a_causal_model_reads_is_the_start_and_all_tokens_but_the_last",)


def shift_right(tokens, start):
    shifted = torch.zeros(tokens.shape)
    shifted[:, :1], shifted[:, 1:] = start, tokens[:, :-1]
    return shifted
