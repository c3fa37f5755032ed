"""Pictures of an edit: before and after, and the canvas at each step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from minimaskgit import figures
from minimaskgit.editing import Box
from minimaskgit.outpainting import trimmed, whole_tokens

CELL = 128  # pixels; the smallest side of a picture on the sheet
LINE = 2  # pixels; the width of each of the outline's two strokes


class Job(NamedTuple):
    """One picture to edit, in the form that the models take."""

    image: Tensor  # (3, S, S) in [0, 1]
    mask: Tensor  # bool (S, S); all False when outpainting
    margins: Box | None  # only when outpainting
    label: int  # class to paint, or C for no class
    heading: str


def before_after(before: Tensor, rows: Sequence[tuple[str, Tensor, Tensor]], heading: str) -> Image.Image:
    """Draw a row per decoder: the picture before (1, 3, H, W), what the decoder sees, and its edits; all uint8.

    rows: the title of what the decoder sees, that picture, and its edits (B, 3, H, W).
    """
    cells = [part for _, seen, edited in rows for part in (before, seen, edited)]
    titles = [title for sees, _, edited in rows for title in ("before", sees, *["after"] * len(edited))]
    return figures.grid(torch.cat(cells), scale=1, columns=len(titles) // len(rows), titles=titles, heading=heading)


def frames(view: "View", job: Job, stages: Sequence[tuple[Tensor, Tensor]]) -> list[Image.Image]:
    """The animation's frames: the picture before, with its region masked, and the canvas after each step."""
    count, steps = len(stages[0][0]), len(stages) - 1
    pictures = {"before": view.before(job).expand(count, -1, -1, -1)}
    for i, stage in enumerate(stages):
        pictures[f"step {i} of {steps}" if i else "masked"] = view.veiled(*stage)
    others = [""] * (count - 1)
    return [
        figures.grid(cells, scale=1, columns=min(count, 8), titles=[title, *others], heading=job.heading)
        for title, cells in pictures.items()
    ]


@dataclass(frozen=True)
class View:
    """Draws pictures (B, 3, H, W) as enlarged uint8 images; when outpainting, with the requested margins."""

    f: int  # pixels per token
    scale: int  # pixels on the sheet per pixel of the picture
    margins: Box  # as requested
    rounded: Box  # the margins rounded up to whole tokens

    @classmethod
    def of(cls, job: Job, f: int) -> "View":
        margins = job.margins or (0, 0, 0, 0)
        return cls(f, math.ceil(CELL / job.image.shape[-1]), margins, whole_tokens(margins, f))

    def enlarged(self, images: Tensor) -> Tensor:
        """Enlarge to uint8 (B, 3, scale * H, scale * W)."""
        pixels = torch.from_numpy(figures.to_uint8(images)).movedim(-1, 1)
        return pixels.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)

    def veiled(self, images: Tensor, masked: Tensor) -> Tensor:
        """Hide the masked tokens, bool (B, ...), of a canvas (B, 3, H, W) behind grey cells."""
        grid = images.shape[-2] // self.f, images.shape[-1] // self.f
        drawn = figures.masked_canvas(images, masked.flatten(1), grid, self.scale)
        return trimmed(drawn, self._scaled(self.margins), self._scaled(self.rounded))

    def before(self, job: Job) -> Tensor:
        """The unedited picture with its region outlined or its margins grey: uint8 (1, 3, H, W)."""
        drawn = self.enlarged(job.image[None])
        if job.margins is None:
            return outlined(drawn, job.mask.repeat_interleave(self.scale, 0).repeat_interleave(self.scale, 1))
        left, top, right, bottom = self._scaled(self.margins)
        return F.pad(drawn, (left, right, top, bottom), value=figures.MASKED)

    def _scaled(self, margins: Box) -> Box:
        return tuple(self.scale * margin for margin in margins)


def outlined(images: Tensor, mask: Tensor) -> Tensor:
    """Outline a region, bool (H, W), of images (B, 3, H, W): black inside, white outside, visible on any colour."""

    def grown(region: Tensor) -> Tensor:
        return F.max_pool2d(region[None].float(), 2 * LINE + 1, stride=1, padding=LINE)[0].bool()

    beyond = F.pad(mask, [LINE] * 4)  # the picture's edge also bounds the region
    inner = mask & grown(~beyond)[LINE:-LINE, LINE:-LINE]
    return images.masked_fill(grown(mask) & ~mask, 255).masked_fill(inner, 0)
