"""Bug 7: every token is sampled anew, the known ones too, and what was to be kept in an edit is lost."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_known_tokens_never_change_and_no_mask_or_class_comes_out", "test_a_token_once_fixed_stays_to_the_end")


def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    unknown_at_start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        logits = model(tokens, labels).detach()
        sampled = sample_categorical(logits, generator)
        noise = gumbel_noise(tokens.shape, tokens.device, generator)
        sure = confidence(logits, sampled, known, temperature * (1 - (step + 1) / steps), noise)
        counts = num_to_mask(unknown_at_start, (~known).sum(1), step, steps, schedule)
        tokens = remask(sampled, sure, counts, model.mask_id)
    return tokens
