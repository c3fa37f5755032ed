"""Editing: a region of a picture painted anew, the rest kept (lesson 7; paper section 4.3 and figure 6).

    image ──encode──> tokens ──region to [MASK]──> decode from step t0 ──> tokens' ──decode──> picture' ─┐
    region in pixels ──> tokens that it touches ──> dilated by one token ──blur──> alpha ────────────────┼─> blend
    image ───────────────────────────────────────────────────────────────────────────────────────────────┘

Nothing is trained for it. Decoding asks which tokens are known, never why, so one loop paints blank canvases, fills
holes (*inpainting*: the picture's own class, or none), exchanges what is in a box (*class edit*: another class) and
goes on beyond the edge (*outpainting*). An autoregressive model knows at each token only those before it.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minimaskgit.autoregressive import cached_step, sample_next
from minimaskgit.decoding import Step, decode_steps
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import KVCache, Transformer

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, half-open: x0 <= x < x1
STEPS, START_STEP, DILATE = 12, 2, 1  # of an edit in the released code


class Edit(NamedTuple):
    """What an edit gives."""

    images: Tensor  # (B, 3, H, W) the edited pictures, floats in [0, 1]
    region: Tensor  # (B, N) bool, the tokens made anew
    steps: list[Step]  # how they were made


# --- From pixels to tokens, and back ---


def box_to_mask(box: Box, height: int, width: int) -> Tensor:
    """The pixels of a box as bool (H, W), clipped to the picture."""
    x0, y0, x1, y1 = box
    rows, columns = torch.arange(height), torch.arange(width)
    return ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))


def mask_to_token_mask(mask: Tensor, grid: int | tuple[int, int], dilate: int) -> Tensor:
    """The tokens that a region of any shape touches: pixels, bool (..., H, W), to bool (..., N) in raster order.

    grid: tokens along each side (rows and columns where they differ). dilate: the region then grows by so many tokens
    on every side, also diagonally. The encoder looks beyond its own cell, so tokens next to the region have seen what
    is to go; the released code dilates by one.
    """
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    height, width = mask.shape[-2:]
    if height % rows or width % columns:
        raise ValueError(f"{height}x{width} pixels do not divide into {rows}x{columns} tokens")
    pixels = mask.float().reshape(-1, 1, height, width)
    touched = F.max_pool2d(pixels, (height // rows, width // columns))  # (B, 1, rows, columns)
    grown = F.max_pool2d(touched, 2 * dilate + 1, stride=1, padding=dilate)
    return grown.bool().view(*mask.shape[:-2], rows * columns)


def box_to_token_mask(box: Box, image_size: int, grid: int, dilate: int) -> Tensor:
    """The tokens that a box in pixels touches, dilated: bool (N,); see `mask_to_token_mask`."""
    return mask_to_token_mask(box_to_mask(box, image_size, image_size), grid, dilate)


def blend(original: Tensor, generated: Tensor, mask: Tensor, radius: float) -> Tensor:
    """The generated pixels inside the mask, the original ones outside, and a soft rim between the two.

    Images (B, 3, H, W), mask bool (B, H, W) or (H, W). radius: standard deviation of the rim in pixels; the released
    code has image_size / 16 - 1. From ceil(3 radius) pixels off the edge on, both sides are equal to the bit.
    """
    alpha = soften(mask.cpu(), radius).to(original)  # 1 inside, 0 outside
    return torch.lerp(original, generated, alpha.expand(len(original), *mask.shape[-2:])[:, None])


def soften(mask: Tensor, radius: float) -> Tensor:
    """Blur a bool mask (..., H, W) by a Gaussian cut off at ceil(3 radius): floats, exactly 0 and 1 beyond the rim."""
    if radius <= 0:
        return mask.float()
    reach = math.ceil(3 * radius)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.double) / radius) ** 2)
    kernel /= kernel.sum()
    alpha = mask.double().reshape(-1, 1, *mask.shape[-2:])
    alpha = F.pad(alpha, [reach] * 4, mode="replicate")  # beyond the picture's edge everything goes on
    alpha = F.conv2d(F.conv2d(alpha, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))  # across, then down
    return alpha.view(mask.shape).float()  # summed in double precision, so that 1 - 1e-16 rounds to 1


def composite(
    tokenizer: Tokenizer, images: Tensor, tokens: Tensor, region: Tensor, blank: Tensor | None = None
) -> Tensor:
    """The pictures with the region's tokens painted in: images (B, 3, S, S), tokens and region (B, N).

    blank: bool (B, 1, S, S), pixels of the region where there is no picture yet, into which the rim does not reach.
    """
    painted = tokenizer.decode(tokens)
    if blank is not None:
        images = torch.where(blank, painted, images)
    f, grid = tokenizer.downsampling, tokenizer.grid
    mask = region.view(-1, grid, grid).repeat_interleave(f, -1).repeat_interleave(f, -2)  # (B, S, S)
    return blend(images, painted, mask, max(0.0, tokenizer.image_size / 16 - 1))


# --- Editing ---


def edit_steps(
    model: Transformer,
    tokens: Tensor,
    region: Tensor,
    labels: Tensor,
    steps: int = STEPS,
    start_step: int = START_STEP,
    **options,
) -> Iterator[Step]:
    """Decode the tokens of a region, bool (B, N), anew, as class `labels` (B,); those outside stay.

    tokens (B, N). The options are those of `decode_steps`. start_step: with much known already, the first and most
    hesitant steps are left out.
    """
    # A region without an outside is a blank canvas, which decoding knows how to save a pass on.
    canvas = None if region.all() else tokens.masked_fill(region, model.mask_id)
    return decode_steps(model, labels, canvas, steps=steps, start_step=start_step, **options)


def edit_tokens(model: Transformer, tokens: Tensor, region: Tensor, labels: Tensor, **options) -> Tensor:
    """The tokens (B, N) that `edit_steps`, which explains the options, ends with."""
    for step in edit_steps(model, tokens, region, labels, **options):  # noqa: B007
        pass
    return step.tokens


@torch.no_grad()
def edit(
    tokenizer: Tokenizer,
    model: Transformer,
    images: Tensor,
    masks: Tensor,
    labels: Tensor,
    dilate: int = DILATE,
    **options,
) -> Edit:
    """Paint a region of each picture anew as class `labels` (B,) in 0..C, where C is "no class".

    images (B, 3, H, W) floats in [0, 1]; masks bool (B, H, W), a region each, or (H, W), one for all. The options are
    those of `edit_steps`. Another class than the picture's is the paper's class-conditional edit.
    """
    region = mask_to_token_mask(masks.expand(len(images), -1, -1), tokenizer.grid, dilate).to(images.device)
    steps = list(edit_steps(model, tokenizer.encode(images), region, labels, **options))
    return Edit(composite(tokenizer, images, steps[-1].tokens, region), region, steps)


def inpaint(
    tokenizer: Tokenizer,
    model: Transformer,
    images: Tensor,
    masks: Tensor,
    labels: Tensor | None = None,
    **options,
) -> Edit:
    """Fill a hole in each picture as its own class `labels` (B,), or without telling any; otherwise as `edit`."""
    if labels is None:
        labels = torch.full((len(images),), model.num_classes, device=images.device)
    return edit(tokenizer, model, images, masks, labels, **options)


# --- Beyond the edge ---


class Painted(NamedTuple):
    """A canvas larger than the transformer's, as far as it is painted."""

    images: Tensor  # (B, 3, H, W)
    tokens: Tensor  # (B, H / f, W / f), [MASK] where not yet fixed


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
    """Extend pictures (B, 3, H, W) by margins (left, top, right, bottom), giving the empty canvas and every step.

    Sides and margins are in pixels and multiples of the tokenizer's f. The transformer's window slides outwards over
    the larger canvas, `stride` tokens at a time (default half a window), and every window is an edit of what is
    unknown in it: what earlier ones painted is known. Pixels too are decoded window by window, for the decoder has
    seen no other size. ValueError if the canvas is smaller than a window.
    """
    f, grid = tokenizer.downsampling, tokenizer.grid
    left, top, right, bottom = margins
    canvas = F.pad(images, (left, right, top, bottom))
    blank = F.pad(torch.zeros_like(images[:, :1]), (left, right, top, bottom), value=1).bool()  # (B, 1, H, W)
    rows, columns = canvas.shape[-2] // f, canvas.shape[-1] // f
    if min(rows, columns) < grid:
        raise ValueError(f"a canvas of {rows}x{columns} tokens is smaller than the window of {grid}x{grid}")
    codes = tokenizer.encode(images).unflatten(1, (-1, images.shape[-1] // f))
    tokens = F.pad(codes, (left // f, right // f, top // f, bottom // f))
    unknown = mask_to_token_mask(blank[:, 0], (rows, columns), dilate)
    tokens = tokens.masked_fill(unknown.view(tokens.shape), model.mask_id)  # (B, rows, columns)
    yield Painted(canvas, tokens)
    for row, column in windows((top // f, left // f), (rows, columns), grid, stride or max(1, grid // 2)):
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
    """The pictures that `outpaint_steps`, which explains the options, ends with; margins of any size.

    (B, 3, H, W) to (B, 3, top + H + bottom, left + W + right).
    """
    rounded = whole_tokens(margins, tokenizer.downsampling)
    for step in outpaint_steps(tokenizer, model, images, rounded, labels, **options):  # noqa: B007
        pass
    return trimmed(step.images, margins, rounded)


def whole_tokens(margins: Box, f: int) -> Box:
    """Margins in pixels rounded up to multiples of f."""
    return tuple(f * math.ceil(margin / f) for margin in margins)


def trimmed(images: Tensor, margins: Box, rounded: Box) -> Tensor:
    """Of pictures extended by the rounded margins, the part that has the margins asked for."""
    left, top, right, bottom = (more - asked for more, asked in zip(rounded, margins))
    return images[..., top : images.shape[-2] - bottom, left : images.shape[-1] - right]


def windows(start: tuple[int, int], canvas: tuple[int, int], grid: int, stride: int) -> list[tuple[int, int]]:
    """Corners (row, column) of windows of grid x grid tokens that cover a canvas, from `start` outwards.

    Neighbours lie at most `stride` tokens apart; those at the edges are pushed inside.
    """
    origins = []
    for first, length in zip(start, canvas):
        last = length - grid
        reach = range(-length // stride, length // stride + 2)
        origins.append({min(max(min(first, last) + k * stride, 0), last) for k in reach})
    return sorted(product(*origins), key=lambda corner: (math.dist(corner, start), corner))


# --- The rival ---


@torch.no_grad()
def autoregressive_edit(
    model: Transformer, tokens: Tensor, region: Tensor, labels: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """The same edit by the autoregressive twin, for contrast: tokens and region (B, N) to tokens (B, N).

    Known tokens are forced, those of the region drawn in raster order: each sees the class and what lies before it,
    never what lies after.
    """
    memory, ids = KVCache(model, len(tokens)), [model.num_codes + labels]
    for i in range(model.num_tokens):
        logits = cached_step(model, ids[-1][:, None], memory)  # (B, K)
        ids.append(torch.where(region[:, i], sample_next(logits, generator), tokens[:, i]))
    return torch.stack(ids[1:], dim=1)
