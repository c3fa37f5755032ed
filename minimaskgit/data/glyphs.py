"""`glyphs`: an endless data set of small coloured pictograms, drawn on demand (used from lesson 0 on).

    seed ──> parameters (class, palette, position, size, angle) ──> alpha mask ──> background + alpha * ink

There are ten classes and eight two-colour palettes; the background is a soft vertical gradient. The font is DejaVu
Sans, which ships with matplotlib, so nothing is downloaded. Background and glyph come from one palette, which makes
pictures *checkable*: a generated image must show the requested class and stay within a single palette (`palette_of`).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CHARACTERS = {
    "star": "★",
    "heart": "♥",
    "umbrella": "☂",
    "sun": "☀",
    "knight": "♞",
    "airplane": "✈",
    "telephone": "☎",
    "anchor": "⚓",
    "music": "♫",
    "club": "♣",
}
GLYPH_NAMES = tuple(CHARACTERS)

# (background at mid-height, ink), RGB in 0..255; any two palettes clearly differ in background or ink.
PALETTES = np.array(
    [
        [(27, 42, 80), (246, 196, 69)],  # midnight, gold
        [(250, 240, 215), (200, 45, 70)],  # cream, crimson
        [(28, 80, 60), (190, 240, 200)],  # forest, mint
        [(160, 212, 245), (20, 54, 110)],  # sky, navy
        [(80, 32, 90), (250, 170, 205)],  # plum, pink
        [(225, 190, 120), (95, 50, 25)],  # sand, umber
        [(75, 85, 99), (240, 240, 240)],  # slate, white
        [(240, 120, 95), (15, 70, 75)],  # coral, teal
    ],
    dtype=np.float32,
)
GRADIENT = 0.12  # the background is this much lighter at the top edge and darker at the bottom
MASTER = 64  # side in pixels of the glyph drawn once per class; each picture is a warped copy of it


@dataclass(frozen=True)
class GlyphParameters:
    """What to draw, one entry per picture: class and palette numbers, and the placement in fractions of the side."""

    labels: np.ndarray  # (B,) in 0..9
    palettes: np.ndarray  # (B,) in 0..7
    centres: np.ndarray  # (B, 2) x and y, fractions of the side
    sizes: np.ndarray  # (B,) longer side of the glyph, fraction of the side
    angles: np.ndarray  # (B,) radians


def glyph_parameters(count: int, seed: int = 0) -> GlyphParameters:
    """Draw the parameters of `count` pictures; with a larger count, the first ones stay the same."""
    u = np.random.default_rng(seed).random((count, 6))  # one row per picture, so the first ones do not depend on count
    poses = placed(u[:, 2:])
    return GlyphParameters(
        labels=(u[:, 0] * len(GLYPH_NAMES)).astype(np.int64),
        palettes=(u[:, 1] * len(PALETTES)).astype(np.int64),
        centres=poses[:, :2],
        sizes=poses[:, 2],
        angles=poses[:, 3],
    )


def placed(u: np.ndarray) -> np.ndarray:
    """Map numbers (B, 4) in [0, 1] to all the poses that are drawn (B, 4): centre x and y, size, angle."""
    return np.column_stack([0.5 + (u[:, :2] - 0.5) * 0.10, 0.66 + 0.16 * u[:, 2], (u[:, 3] - 0.5) * 0.35])


def glyphs(count: int, seed: int = 0, size: int = 32) -> tuple[Tensor, Tensor]:
    """Draw `count` pictures of `size` x `size` pixels: uint8 (count, 3, size, size) and labels int64 (count,).

    The same seed draws the same pictures; with a larger count, the first ones stay the same.
    """
    p = glyph_parameters(count, seed)
    images = np.empty((count, size, size, 3), np.uint8)
    for start in range(0, count, 1000):  # blend a thousand at a time, to save memory and stay in cache
        part = slice(start, min(start + 1000, count))
        rows = zip(p.labels[part], p.centres[part], p.sizes[part], p.angles[part], strict=True)
        alpha = np.stack([coverage(*row, size) for row in rows]) / np.float32(255)  # (B, H, W)
        background, ink = _backgrounds(size)[p.palettes[part]], PALETTES[p.palettes[part], 1]
        images[part] = background + alpha[..., None] * (ink[:, None, None] - background) + 0.5
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(p.labels)


def palette_of(images: Tensor, tolerance: float = 0.15, share: float = 0.98) -> Tensor:
    """Number of the palette that each picture uses, or -1: float images (B, 3, H, W) in [0, 1] to int64 (B,).

    A pixel fits a palette if its colour lies within `tolerance` (Euclidean distance in RGB, sides of length 1) of the
    line from that row's background to the ink. A picture uses a palette if at least `share` of its pixels fit it, and
    if some are nearly ink and some nearly background; otherwise a flat canvas would pass.
    """
    size = images.shape[-1]
    start = torch.from_numpy(_backgrounds(size)).to(images)[:, :, 0] / 255  # (P, H, 3): the gradient is vertical
    along = torch.from_numpy(PALETTES[:, 1]).to(images)[:, None] / 255 - start  # (P, H, 3) background -> ink
    pixels = images.permute(0, 2, 3, 1)[:, None]  # (B, 1, H, W, 3)
    offset = pixels - start[:, :, None]  # (B, P, H, W, 3)
    position = ((offset * along[:, :, None]).sum(-1) / along.square().sum(-1)[:, :, None]).clamp(0, 1)  # (B, P, H, W)
    distance = (offset - position[..., None] * along[:, :, None]).norm(dim=-1)
    within = distance < tolerance
    both = (within & (position > 0.7)).flatten(2).any(-1) & (within & (position < 0.3)).flatten(2).any(-1)
    fit = within.flatten(2).float().mean(-1) * both  # (B, P)
    best, palette = fit.max(-1)
    return torch.where(best >= share, palette, -1)


def ink_share(images: Tensor, palettes: Tensor) -> Tensor:
    """How far each pixel is from background (0) to ink (1): float images (B, 3, H, W) in [0, 1] to (B, H, W)."""
    start = torch.from_numpy(_backgrounds(images.shape[-1])).to(images)[palettes] / 255  # (B, H, W, 3)
    along = torch.from_numpy(PALETTES[:, 1]).to(images)[palettes, None, None] / 255 - start
    offset = images.permute(0, 2, 3, 1) - start
    return ((offset * along).sum(-1) / along.square().sum(-1)).clamp(0, 1)


@cache
def _backgrounds(size: int) -> np.ndarray:
    """Every palette's background (P, size, size, 3), lighter at the top."""
    slope = 1 + GRADIENT * np.linspace(1, -1, size, dtype=np.float32)  # (H,)
    rows = np.clip(PALETTES[:, 0][:, None] * slope[None, :, None], 0, 255)  # (P, H, 3)
    return np.repeat(rows[:, :, None], size, axis=2)


