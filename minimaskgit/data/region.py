"""A picture of the user's own and the part of it to paint: a box, or a mask, in its own pixels.

file ──read_picture──> RGB ──region_of(box or mask)──> white where to paint ──resized_mask──> bool (S, S)
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from minimaskgit.common.errors import UserError, first_line
from minimaskgit.data.pixels import peak, to_rgb, white_notes, white_of
from minimaskgit.editing import Box, box_to_mask

MARGIN_LIMIT = 4096  # pixels that outpainting may add on each side


def read_picture(path: Path, paper: str = "white", note: bool = True) -> Image.Image:
    """Read a picture from a file, upright and in RGB, transparent parts on `paper`; UserError if that fails."""
    try:
        with Image.open(path) as image:
            peaks = [peak(image)]
            white = white_of(peaks)
            picture = to_rgb(image, white, paper)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a picture") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path} has too many pixels to be opened safely; make it smaller first") from None
    except ValueError as error:  # of values outside every range
        raise UserError(f"{path}: {first_line(error)}") from None
    except Exception as error:  # Pillow raises a dozen kinds on broken files
        reason = type(error).__name__
        raise UserError(f"{path} cannot be read as a picture ({reason}); expected an image file") from None
    for line in white_notes(peaks, white) if note else ():
        print(f"{path}: {line}")
    return picture


def region_of(picture: Image.Image, box: str | None, path: Path | None) -> Image.Image:
    """A box, or else the mask in a file, as an image of the picture's size, white where to paint."""
    if box is not None:
        mask = box_to_mask(parse_box(box, picture.size), picture.height, picture.width)
        return Image.fromarray(mask.byte().mul(255).numpy())
    mask = read_picture(path, paper="black")
    if mask.size != picture.size:
        expected = f"{picture.width}x{picture.height}, the picture's size"
        raise UserError(f"{path} is {mask.width}x{mask.height}; expected {expected}")
    transparent = ImageChops.difference(mask, read_picture(path, note=False)).getbbox() is not None
    levels = mask.convert("L")
    region = levels.point(lambda level: 255 if level >= 128 else 0)
    if region.getbbox() is None:
        cure = _cure(levels, transparent)
        raise UserError(f"{path} is all black, so the region is empty; expected white where to paint{cure}")
    if transparent:
        print(f"{path}: its transparent part is not painted")
    return region


def _cure(levels: Image.Image, transparent: bool) -> str:
    """What to do about a mask whose grey levels are all below half."""
    if transparent:
        return ": its transparent part is not painted; save it without transparency"
    *others, (_, largest) = sorted(levels.getcolors(), key=lambda counted: counted[1])
    if len(others) == 1 and largest:
        return f": its values are {others[0][1]} and {largest}; multiply them by {255 // largest}"
    return f": its values are 0 to {largest}; make those to paint 255" if largest else ""


def parse_box(text: str, size: tuple[int, int]) -> Box:
    """Parse x0,y0,x1,y1; UserError if the box is empty or not inside a picture of size (width, height)."""
    x0, y0, x1, y1 = box = _four_numbers("box", "x0,y0,x1,y1", text)
    if x0 >= x1 or y0 >= y1:
        raise UserError(f"--box {text} is empty; expected x0 < x1 and y0 < y1")
    if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
        raise UserError(f"--box {text} is not inside the picture, which is {size[0]}x{size[1]} pixels")
    return box


def parse_margins(text: str) -> Box:
    """Parse left,top,right,bottom; UserError if a margin is negative or too large, or all are zero."""
    margins = _four_numbers("outpaint", "left,top,right,bottom", text)
    if min(margins) < 0 or max(margins) > MARGIN_LIMIT or not any(margins):
        raise UserError(f"--outpaint {text}: expected 0 to {MARGIN_LIMIT} pixels per side, and more than 0 on one side")
    return margins


def _four_numbers(option: str, form: str, text: str) -> Box:
    try:
        a, b, c, d = (int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--{option} {text}: expected {form}, four whole numbers of pixels") from None
    return a, b, c, d


def resized_mask(mask: Image.Image, size: int) -> Tensor:
    """Resize and crop a region like `square` does the picture: bool (size, size), every pixel that it touches."""
    resized = ImageOps.fit(mask, (size, size), Image.Resampling.BOX)
    touched = torch.from_numpy(np.asarray(resized) > 0)
    if not touched.any():
        raise UserError("the region is empty once the picture is resized and centre-cropped; expected a larger one")
    return touched
