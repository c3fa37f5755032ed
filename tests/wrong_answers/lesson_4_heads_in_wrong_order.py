"""The axes of heads and positions are not exchanged, neither in splitting nor in merging: the numbers are mixed up."""

from minimaskgit.transformer import Block, attention  # noqa: F401

BREAKS = (
    "test_each_head_gets_a_slice_of_the_width_at_every_position",
    "test_merging_puts_the_heads_side_by_side_again",
)


def split_heads(x, heads):
    batch, length, width = x.shape
    return x.reshape(batch, heads, length, width // heads)


def merge_heads(x):
    batch, heads, length, width = x.shape
    return x.reshape(batch, length, heads * width)
