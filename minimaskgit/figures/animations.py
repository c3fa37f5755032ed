"""Animations: the race between the decoders, and any list of frames as a GIF, WebP or PNG."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor

from minimaskgit.figures.formats import MOVING, format_of, save
from minimaskgit.figures.sheets import (
    CELL,
    LARGE,
    MARGIN,
    MEDIUM,
    blank_sheet,
    draw_text,
    joined,
    masked_canvas,
    tiled,
    to_cells,
)
from minimaskgit.figures.style import AUTOREGRESSIVE, MASKED, MASKED_EDGE, MASKGIT, MUTED, PAPER, TRACK, colours_of


def race(
    masked_images: Tensor,
    masked_masks: Tensor,
    raster_images: Tensor,
    raster_masks: Tensor,
    grid_size: int,
    stride: int | None = None,
) -> list[Image.Image]:
    """Draw both ways of filling a canvas side by side, one network pass at a time; the side that finishes first waits.

    masked_images (T, S, 3, H, W), masked_masks bool (T, S, N): S samples after each pass of parallel decoding
    (left); raster_images, raster_masks: the same after each pass of raster order. stride: passes per frame, by
    default enough to keep the animation to about 64 frames; the last pass is always drawn.
    """
    totals = len(masked_images), len(raster_images)
    stride = stride or math.ceil(max(totals) / 64)
    frames = []
    for k in sorted({*range(stride, max(totals) + 1, stride), max(totals)}):
        left, right = passes = min(k, totals[0]), min(k, totals[1])
        masked = masked_canvas(masked_images[left - 1], masked_masks[left - 1], grid_size)
        raster = masked_canvas(raster_images[right - 1], raster_masks[right - 1], grid_size)
        frames.append(race_frame(masked, raster, passes, totals))
    return frames


def race_frame(left: Tensor, right: Tensor, passes: tuple[int, int], totals: tuple[int, int]) -> Image.Image:
    """Draw one frame of the race: parallel decoding on the left, raster order on the right.

    left, right (S, 3, H, W): from `masked_canvas`. passes: network passes made so far by each side, out of `totals`.
    """
    sides = []
    for name, canvases, done, total in zip(("MaskGIT", "autoregressive"), (left, right), passes, totals):
        colour, tiles = colours_of([name])[name], tiled(to_cells(canvases))
        bar = Image.new("RGB", (max(tiles.width, 2 * CELL), 6), TRACK)
        bar.paste(colour, (0, 0, round(bar.width * done / total), bar.height))
        state = f"pass {done} of {total}" + (", done" if done == total else "")
        lines = [draw_text(name, size=LARGE, bold=True, colour=colour), draw_text(state, size=MEDIUM, colour=MUTED)]
        sides.append(joined([*lines, bar, tiles], down=True))
    return blank_sheet(joined(sides, down=False, gap=2 * MARGIN))


def animation(
    frames: Sequence[Image.Image],
    path: str | os.PathLike,
    seconds_per_frame: float = 0.25,
    hold_last: float = 1.5,
) -> Path:
    """Write frames as an animation that loops forever and holds the last frame for `hold_last` seconds.

    Returns the path. The format is that of its suffix, by default GIF. Missing folders are created, and the file
    appears only once it is complete. Raises ValueError if there are no frames or their sizes differ.
    """
    sizes = {frame.size for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"frames of sizes {sorted(sizes)}; expected at least one frame, and all of the same size")
    form = format_of(Path(path), MOVING, "GIF")
    frames = [frame.convert("RGB") for frame in frames]
    if form == "GIF":
        palette = _shared_palette(frames)
        frames = [_indexed(frame, palette) for frame in frames]
    milliseconds = [round(1000 * seconds_per_frame)] * (len(frames) - 1) + [round(1000 * hold_last)]
    save(frames[0], Path(path), form, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return Path(path)


def _shared_palette(frames: Sequence[Image.Image]) -> np.ndarray:
    """A palette (256, 3) for all frames, computed from a dozen of them; the figures' flat colours are exact."""
    chosen = {round(i) for i in np.linspace(0, len(frames) - 1, 12)}
    pixels = np.concatenate([np.asarray(frames[i]).reshape(-1, 3) for i in sorted(chosen)])
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    weights = np.ceil(np.sqrt(counts)).astype(int)  # so that large areas do not crowd out the rest
    flat = [ImageColor.getrgb(name) for name in (PAPER, TRACK, MASKGIT, AUTOREGRESSIVE)]
    flat += [(grey, grey, grey) for grey in (MASKED, MASKED_EDGE)]
    mixed = Image.fromarray(colours.repeat(weights, axis=0)[None])
    found = mixed.quantize(256 - len(flat), Image.Quantize.MEDIANCUT, kmeans=3)
    return np.concatenate([flat, np.reshape(found.getpalette(), (-1, 3))]).astype(np.uint8)


def _indexed(frame: Image.Image, palette: np.ndarray) -> Image.Image:
    """Map the frame to the palette's nearest colours.

    Pillow's own look-up rounds to multiples of 4, which tints white paper. Dithering would make still parts flicker
    and the file several times larger.
    """
    codes, index = np.unique(np.asarray(frame).reshape(-1, 3) @ [1 << 16, 1 << 8, 1], return_inverse=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)  # each colour of the frame once
    distances = torch.cdist(torch.tensor(colours).float(), torch.tensor(palette).float())
    nearest = distances.argmin(1).byte().numpy()
    indexed = Image.fromarray(nearest[index].reshape(frame.height, frame.width))
    indexed.putpalette(palette.tobytes())
    return indexed
