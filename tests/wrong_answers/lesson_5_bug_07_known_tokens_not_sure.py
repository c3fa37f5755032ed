"""Bug 7, another way in: known tokens are as unsure as any, so that they are masked again and lost."""

from minimaskgit.decoding import decode, num_to_mask, remask  # noqa: F401

BREAKS = ("test_confidence_is_log_probability_plus_noise_and_infinite_where_known",)


def confidence(logits, tokens, known, temperature, noise):
    log_p = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return log_p + temperature * noise
