"""Bug 11: tokens are sampled from the whole table of ids, so that [MASK] or a class can come out."""

import torch
import torch.nn.functional as F

from minimaskgit.decoding import confidence, gumbel_noise, num_to_mask, remask, sample_categorical
from minimaskgit.schedules import cosine

BREAKS = ("test_mask_and_classes_do_not_come_out_even_if_they_would_win",)


def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
    unknown_at_start = (tokens == model.mask_id).sum(1)
    for step in range(steps):
        known = tokens != model.mask_id
        ids = torch.cat([(model.num_codes + labels)[:, None], tokens], dim=1)
        x = model.head(model.trunk(ids)[:, 1:])
        logits = F.linear(x, model.embedding.weight, model.bias).detach()  # the output layer is the embedding table
        sampled = torch.where(known, tokens, sample_categorical(logits, generator))
        noise = gumbel_noise(tokens.shape, tokens.device, generator)
        sure = confidence(logits, sampled, known, temperature * (1 - (step + 1) / steps), noise)
        counts = num_to_mask(unknown_at_start, (~known).sum(1), step, steps, schedule)
        tokens = remask(sampled, sure, counts, model.mask_id)
    return tokens
