"""The causal mask is off by one: each query sees the key after its own."""

import torch

from minimaskgit.transformer import Block, merge_heads, split_heads  # noqa: F401

BREAKS = (
    "test_attention_is_the_softmax_of_scaled_products",
    "test_under_causal_attention_a_query_knows_nothing_of_later_keys_and_values",
)


def attention(q, k, v, causal):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(2).bool(), float("-inf"))
    return scores.softmax(-1) @ v
