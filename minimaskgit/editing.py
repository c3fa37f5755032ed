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
