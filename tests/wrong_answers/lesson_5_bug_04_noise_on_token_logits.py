"""Bug 4: the annealed Gumbel noise of the choice is added to the logits that tokens are sampled from."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_tokens_are_sampled_at_temperature_1_however_large_the_choice_temperature",)


def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    unknown_at_start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        logits = model(tokens, labels).detach()
        tau = temperature * (1 - (step + 1) / steps)
        noisy = logits + tau * gumbel_noise(logits.shape, logits.device, generator)
        sampled = torch.where(known, tokens, sample_categorical(noisy, generator))
        noise = gumbel_noise(tokens.shape, tokens.device, generator)
        sure = confidence(logits, sampled.clamp(max=logits.shape[-1] - 1), known, tau, noise)
        counts = num_to_mask(unknown_at_start, (~known).sum(1), step, steps, schedule)
        tokens = remask(sampled, sure, counts, model.mask_id)
    return tokens
