"""Lesson 5 answered in loops over samples and positions; only the model sees the batch as a whole."""

import math

import torch

from minimaskgit.schedules import cosine


def confidence(logits, tokens, known, temperature, noise):
    sure = torch.full(tokens.shape, math.inf)
    for i in range(tokens.shape[0]):
        for j in range(tokens.shape[1]):
            if not known[i, j]:
                p = logits[i, j].softmax(0)[tokens[i, j]]
                sure[i, j] = p.log() + temperature * noise[i, j]
    return sure


def num_to_mask(unknown_at_start, unknown_now, step, steps, schedule):
    counts = []
    for start, now in zip(unknown_at_start.tolist(), unknown_now.tolist()):
        if step == steps - 1 or now <= 1:
            counts.append(0)
            continue
        r = torch.tensor([(step + 1) / steps], dtype=torch.float64)
        count = math.floor(start * float(schedule(r, start)))
        counts.append(min(max(count, 1), now - 1))
    return torch.tensor(counts)


def remask(tokens, confidence, counts, mask_id):
    rows = []
    for row, sure, count in zip(tokens.tolist(), confidence.tolist(), counts.tolist()):
        for position in sorted(range(len(row)), key=sure.__getitem__)[:count]:
            row[position] = mask_id
        rows.append(row)
    return torch.tensor(rows)


@torch.no_grad()
def decode(model, labels, tokens=None, steps=8, schedule=cosine, temperature=4.5, generator=None):
    batch, num_tokens = len(labels), model.num_tokens
    tokens = torch.full((batch, num_tokens), model.mask_id) if tokens is None else tokens.clone()
    start = [int((row == model.mask_id).sum()) for row in tokens]
    for step in range(steps):
        logits = model(tokens, labels)
        tau = temperature * (1 - (step + 1) / steps)
        for i in range(batch):
            places = [j for j in range(num_tokens) if tokens[i, j] == model.mask_id]
            if not places:
                continue
            p = logits[i, places].softmax(1)
            drawn = torch.multinomial(p, 1, generator=generator)[:, 0]
            u = torch.rand(len(places), generator=generator).clamp(1e-12, 1 - 1e-7)
            sure = p.gather(1, drawn[:, None])[:, 0].log() - tau * (-u.log()).log()
            left = num_to_mask(torch.tensor([start[i]]), torch.tensor([len(places)]), step, steps, schedule)
            tokens[i, places] = drawn
            for k in sure.argsort()[: int(left)].tolist():
                tokens[i, places[k]] = model.mask_id
    return tokens
