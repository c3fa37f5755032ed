"""Strays: pictures of the data set `glyphs` that are not one whole glyph, as all real ones are (lesson 8).

    picture ──palette──> share of ink ──> nearest drawing of the asked class ──> share of ink - drawing ──> misfit

Blobs beside or inside a glyph, holes, and lost or crooked parts are what decoding many tokens at once is known for. A
judge overlooks them, as it only has to tell a star from a heart.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minimaskgit.data.glyphs import GLYPH_NAMES, coverage, ink_share, palette_of, placed

# How much ink too much or too little, averaged over a window, a viewer sees: the pictures are in data/results/strays.
SPOT = 0.16  # in a window of 3 x 3 pixels (of 32 x 32), away from edges
PART = 0.13  # in a window of 7 x 7 pixels; blur and small shifts of an edge cancel out in it, but a lost stem does not
BLUR = 3.0  # how much less a difference counts for a spot beside an edge, where blur alone makes differences
STARTS = (4, 4, 4, 5)  # poses from which the search starts: along x, y, size and angle
SEARCH = 8  # steps from the best start to the nearest drawing


def with_strays(images: Tensor, labels: Tensor, names: Sequence[str] = GLYPH_NAMES) -> Tensor:
    """Whether each picture is something other than one glyph of its class: floats (B, 3, S, S) in [0, 1] to bool (B,).

    labels (B,): the classes that were asked for, as indices of `names`, which a run may have fewer of. Pictures without
    a palette count too, a flat canvas for example.
    """
    return misfit(images, torch.tensor([GLYPH_NAMES.index(name) for name in names])[labels.cpu()]) > 1


def misfit(images: Tensor, labels: Tensor) -> Tensor:
    """The largest excess or lack of ink against the nearest drawing, 1 being just visible: floats (B,).

    It is infinite for pictures without a palette.
    """
    images, labels = images.float().cpu(), labels.cpu()
    palettes = palette_of(images)
    share = ink_share(images, palettes.clamp(min=0))  # (B, S, S)
    drawing = nearest_drawing(share, labels)
    difference, reach = share - drawing, max(1, round(images.shape[-1] / 32))
    highest, lowest = (sign * F.max_pool2d(sign * drawing, 2 * reach + 1, 1, reach) for sign in (1, -1))
    spot = _largest_mean(difference / (1 + BLUR * (highest - lowest)), reach) / SPOT
    part = _largest_mean(difference, 3 * reach) / PART
    return torch.maximum(spot, part).masked_fill(palettes < 0, torch.inf)


def _largest_mean(difference: Tensor, reach: int) -> Tensor:
    """The largest absolute mean of (B, S, S) over windows that reach so many pixels to each side: (B,)."""
    # The rim is repeated outside the picture, so that half a blob at the rim counts like a whole one further in.
    padded = F.pad(difference[:, None], (reach,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * reach + 1, 1).abs().amax((1, 2, 3))


def nearest_drawing(share: Tensor, labels: Tensor) -> Tensor:
    """The drawing of each picture's class with the smallest squared difference: shares of ink (B, S, S) to the same.

    From the best of a grid of poses, the Levenberg-Marquardt method improves the pose u, four numbers in [0, 1].
    """
    u, drawing = _start(share, labels)
    error, damping = (share - drawing).square().sum((1, 2)), torch.ones(len(u))
    for _ in range(SEARCH):
        slopes = _slopes(drawing, u)  # (B, S * S, 4)
        normal = slopes.mT @ slopes + damping[:, None, None] * torch.eye(4)
        step = torch.linalg.solve(normal, slopes.mT @ (share - drawing).flatten(1)[..., None])[..., 0]
        moved = (u + step).clamp(0, 1)
        redrawn = _draw(labels, moved, share.shape[-1])
        left = (share - redrawn).square().sum((1, 2))
        better = left < error
        u, drawing = torch.where(better[:, None], moved, u), torch.where(better[:, None, None], redrawn, drawing)
        error, damping = torch.minimum(left, error), damping * torch.where(better, 0.2, 5.0)
    return drawing


def _start(share: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The grid's pose u (B, 4) nearest to each picture, and its drawing (B, S, S)."""
    u, drawing = torch.empty(len(share), 4), torch.empty_like(share)
    for label in labels.unique().tolist():
        grid, drawings = _bank(label, share.shape[-1])
        chosen = labels == label
        nearest = torch.cdist(share[chosen].flatten(1), drawings.flatten(1)).argmin(1)
        u[chosen], drawing[chosen] = grid[nearest], drawings[nearest]
    return u, drawing


@cache
def _bank(label: int, size: int) -> tuple[Tensor, Tensor]:
    """A grid of poses u (M, 4), and a class's drawings in these poses (M, S, S)."""
    grid = torch.cartesian_prod(*((torch.arange(count) + 0.5) / count for count in STARTS))
    return grid, _draw(torch.full((len(grid),), label), grid, size)


def _draw(labels: Tensor, u: Tensor, size: int) -> Tensor:
    poses = placed(u.double().numpy())
    drawn = [coverage(label, pose[:2], pose[2], pose[3], size) for label, pose in zip(labels.tolist(), poses)]
    return torch.from_numpy(np.stack(drawn)).float() / 255


def _slopes(drawing: Tensor, u: Tensor) -> Tensor:
    """Derivatives of each drawing (B, S, S) with respect to its pose u (B, 4), from its slopes: (B, S * S, 4)."""
    side = drawing.shape[-1]
    low, high = (torch.from_numpy(placed(np.full((1, 4), end))).float() for end in (0.0, 1.0))
    pose = torch.from_numpy(placed(u.double().numpy())).float()
    down, right = torch.gradient(drawing, dim=(1, 2))
    at = torch.arange(side) + 0.5
    x, y = at - side * pose[:, 0, None, None], at[:, None] - side * pose[:, 1, None, None]  # from the glyph's centre
    by_pose = (
        -side * right,
        -side * down,
        -(right * x + down * y) / pose[:, 2, None, None],
        right * y - down * x,
    )
    return torch.stack(by_pose, -1).flatten(1, 2) * (high - low)
