"""The choice temperature is temperature * (1 - t/T): it starts a step late, and the last choice still has noise."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_the_choice_temperature_falls_linearly_to_zero",)


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
        sure = confidence(logits, ids, known, temperature * (1 - step / steps), noise)
        counts = num_to_mask(unknown_at_start, (~known).sum(1), step, steps, schedule)
        tokens = remask(sampled, sure, counts, model.mask_id)
    return tokens
