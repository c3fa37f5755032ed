"""Pictures on disk: a file's format is that of its suffix.

PIL image, path ──suffix──> format ──atomic_write──> file
"""

import os
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import atomic_write

STILL = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF", ".tif": "TIFF"},
    **{".tiff": "TIFF", ".bmp": "BMP", ".gif": "GIF", ".ppm": "PPM", ".pdf": "PDF"},
}
MOVING = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
# As exact as the format allows: text has sharp edges.
QUALITY = {"PNG": {"optimize": True}, "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
LARGEST = {"WEBP": 16_383, "JPEG": 65_500, "GIF": 65_535, "AVIF": 65_535}  # pixels along a side


def check_formats(still: Mapping[str, Path | None], moving: Mapping[str, Path | None]) -> None:
    """UserError unless the path of each option has a suffix of a format for still pictures or for animations."""
    for paths, formats in ((still, STILL), (moving, MOVING)):
        for option, path in paths.items():
            if path is not None:
                format_of(path, formats, "", f"{option} ")


def format_of(path: Path, formats: Mapping[str, str], default: str, option: str = "") -> str:
    """Pillow's name of the format of a path's suffix, `default` without a suffix; UserError for another suffix."""
    Image.init()
    known = {suffix: form for suffix, form in formats.items() if form in Image.SAVE}  # some need optional libraries
    suffix = path.suffix.lower()
    if suffix and suffix not in known:
        kind = "animation" if formats is MOVING else "picture"
        raise UserError(f"{option}{path}: no {kind} can be written as {suffix}; expected {', '.join(known)}")
    return known.get(suffix, default)


def save_picture(image: Image.Image, path: str | os.PathLike) -> Path:
    """Write an image in the format of the path's suffix, by default PNG, and return its path.

    Missing folders are created, and the file appears only once it is complete.
    """
    save(image, Path(path), format_of(Path(path), STILL, "PNG"))
    return Path(path)


def save_png(image: Image.Image, path: str | os.PathLike) -> Path:
    """Write an image as PNG, whatever its suffix; otherwise like `save_picture`."""
    save(image, Path(path), "PNG")
    return Path(path)


def save(image: Image.Image, path: Path, form: str, **options) -> None:
    """Write an image in a format of Pillow's; UserError if it is too large for it."""
    if max(image.size) > LARGEST.get(form, max(image.size)):
        size = f"{image.width}x{image.height} pixels"
        raise UserError(f"{path}: {size} are too many for {form}, at most {LARGEST[form]} a side; choose .png")
    with atomic_write(path) as temporary:
        image.save(temporary, form, **QUALITY.get(form, {}), **options)
