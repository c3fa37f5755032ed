"""The causal mask is off by one the other way: no query sees its own key, and the first sees nothing at all."""

import torch

from minimaskgit.transformer import Block, merge_heads, split_heads  # noqa: F401

BREAKS = ("test_attention_is_the_softmax_of_scaled_products",)


def attention(q, k, v, causal):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(0).bool(), float("-inf"))
    return scores.softmax(-1) @ v
