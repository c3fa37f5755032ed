"""Lesson 7 answered in loops over tokens and pixels."""

import math

import torch


def box_to_token_mask(box, image_size, grid, dilate):
    x0, y0, x1, y1 = box
    f = image_size // grid
    touched = set()
    for row in range(grid):
        for column in range(grid):
            across = max(x0, column * f) < min(x1, (column + 1) * f)
            down = max(y0, row * f) < min(y1, (row + 1) * f)
            if across and down:
                touched.add((row, column))
    steps = range(-dilate, dilate + 1)
    grown = {(row + i, column + j) for row, column in touched for i in steps for j in steps}
    return torch.tensor([(row, column) in grown for row in range(grid) for column in range(grid)])


def blend(original, generated, mask, radius):
    masks = mask.expand(len(original), *original.shape[-2:]).double()
    alpha = torch.stack([blurred(m, radius) for m in masks]).float()[:, None]
    return alpha * generated + (1 - alpha) * original


def blurred(mask, radius):
    if radius == 0:
        return mask
    reach = math.ceil(3 * radius)
    weights = [math.exp(-(d**2) / (2 * radius**2)) for d in range(-reach, reach + 1)]
    for axis in (0, 1):
        size, total = mask.shape[axis], torch.zeros_like(mask)
        for d, weight in zip(range(-reach, reach + 1), weights):
            places = torch.tensor([min(max(i + d, 0), size - 1) for i in range(size)])
            total += weight / sum(weights) * mask.index_select(axis, places)
        mask = total
    return mask
