"""Tokens come back as floats, which are no numbers of codes."""

from minimaskgit import decoding
from minimaskgit.decoding import confidence, num_to_mask  # noqa: F401

BREAKS = (
    "test_known_tokens_never_change_and_no_mask_or_class_comes_out",
    "test_the_least_confident_tokens_are_masked_again_and_the_others_stay",
)


def remask(tokens, confidence, counts, mask_id):  # noqa: F811
    return decoding.remask(tokens, confidence, counts, mask_id).float()


def decode(model, labels, tokens=None, **options):
    return decoding.decode(model, labels, tokens, **options).float()
