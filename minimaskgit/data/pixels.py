"""Any picture as 8-bit RGB: deep integers and floats are scaled by one rule, transparency falls onto white.

A picture is deep if its samples take more than 8 bits. Its file does not say which value is white: 12-bit cameras write
16-bit files, and floats are in 0..1 or in 0..255. So white is decided for a whole data set, never picture by picture,
once for each kind of samples:

    integers   16 bits: the smallest of 255, 1023, 4095, 16383 and 65535 that no deep picture of the data set exceeds
    wide       integers of 32 bits: likewise
    floats     likewise, or 1 if none is above 16: no picture of 0..255 is that dark
    declared   PGM: Pillow scales by the maximum in the header, unless that is 65535, which is all that fits

    pictures ──peak──> (kind, largest value) ──white_of──> White ──to_rgb──> RGB, black 0, white 255

Floats may stray by 1 % of white, from rounding, and are clipped. A picture with a value below 0, above white, or not a
number is refused. Opacity of 16 bits is always of 65535. Colour profiles and gamma are ignored: samples are taken as
sRGB, and CMYK is converted without ink profiles. A file of several frames or pages is its first.
"""

import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

# Pillow warns of large pictures and odd metadata, once per file; what it cannot decode is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")

WHITES = (255, 1023, 4095, 16383, 65535)
DARKEST = 16  # floats up to here are meant as 0..1
STRAY = 0.01  # of white; how far floats may exceed the range
INTEGERS, WIDE, FLOATS, DECLARED = "integers", "wide", "floats", "declared"  # kinds of deep samples
WHAT = {INTEGERS: "more than 8 bits", WIDE: "32-bit integers", FLOATS: "floating-point values"}
OPAQUE = 65535  # of 16 bits
BITS, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF


class Peak(NamedTuple):
    """The kind of a deep picture's samples, and the largest."""

    kind: str
    value: float


@dataclass(frozen=True)
class White:
    """The value that is white in a data set's deep pictures; None if it has no picture of that kind."""

    integers: int | None = None
    wide: int | None = None
    floats: int | None = None
    declared: int = 65535  # Pillow scales these itself


def white_of(peaks: Iterable[Peak | None]) -> White:
    """White for a data set with these peaks; None stands for a picture of 8 bits."""
    largest: dict[str, float] = {}
    for peak in filter(None, peaks):
        largest[peak.kind] = max(peak.value, largest.get(peak.kind, 0))
    return White(**{kind: _white(kind, value) for kind, value in largest.items() if kind != DECLARED})


def white_notes(peaks: Sequence[Peak | None], white: White) -> list[str]:
    """A line for each kind of deep picture: how many there are, and as which range they are read."""
    lines = []
    for kind, what in WHAT.items():
        if values := [peak.value for peak in peaks if peak and peak.kind == kind]:
            who = "1 picture has" if len(values) == 1 else f"{len(values)} pictures have"
            top = getattr(white, kind)
            dark = [value for value in values if value <= top / 16 and top > 255]
            also = f"; {len(dark)} of them reach only {max(dark):.6g}, so they are dark" if dark else ""
            lines.append(f"{who} {what} (up to {max(values):.6g}): read as 0..{top}{also}")
    return lines


def _white(kind: str, largest: float) -> int:
    if kind == FLOATS and largest <= DARKEST:
        return 1
    slack = STRAY if kind == FLOATS else 0
    return next((white for white in WHITES if largest <= white * (1 + slack)), WHITES[-1])


def depth(image: Image.Image) -> str | None:
    """The kind of samples of a picture that is not yet decoded, by its header; None if they have 8 bits or fewer."""
    tiles, tags = _tiles(image), image.tag_v2 if image.format == "TIFF" else {}
    if image.mode == "F":
        return FLOATS
    if image.mode.startswith("I"):
        declared = tiles and tiles[0][0].startswith("ppm") and tiles[0][3][-1] < 65535
        # 16 bits with a sign have mode I.
        narrow = image.mode != "I" or image.format == "PPM" or tags.get(BITS) == (16,)
        return DECLARED if declared else INTEGERS if narrow else WIDE
    odd = set(tags.get(SAMPLE_FORMAT, ())) == {2} or (tags.get(PLANES) == 2 and max(tags.get(BITS, ())) > 8)
    return INTEGERS if odd or (image.format in ("PNG", "TIFF", "PPM") and ";16" in _rawmode(tiles)) else None


def peak(image: Image.Image) -> Peak | None:
    """The kind and the largest of a picture's samples, opacity apart; None if it has 8 bits.

    ValueError if no range holds all of them.
    """
    kind = depth(image)
    if kind in (None, DECLARED):
        return None
    samples, mode = _samples(image)
    largest = float(_colours(samples, mode).max())
    _check(samples, mode, _white(kind, largest))
    return Peak(kind, largest)


