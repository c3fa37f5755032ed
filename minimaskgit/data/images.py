"""Images with labels, and what training does to them: mirror, shift, convert to floats.

ImageData: uint8 (M, 3, S, S) and labels (M,) ──batch──> (B, 3, S, S) ──mirror, shift, to_float──> [0, 1]
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from minimaskgit.common.errors import UserError
from minimaskgit.data.pixels import White, to_rgb

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class ImageData(torch.utils.data.Dataset):
    """Square RGB images: `data[i]` is an image, uint8 (3, S, S), and its label, an int.

    `images` holds them decoded. If they do not fit in memory, `read` decodes one at a time instead, and raises a
    UserError that names a broken one; another image of its class then takes its place. `skipped` counts the broken
    images left out of `images`.

    `origin` says where the split was found, `notes` what was decided or left out. `fingerprint` is a digest of file
    sizes, labels and class names: the same wherever the data set lies.
    """

    label_names: list[str]
    image_size: int  # S, pixels
    labels: Tensor = field(repr=False)  # int64 (M,)
    images: Tensor | None = field(repr=False, default=None)  # uint8 (M, 3, S, S)
    read: Callable[[int], Tensor] | None = field(repr=False, default=None)  # index -> uint8 (3, S, S)
    skipped: int = 0
    origin: str = ""
    fingerprint: str = ""
    notes: list[str] = field(repr=False, default_factory=list)
    broken: set[int] = field(repr=False, default_factory=set)  # images not left out, of which a warning was given

    @property
    def num_classes(self) -> int:
        return len(self.label_names)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = int(self.labels[index])  # first, because it raises the IndexError that ends a for loop
        return (self.decode(index) if self.images is None else self.images[index]), label

    def decode(self, index: int) -> Tensor:
        """Image number `index`, decoded now; in place of a broken one the next of its class, with a warning."""
        try:
            return self.read(index)
        except UserError as error:
            alike = (self.labels == self.labels[index]).nonzero()[:, 0]
            for other in torch.cat([alike[alike > index], alike[alike < index]]).tolist():
                with suppress(UserError):
                    image = self.read(other)
                    if index not in self.broken:
                        logger.warning("%s; another image of its class takes its place", error)
                        self.broken.add(index)
                    return image
            raise

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images uint8 (B, 3, S, S) and labels int64 (B,) at `indices`, int64 (B,)."""
        if self.images is None:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow releases Python's lock
                return torch.stack(list(pool.map(self.decode, indices.tolist()))), self.labels[indices]
        return self.images[indices], self.labels[indices]


def fingerprint(names: Sequence[str], labels: np.ndarray, sizes: Sequence[int] | np.ndarray = ()) -> str:
    """A digest of class names, labels and file sizes."""
    digest = hashlib.sha256(json.dumps(names).encode())
    for numbers in (labels, sizes):
        digest.update(np.asarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 images in 0..255 to float32 in [0, 1], any shape."""
    return images.float() / 255


def flip(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mirror each image of (B, 3, H, W) left to right with probability 1/2: for photographs, not for glyphs."""
    device = images.device if generator is None else generator.device
    return mirror(images, torch.rand(len(images), generator=generator, device=device).to(images.device) < 0.5)


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror left to right those images (B, 3, H, W) for which `mirrored` (B,) is True."""
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def shift(images: Tensor, moves: Tensor, most: int) -> Tensor:
    """Crop each image of (B, 3, S, S) to its own size at an offset: `moves` (B, 2) minus `most`, in rows and columns.

    `moves` are in 0..2 most. The image is mirrored at its edges to fill the rest.
    """
    size = torch.arange(images.shape[-1], device=images.device)
    padded = F.pad(images, (most,) * 4, mode="reflect")  # (B, 3, H + 2 most, W + 2 most)
    rows, columns = (size + moves[:, axis, None] for axis in (0, 1))  # (B, H), (B, W)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.movedim(1, -1)[batch, rows[:, :, None], columns[:, None]].movedim(-1, 1)


def square(image: Image.Image, size: int, white: White | None = None) -> np.ndarray:
    """Turn any picture upright, resize its shorter side to `size` and crop the centre: uint8 RGB (3, S, S).

    white: the data set's, for deep pictures (see `pixels`); without it, this picture's own. ValueError if the picture
    cannot be converted.
    """
    image.draft(None, (2 * size, 2 * size))  # decodes a large JPEG at 1/2, 1/4 or 1/8 scale, never below this size
    image = ImageOps.fit(to_rgb(image, white), (size, size), Image.Resampling.BICUBIC)
    return np.array(image).transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)
