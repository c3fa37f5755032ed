"""Outpainting: continue a picture beyond its edges, one overlapping window at a time (lesson 7; paper section 4.3).

canvas larger than the model's grid ──window by window, known tokens stay──> tokens of the whole canvas
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minimaskgit.editing import DILATE, Box, composite, edit_steps, mask_to_token_mask
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer


class Painted(NamedTuple):
    """A partly painted canvas, larger than the transformer's."""

    images: Tensor  # (B, 3, H, W)
    tokens: Tensor  # (B, H / f, W / f), [MASK] if not yet fixed


@torch.no_grad()
def outpaint_steps(
    tokenizer: Tokenizer,
    model: Transformer,
    images: Tensor,
    margins: Box,
    labels: Tensor,
    dilate: int = DILATE,
    stride: int | None = None,
    **options,
) -> Iterator[Painted]:
    """Extend pictures (B, 3, H, W) by margins (left, top, right, bottom), yielding the padded canvas and every step.

    Sides and margins are multiples of the tokenizer's f, in pixels. The transformer's window slides outwards over the
    larger canvas, `stride` tokens at a time (default half a window). Each window is an edit of its unknown tokens;
    tokens painted in earlier windows count as known. Pixels are also decoded window by window, because the tokenizer
    was only trained on that size. ValueError if the canvas is smaller than a window, or unless the stride is 1 to the
    window's side.
    """
    f, grid = tokenizer.downsampling, tokenizer.grid
    stride = max(1, grid // 2) if stride is None else stride
    if not 1 <= stride <= grid:
        raise ValueError(f"a stride of {stride} tokens; expected 1 to {grid}, or windows would leave gaps")
    left, top, right, bottom = margins
    canvas = F.pad(images, (left, right, top, bottom))
    blank = F.pad(torch.zeros_like(images[:, :1]), (left, right, top, bottom), value=1).bool()  # (B, 1, H, W)
    rows, columns = canvas.shape[-2] // f, canvas.shape[-1] // f
    if min(rows, columns) < grid:
        raise ValueError(f"a canvas of {rows}x{columns} tokens; expected at least the window's {grid}x{grid}")
    codes = tokenizer.encode(images).unflatten(1, (-1, images.shape[-1] // f))
    tokens = F.pad(codes, (left // f, right // f, top // f, bottom // f))
    unknown = mask_to_token_mask(blank[:, 0], (rows, columns), dilate)
    tokens = tokens.masked_fill(unknown.view(tokens.shape), model.mask_id)  # (B, rows, columns)
    yield Painted(canvas, tokens)
    for row, column in windows((top // f, left // f), (rows, columns), grid, stride):
        here = ..., slice(row, row + grid), slice(column, column + grid)
        pixels = ..., slice(f * row, f * (row + grid)), slice(f * column, f * (column + grid))
        window = tokens[here].flatten(1)  # (B, N)
        region = window == model.mask_id
        if not region.any():
            continue
        for step in edit_steps(model, window, region, labels, **options):
            now = Painted(canvas.clone(), tokens.clone())
            now.images[pixels] = composite(tokenizer, canvas[pixels], step.sampled, region, blank[pixels])
            now.tokens[here] = step.tokens.unflatten(1, (grid, grid))
            yield now
        canvas, tokens = now
        blank[pixels] = False


def outpaint(
    tokenizer: Tokenizer, model: Transformer, images: Tensor, margins: Box, labels: Tensor, **options
) -> Tensor:
    """The final pictures of `outpaint_steps`, which explains the options; margins may have any size.

    (B, 3, H, W) to (B, 3, top + H + bottom, left + W + right).
    """
    rounded = whole_tokens(margins, tokenizer.downsampling)
    for step in outpaint_steps(tokenizer, model, images, rounded, labels, **options):  # noqa: B007
        pass
    return trimmed(step.images, margins, rounded)


def whole_tokens(margins: Box, f: int) -> Box:
    """Round margins in pixels up to multiples of f."""
    return tuple(f * math.ceil(margin / f) for margin in margins)


def trimmed(images: Tensor, margins: Box, rounded: Box) -> Tensor:
    """Crop pictures extended by rounded margins to the requested margins."""
    left, top, right, bottom = (more - asked for more, asked in zip(rounded, margins))
    return images[..., top : images.shape[-2] - bottom, left : images.shape[-1] - right]


def windows(start: tuple[int, int], canvas: tuple[int, int], grid: int, stride: int) -> list[tuple[int, int]]:
    """Corners (row, column) of windows of grid x grid tokens that cover a canvas, from `start` outwards.

    Neighbouring windows are at most `stride` tokens apart; windows at the edges are moved inside the canvas.
    """
    origins = []
    for first, length in zip(start, canvas):
        last = length - grid
        reach = range(-length // stride, length // stride + 2)
        origins.append({min(max(min(first, last) + k * stride, 0), last) for k in reach})
    return sorted(product(*origins), key=lambda corner: (math.dist(corner, start), corner))
