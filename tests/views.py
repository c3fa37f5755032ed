"""What a decoder sees of one step on the tiny transformer's canvas."""

import torch
from canvas import C, K
from tiny import generator

from minimaskgit.decoders.loop import View


def view(logits: torch.Tensor, known: torch.Tensor, step: int = 0, steps: int = 4, seed: int = 0, **others) -> View:
    """A step of decoding whose tokens are all drawn as code 0."""
    tokens = torch.zeros(known.shape, dtype=torch.long).masked_fill(~known, K + C)
    fields = {"given": torch.zeros_like(known), "sure": torch.ones(known.shape), "offset": torch.zeros(len(known))}
    fields |= {"sampled": torch.zeros_like(tokens), "mask_id": K + C, "generator": generator(seed)} | others
    return View(step, steps, tokens, known, logits=logits, **fields)
