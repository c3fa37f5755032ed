"""Only the first sample of the batch is masked again and returned."""

from minimaskgit import decoding
from minimaskgit.decoding import confidence, decode, num_to_mask  # noqa: F401

BREAKS = (
    "test_the_least_confident_tokens_are_masked_again_and_the_others_stay",
    "test_among_equally_confident_tokens_still_exactly_the_count_is_masked",
    "test_what_is_known_and_so_infinitely_sure_is_never_masked",
)


def remask(tokens, confidence, counts, mask_id):  # noqa: F811
    return decoding.remask(tokens[:1], confidence[:1], counts[:1], mask_id)
