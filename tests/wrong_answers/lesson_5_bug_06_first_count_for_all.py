"""Bug 6: the number of tokens to mask again is taken from sample 0 for the whole batch."""

from minimaskgit.decoding import confidence, decode, num_to_mask  # noqa: F401

BREAKS = (
    "test_the_least_confident_tokens_are_masked_again_and_the_others_stay",
    "test_among_equally_confident_tokens_still_exactly_the_count_is_masked",
    "test_what_is_known_and_so_infinitely_sure_is_never_masked",
)


def remask(tokens, confidence, counts, mask_id):  # noqa: F811
    least = confidence.topk(int(counts[0]), dim=1, largest=False).indices
    return tokens.scatter(1, least, mask_id)
