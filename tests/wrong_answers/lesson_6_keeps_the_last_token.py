"""The start token is put before all tokens, the last one included: N + 1 ids where the model reads N."""

import torch

from minimaskgit.autoregressive import cached_step, sample_next  # noqa: F401

BREAKS = ("test_what_a_causal_model_reads_is_the_start_and_all_tokens_but_the_last",)


def shift_right(tokens, start):
    return torch.cat([start, tokens], dim=1)
