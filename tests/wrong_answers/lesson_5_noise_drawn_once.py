"""The choice noise is drawn once, before the loop, so that whoever wins in one pass wins in the next."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_the_choice_noise_of_each_pass_is_drawn_anew",)


@torch.no_grad()
def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    start = (tokens == model.mask_id).sum(1)
    noise = gumbel_noise(tokens.shape, tokens.device, generator)
    for step in range(steps):
        known = tokens != model.mask_id
        logits = model(tokens, labels)
        sampled = torch.where(known, tokens, sample_categorical(logits, generator))
        ids = sampled.clamp(max=logits.shape[-1] - 1)
        sure = confidence(logits, ids, known, temperature * (1 - (step + 1) / steps), noise)
        tokens = remask(sampled, sure, num_to_mask(start, (~known).sum(1), step, steps, schedule), model.mask_id)
    return tokens
