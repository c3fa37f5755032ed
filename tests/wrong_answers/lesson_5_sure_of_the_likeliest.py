"""Decoding that asks how likely the likeliest code is, not the one that was drawn."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_without_choice_noise_the_likelier_of_two_drawn_tokens_is_kept",)


@torch.no_grad()
def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        logits = model(tokens, labels)
        drawn = torch.where(known, tokens, sample_categorical(logits, generator))
        noise = gumbel_noise(drawn.shape, drawn.device, generator)
        sure = confidence(logits, logits.argmax(-1), known, temperature * (1 - (step + 1) / steps), noise)
        tokens = remask(drawn, sure, num_to_mask(start, (~known).sum(1), step, steps, schedule), model.mask_id)
    return tokens