@cache
def _master(label: int) -> Image.Image:
    """The glyph of a class as an alpha mask, its longer side MASTER pixels, with an empty margin around it."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 4 * MASTER)
    character = CHARACTERS[GLYPH_NAMES[label]]
    left, top, right, bottom = font.getbbox(character)
    canvas = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(canvas).text((-left, -top), character, fill=255, font=font)
    scale = MASTER / max(canvas.size)
    glyph = canvas.resize([max(1, round(side * scale)) for side in canvas.size], Image.Resampling.LANCZOS)
    mask = Image.new("L", (2 * MASTER, 2 * MASTER))
    mask.paste(glyph, (MASTER - glyph.width // 2, MASTER - glyph.height // 2))
    return mask


@cache
def _shrunk_master(label: int, side: int) -> Image.Image:
    return _master(label).resize((side, side), Image.Resampling.BOX)


def coverage(label: int, centre: np.ndarray, extent: float, angle: float, size: int) -> np.ndarray:
    """Coverage of one glyph, warped into place: uint8 (size, size)."""
    # Bilinear sampling reads only 2 x 2 pixels, so the master is first shrunk to about twice the final resolution.
    factor = max(1, int(MASTER / (2 * extent * size)))
    master = _shrunk_master(label, 2 * MASTER // factor)
    zoom = MASTER / factor / (extent * size)  # master pixels per picture pixel
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    (x, y), middle = centre * size, MASTER / factor
    # Pillow's affine transform maps picture coordinates back to the master's.
    matrix = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    return np.asarray(master.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))
