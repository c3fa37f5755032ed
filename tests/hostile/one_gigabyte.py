"""Gives a gigabyte."""

import torch


def remask(tokens, confidence, counts, mask_id):
    return torch.zeros(1).expand(2**28)
