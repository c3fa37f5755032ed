"""1e-5 is added to the probability before its logarithm, so that unlikely tokens seem surer than they are."""

from minimaskgit.decoding import decode, num_to_mask, remask  # noqa: F401

BREAKS = ("test_confidence_is_log_probability_plus_noise_and_infinite_where_known",)


def confidence(logits, tokens, known, temperature, noise):
    p = logits.softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return ((p + 1e-5).log() + temperature * noise).masked_fill(known, float("inf"))
