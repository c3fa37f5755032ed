"""Lesson 7 answered in numpy and scipy."""

import math

import numpy as np
import torch
from scipy import ndimage


def box_to_token_mask(box, image_size, grid, dilate):
    x0, y0, x1, y1 = box
    pixels = np.zeros((image_size, image_size), dtype=bool)
    pixels[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    f = image_size // grid
    tokens = pixels.reshape(grid, f, grid, f).any(axis=(1, 3))
    if dilate:
        tokens = ndimage.binary_dilation(tokens, np.ones((3, 3)), iterations=dilate)
    return torch.from_numpy(tokens.ravel())


def blend(original, generated, mask, radius):
    masks = np.broadcast_to(mask.numpy(), (len(original), *original.shape[-2:])).astype(np.float64)
    if radius > 0:
        reach = math.ceil(3 * radius)
        masks = ndimage.gaussian_filter(masks, (0, radius, radius), mode="nearest", radius=(0, reach, reach))
    alpha = masks[:, None]
    mixed = original.numpy() * (1 - alpha) + generated.numpy() * alpha
    return torch.from_numpy(mixed.astype(np.float32))
