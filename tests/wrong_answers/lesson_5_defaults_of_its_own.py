"""Options that are left out have values of their own: 12 passes at a choice temperature of 1."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_options_that_are_left_out_have_the_exercise_s_defaults",)


@torch.no_grad()
def decode(model, labels, tokens=None, steps=12, schedule=cosine, temperature=1.0, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        logits = model(tokens, labels)
        sampled = torch.where(known, tokens, sample_categorical(logits, generator))
        noise = gumbel_noise(tokens.shape, tokens.device, generator)
        ids = sampled.clamp(max=logits.shape[-1] - 1)
        sure = confidence(logits, ids, known, temperature * (1 - (step + 1) / steps), noise)
        tokens = remask(sampled, sure, num_to_mask(start, (~known).sum(1), step, steps, schedule), model.mask_id)
    return tokens
