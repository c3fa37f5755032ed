"""Lesson 5 answered by cut-offs: the count-th least confidence decides, and the last step is left to the clamp."""

import torch
from torch.distributions import Categorical, Gumbel

from minimaskgit.schedules import cosine


def confidence(logits, tokens, known, temperature, noise):
    log_p = Categorical(logits=logits).log_prob(tokens)
    return torch.where(known, torch.full_like(log_p, float("inf")), log_p + temperature * noise)


def num_to_mask(unknown_at_start, unknown_now, step, steps, schedule):
    last = step == steps - 1
    r = torch.full_like(unknown_at_start, (step + 1) / steps, dtype=torch.double)
    left = (unknown_at_start * schedule(r, unknown_at_start)).floor().to(torch.int64)
    left = torch.where(left < 1, 1, left)
    left = torch.where(left > unknown_now - 1, unknown_now - 1, left)
    return torch.where((left < 0) | last, 0, left)


def remask(tokens, confidence, counts, mask_id):
    order = confidence.sort(dim=1, stable=True).indices  # (B, N), the least confident first
    first = torch.arange(tokens.shape[1]).expand_as(tokens) < counts.unsqueeze(1)
    return torch.where(torch.zeros_like(first).scatter(1, order, first), mask_id, tokens)


def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    canvas = torch.full((len(labels), model.num_tokens), model.mask_id) if tokens is None else tokens
    start = canvas.eq(model.mask_id).sum(dim=1)
    with torch.random.fork_rng():  # torch.distributions draw from the global generator alone
        torch.manual_seed(torch.randint(2**62, (), generator=generator).item())
        with torch.inference_mode():
            for step in range(steps):
                known = canvas.ne(model.mask_id)
                logits = model(canvas, labels)
                canvas = torch.where(known, canvas, Categorical(logits=logits).sample())
                sure = confidence(
                    logits,
                    canvas,
                    known,
                    temperature * (steps - step - 1) / steps,
                    Gumbel(0.0, 1.0).sample(canvas.shape),
                )
                canvas = remask(canvas, sure, num_to_mask(start, (~known).sum(1), step, steps, schedule), model.mask_id)
    return canvas.clone()
