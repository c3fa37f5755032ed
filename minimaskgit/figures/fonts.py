"""A font that has the glyphs of a text: DejaVu Sans, else one that the system has; and what to write if none has them.

text ──font_for──> font file, or None ──> class_titles: "class 3" for a class name; spelled: "\\u732b" for the rest
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont, features

from minimaskgit.data.tree import nfc

OWN = Path(matplotlib.get_data_path(), "fonts", "ttf")  # matplotlib's fonts; DejaVu Sans is among them
REGULAR, BOLD = OWN / "DejaVuSans.ttf", OWN / "DejaVuSans-Bold.ttf"


@cache
def font_for(text: str, bold: bool = False) -> Path | None:
    """A font file with all glyphs of `text`, DejaVu Sans if possible; None if no font here can draw it."""
    first = BOLD if bold else REGULAR
    if text.isascii():
        return first
    if not features.check("raqm") and any(_needs_shaping(character) for character in text):
        return None  # letters that join, stack, or run from right to left
    needed = {character for character in text if not _is_invisible(character)}
    own = (font for font in (first, REGULAR) if needed <= _glyphs(font))
    return next(own, None) or next((font for font in system_fonts() if _draws(font, needed)), None)


def drawable(text: str) -> bool:
    """Whether a font here can draw `text`."""
    return font_for(nfc(text)) is not None


def class_titles(names: Sequence[str]) -> list[str]:
    """What to write in pictures for classes with these names: the name, or "class 3" if no font has its glyphs."""
    return [name if drawable(name) else f"class {number}" for number, name in enumerate(names)]


def spelled(text: str) -> str:
    """The text in a form that can be drawn; if no font has a glyph that it needs, by the numbers of its characters."""
    text = nfc(text)
    if font_for(text):
        return text
    shapes = features.check("raqm")
    keep = {c for c in text if c in _glyphs(REGULAR) and (shapes or not _needs_shaping(c))}
    return "".join(c if c in keep else c.encode("unicode_escape").decode() for c in text)


@cache
def system_fonts() -> list[Path]:
    """The system's font files, upright ones of normal weight and without serifs first."""
    found = [font for font in fontManager.ttflist if Path(font.fname).parent != OWN]
    fancy = lambda font: (
        font.style != "normal",
        font.weight not in (400, "normal", "regular"),
        "Sans" not in font.name,
    )
    files = [Path(font.fname) for font in sorted(found, key=lambda font: (fancy(font), font.fname))]
    return [file for file in dict.fromkeys(files) if "LastResort" not in file.name]  # which has a box for everything


@cache
def _glyphs(font: Path) -> frozenset[str]:
    return frozenset(map(chr, FT2Font(str(font)).get_charmap()))


def _draws(font: Path, characters: set[str]) -> bool:
    """Whether a font leaves ink for each character; fonts of coloured emoji do not, and some cannot be scaled."""
    try:
        face = FT2Font(str(font))
        if not all(face.get_char_index(ord(character)) for character in characters):
            return False
        drawing = ImageFont.truetype(font, 12)
        return all(drawing.getmask(character).getbbox() for character in characters)
    except (OSError, RuntimeError, ValueError):  # a font file that is gone or broken
        return False


def _is_invisible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def _needs_shaping(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character) in ("Mn", "Mc", "Cf")
