"""Gives a mask whose every True counts as 255."""

import numpy as np
import torch


def remask(tokens, confidence, counts, mask_id):
    raw = np.full(tokens.shape, 255, dtype=np.uint8).view(bool)
    return torch.from_numpy(raw)
