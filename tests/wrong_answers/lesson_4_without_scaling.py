"""Attention without the division by sqrt(d): wide heads attend to a single key."""

from minimaskgit.transformer import Block, merge_heads, split_heads  # noqa: F401

BREAKS = ("test_attention_is_the_softmax_of_scaled_products",)


def attention(q, k, v, causal):
    scores = q @ k.mT
    if causal:
        scores = scores.masked_fill(scores.new_ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
    return scores.softmax(-1) @ v
