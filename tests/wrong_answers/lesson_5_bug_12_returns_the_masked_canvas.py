"""Bug 12, another way in: the loop returns the canvas masked again after the last step, not the last full sample."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_known_tokens_never_change_and_no_mask_or_class_comes_out",)


def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    unknown_at_start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        logits = model(tokens, labels).detach()
        sampled = torch.where(known, tokens, sample_categorical(logits, generator))
        noise = gumbel_noise(tokens.shape, tokens.device, generator)
        ids = sampled.clamp(max=logits.shape[-1] - 1)
        sure = confidence(logits, ids, known, temperature * (1 - (step + 1) / steps), noise)
        counts = num_to_mask(unknown_at_start, (~known).sum(1), step, steps, schedule).clamp(min=1)
        tokens = remask(sampled, sure, counts, model.mask_id)
    return tokens
