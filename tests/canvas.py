"""The tiny transformer's canvas, on which the laws of decoding are tested."""

import torch
from hypothesis import strategies as st
from strategies import canvases
from tiny import tiny_transformer

N, K, C = 9, 11, 3  # its tokens, codes and classes
MODEL = tiny_transformer()

step_counts = st.integers(1, N + 2)
known_regions = canvases(K, N, MODEL.mask_id)


def some_labels(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(tokens)) % (C + 1)


def unknown(tokens: torch.Tensor) -> torch.Tensor:
    return tokens == MODEL.mask_id