def to_rgb(image: Image.Image, white: White | None = None, paper: str = "white") -> Image.Image:
    """A picture upright and in RGB, transparent parts on `paper`; without `white` it is decided by this picture alone.

    ValueError if the picture is deep and does not fit `white`.
    """
    if 0 in image.size:
        raise ValueError(f"it has {image.width}x{image.height} pixels; expected at least one")
    if depth(image):
        image = _eight_bits(image, white or white_of([peak(image)]))
    elif "transparency" in image.info and (factor := {"L;2": 85, "L;4": 17}.get(_rawmode(_tiles(image)))):
        image.info["transparency"] *= factor  # the grey that is transparent; Pillow scales the pixels only
    image = ImageOps.exif_transpose(image)
    if image.mode == "La":  # premultiplied; Pillow knows only this way out of it
        image = image.convert("LA")
    if image.has_transparency_data:  # the colour of transparent pixels may be anything
        image = Image.alpha_composite(Image.new("RGBA", image.size, paper), image.convert("RGBA"))
    return image.convert("RGB")


def _eight_bits(image: Image.Image, white: White) -> Image.Image:
    """A deep picture upright and scaled to 8 bits."""
    kind = depth(image)
    samples, mode = _samples(image)
    top = getattr(white, kind)
    _check(samples, mode, top or _white(kind, _colours(samples, mode).max()))
    if top is None:
        raise ValueError(f"it has {WHAT[kind]}, and none of the training images examined has")
    tops = np.array([OPAQUE if band in "Aa" else top for band in mode])
    levels = np.clip(samples * (255 / tops) + 0.5, 0, 255).astype(np.uint8)  # (H, W, C)
    if image.mode != "L" and mode == "L" and image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0:
        levels = 255 - levels  # 0 is white, which Pillow heeds for 8 bits only
    return Image.merge(mode, [Image.fromarray(band) for band in np.moveaxis(levels, -1, 0)])


def _samples(image: Image.Image) -> tuple[np.ndarray, str]:
    """A deep picture's samples upright, (H, W, C), and the mode with these channels at 8 bits."""
    if image.mode[0] in "LIF":
        samples, mode = np.asarray(ImageOps.exif_transpose(image))[..., None], "L"
        samples = samples.view(np.int8) if samples.dtype == np.uint8 else samples  # with a sign, or it were not deep
    else:
        samples, mode = _colour(image)
    key = image.info.get("transparency")  # the colour that is transparent
    if key is not None and mode in ("L", "RGB"):
        opacity = np.where((samples == np.asarray(key)).all(-1, keepdims=True), 0, OPAQUE)
        samples, mode = np.concatenate([samples, opacity], -1), mode + "A"
    return samples, mode


def _colour(image: Image.Image) -> tuple[np.ndarray, str]:
    """Samples of 16 bits in several channels, uint16 (H, W, C), and their mode.

    Pillow keeps the first byte of each sample only. Read with the order of bytes reversed, it keeps the second.
    """
    if image.format == "TIFF" and image.tag_v2.get(PLANES) == 2:
        raise ValueError("its channels of 16 bits are stored one after the other; expected them pixel by pixel")
    image.fp.seek(0)
    file = image.fp.read()

    def decoded(rawmode: str) -> np.ndarray:
        half = Image.open(BytesIO(file))
        half.tile = [
            tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:]))
            for tile in _tiles(half)
        ]
        return np.asarray(ImageOps.exif_transpose(half)).astype(np.uint16)

    channels, order = _rawmode(_tiles(image)).split(";16")
    if channels == "LA":  # Pillow cannot reverse these, but takes the four bytes for RGBA
        pairs = decoded("RGBA")
        return 256 * pairs[..., ::2] + pairs[..., 1::2], "LA"
    first = order if order != "N" else "L" if sys.byteorder == "little" else "B"
    raw = f"{channels.replace('a', 'A')};16"  # premultiplied: divided later
    samples = 256 * decoded(raw + first) + decoded(raw + ("L" if first == "B" else "B"))
    return samples, channels.removesuffix("X")


def _check(samples: np.ndarray, mode: str, white: int) -> None:
    colours = _colours(samples, mode)
    low, high, stray = colours.min(), colours.max(), STRAY * white if samples.dtype.kind == "f" else 0
    if not (-stray <= low and high <= white + stray):  # not a number, too
        raise ValueError(f"its values are {low:.6g} to {high:.6g}; expected 0 to {white}")
    if mode[-1] in "Aa" and white < OPAQUE and 0 < samples[..., -1].max() <= white:
        raise ValueError(f"its opacity is at most {samples[..., -1].max()}; expected {OPAQUE} where it is opaque")


def _colours(samples: np.ndarray, mode: str) -> np.ndarray:
    return samples[..., : len(mode.rstrip("Aa"))]


def _tiles(image: Image.Image) -> list[tuple]:
    """What Pillow will decode, as (codec, box, offset, arguments); PPM colour of 16 bits is taken as it is."""
    tiles = getattr(image, "tile", [])
    if image.mode == "RGB" and tiles and tiles[0][0] == "ppm" and tiles[0][3][-1] == 65535:
        return [tiles[0]._replace(codec_name="raw", args=("RGB;16B", 0, 1))]
    return tiles


def _rawmode(tiles: list[tuple]) -> str:
    """How Pillow names the samples in the file, such as RGB;16B."""
    args = tiles[0][3] if tiles else ""
    return args if isinstance(args, str) else str(args[0])
