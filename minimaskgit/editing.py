"""Editing: repaint a region of a picture and keep the rest (lesson 7; paper section 4.3 and figure 6).

    image ──encode──> tokens ──region to [MASK]──> decode from step t0 ──> tokens' ──decode──> picture' ─┐
    region in pixels ──> tokens that it touches ──> dilated by one token ──blur──> alpha ────────────────┼─> blend
    image ───────────────────────────────────────────────────────────────────────────────────────────────┘

No extra training is needed. Decoding only depends on which tokens are known, so the same loop generates from a blank
canvas, fills holes (*inpainting*: the picture's own class, or none), replaces the contents of a region (*class edit*:
another class) and continues a picture beyond its edges (*outpainting*, outpainting.py). An autoregressive model knows
only the tokens before the current one.

The released code's class edit is the same but for its edges. It rounds a box's top and its height down separately, so
a box that is not aligned to tokens is not wholly repainted; here every token that it touches is. Its rim comes from
Pillow's resizing and blur, so alpha differs by up to 0.04, or 0.07 at the picture's edge. It blends before it clips to
[0, 1], not after.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minimaskgit.autoregressive import cached_step, sample_next
from minimaskgit.decoding import Step, decode_steps
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import KVCache, Transformer

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, half-open: x0 <= x < x1
STEPS, START_STEP, DILATE = 12, 2, 1  # defaults for edits in the released code


class Edit(NamedTuple):
    """The result of an edit."""

    images: Tensor  # (B, 3, H, W), the edited pictures, floats in [0, 1]
    region: Tensor  # (B, N) bool, the regenerated tokens
    steps: list[Step]  # the decoding steps


# --- From pixels to tokens, and back ---


def box_to_mask(box: Box, height: int, width: int) -> Tensor:
    """The pixels of a box as bool (H, W), clipped to the picture."""
    x0, y0, x1, y1 = box
    rows, columns = torch.arange(height), torch.arange(width)
    return ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))


def mask_to_token_mask(mask: Tensor, grid: int | tuple[int, int], dilate: int) -> Tensor:
    """The tokens that a region of any shape touches: pixels, bool (..., H, W), to bool (..., N) in raster order.

    grid: tokens along each side, or (rows, columns). dilate: the number of tokens by which the region then grows on
    every side, also diagonally. A token's receptive field is larger than its cell, so tokens next to the region contain
    some of what is to be replaced; the released code dilates by one. Raises ValueError if the pixels do not divide into
    the grid.
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
    """Blend the generated pixels inside the mask with the original ones outside, with a soft rim between the two.

    Images (B, 3, H, W), mask bool (B, H, W) or (H, W). radius: standard deviation of the rim in pixels; the released
    code uses image_size / 16 - 1. More than ceil(3 radius) pixels from the mask's edge, pixels are copied exactly.
    """
    alpha = soften(mask.cpu(), radius).to(original)  # 1 inside, 0 outside
    return torch.lerp(original, generated, alpha.expand(len(original), *mask.shape[-2:])[:, None])


def soften(mask: Tensor, radius: float) -> Tensor:
    """Blur a bool mask (..., H, W) with a Gaussian cut off at ceil(3 radius): floats, exactly 0 or 1 off the rim."""
    if radius <= 0:
        return mask.float()
    reach = math.ceil(3 * radius)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.double) / radius) ** 2)
    kernel /= kernel.sum()
    alpha = mask.double().reshape(-1, 1, *mask.shape[-2:])
    alpha = F.pad(alpha, [reach] * 4, mode="replicate")  # the region continues beyond the picture's edge
    alpha = F.conv2d(F.conv2d(alpha, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))  # across, then down
    return alpha.view(mask.shape).float()  # summed in double precision, so that 1 - 1e-16 becomes 1


def composite(
    tokenizer: Tokenizer, images: Tensor, tokens: Tensor, region: Tensor, blank: Tensor | None = None
) -> Tensor:
    """Paint the region's tokens into the pictures: images (B, 3, S, S), tokens and region (B, N).

    blank: bool (B, 1, S, S), pixels of the region without a picture yet, which the rim does not blend.
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
    loop: Callable[..., Iterator[Step]] | None = None,
    **options,
) -> Iterator[Step]:
    """Decode the tokens of a region, bool (B, N), again as class `labels` (B,); other tokens stay.

    tokens (B, N). start_step: the first steps, which fix the fewest tokens, are skipped, because much is known already.
    loop: what decodes, `decode_steps` by default; options: its own.
    """
    # A region that covers everything is a blank canvas, for which decoding shares the first pass.
    canvas = None if region.all() else tokens.masked_fill(region, model.mask_id)
    return (loop or decode_steps)(model, labels, canvas, steps=steps, start_step=start_step, **options)


def edit_tokens(model: Transformer, tokens: Tensor, region: Tensor, labels: Tensor, **options) -> Tensor:
    """The final tokens (B, N) of `edit_steps`, which explains the options."""
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
    """Repaint a region of each picture as class `labels` (B,) in 0..C, where C is "no class".

    images (B, 3, H, W) floats in [0, 1]; masks bool (B, H, W), or (H, W) for all pictures. options: those of
    `edit_steps`. With a class other than the picture's own, this is the paper's class-conditional edit.
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
    """Fill a hole in each picture as its own class `labels` (B,), or as no class if None; otherwise like `edit`."""
    if labels is None:
        labels = torch.full((len(images),), model.num_classes, device=images.device)
    return edit(tokenizer, model, images, masks, labels, **options)


# --- The rival ---


@torch.no_grad()
def autoregressive_edit(
    model: Transformer, tokens: Tensor, region: Tensor, labels: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """The same edit by the autoregressive twin, for contrast: tokens and region (B, N) to tokens (B, N).

    Known tokens are kept, and those of the region are sampled in raster order. Each sees the class and the tokens
    before it, never those after it.
    """
    memory, ids = KVCache(model, len(tokens)), [model.num_codes + labels]
    for i in range(model.num_tokens):
        logits = cached_step(model, ids[-1][:, None], memory)  # (B, K)
        ids.append(torch.where(region[:, i], sample_next(logits, generator), tokens[:, i]))
    return torch.stack(ids[1:], dim=1)
