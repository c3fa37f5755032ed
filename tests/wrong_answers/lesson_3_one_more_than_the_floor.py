"""The count is one more than the floor, not the ceiling: one too many where gamma N is a whole number."""

from minimaskgit.masking import masked_cross_entropy, random_mask  # noqa: F401
from minimaskgit.schedules import (  # noqa: F401
    cosine,
    cubic,
    exponential,
    linear,
    logarithmic,
    square,
    square_root,
)

BREAKS = ("test_where_gamma_n_is_a_whole_number_just_so_many_are_masked",)


def mask_counts(r, num_tokens, schedule):
    return ((schedule(r.double(), num_tokens) * num_tokens).floor().long() + 1).clamp(max=num_tokens)
