"""The model is shown every canvas, but what it says of the first one decides in all passes."""

import torch

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_each_pass_fixes_what_the_model_says_of_the_canvas_that_it_is_shown",)


@torch.no_grad()
def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        said = model(tokens, labels)
        if step == 0:
            logits = said
        sampled = torch.where(known, tokens, sample_categorical(logits, generator))
        noise = gumbel_noise(tokens.shape, tokens.device, generator)
        ids = sampled.clamp(max=logits.shape[-1] - 1)
        sure = confidence(logits, ids, known, temperature * (1 - (step + 1) / steps), noise)
        tokens = remask(sampled, sure, num_to_mask(start, (~known).sum(1), step, steps, schedule), model.mask_id)
    return tokens
