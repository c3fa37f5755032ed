"""Lesson 6 answered in loops over samples, and the cached step block by block."""

import torch


def shift_right(tokens, start):
    rows = [first + row[:-1] for first, row in zip(start.tolist(), tokens.tolist())]
    return torch.tensor(rows, dtype=tokens.dtype).view(tokens.shape)


def sample_next(logits, generator=None):
    drawn = []
    for row in logits.softmax(-1):
        u, code = torch.rand((), generator=generator).item(), 0
        while u >= row[code] and code < len(row) - 1:
            u -= row[code].item()
            code += 1
        drawn.append(code)
    return torch.tensor(drawn)


def cached_step(model, newest, cache):
    x = model.embedding(newest) + model.positions[cache.length]
    x = x if model.pre_norm else model.norm(x)
    for layer, block in enumerate(model.blocks):
        x = block(x, cache, layer)
    cache.length = cache.length + 1
    x = model.norm(x) if model.pre_norm else x
    return model.logits(x[:, 0])
