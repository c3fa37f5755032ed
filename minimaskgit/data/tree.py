"""The visible files below a folder: hidden ones are left out, links are followed, and no circle is walked twice.

ROOT ──scandir──> one Listing per real folder; links may lead in circles ──> Folder, a tree without circles
"""

import mimetypes
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from PIL import Image

HIDDEN_FOLDERS = {"__macosx", "__pycache__", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin"}
HIDDEN_FOLDERS |= {"recycler", "system volume information", "lost+found"}  # and all that begin with a dot
HIDDEN_FILES = {"thumbs.db", "desktop.ini", "icon\r"}
# Formats that Pillow only names or needs another program for, and an editor's working files.
NOT_READ = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS", "PSD"}


@dataclass(eq=False)
class Listing:
    """The names in one real folder, however many links lead to it."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are not images
    folders: dict[str, "Listing"] = field(default_factory=dict)


@dataclass
class LeftOut:
    """Paths, relative to the root, that were not listed; "" is the root."""

    hidden: list[str] = field(default_factory=list)  # folders
    unreadable: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # that lead nowhere, or to a folder that contains the root


class Folder:
    """A folder at a place in the tree: its files and its folders, except those that it is in itself."""

    def __init__(self, root: str, parts: tuple[str, ...], listing: Listing, above: frozenset[int] = frozenset()):
        self.root, self.parts, self.listing, self.above = root, parts, listing, above

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def place(self) -> str:
        """Where it is, as the user knows it: "train/cat/"; "the data" is the root."""
        return shown("/".join(self.parts) + "/") if self.parts else "the data"

    @cached_property
    def folders(self) -> list["Folder"]:
        """The folders in this one, sorted by name."""
        within = self.above | {id(self.listing)}
        inner = ((name, listing) for name, listing in self.listing.folders.items() if id(listing) not in within)
        return [Folder(self.root, (*self.parts, name), listing, within) for name, listing in inner]

    @cached_property
    def filled(self) -> list["Folder"]:
        """The folders in this one that have images in or below them."""
        return [folder for folder in self.folders if folder.count]

    @cached_property
    def count(self) -> int:
        """The number of images in and below this folder."""
        return sum(len(folder.listing.images) for folder in self.walk())

    def walk(self) -> Iterator["Folder"]:
        """This folder and all below it; a real folder comes once, even if several links lead to it."""
        seen, pending = set(), [self]
        while pending:
            folder = pending.pop()
            if id(folder.listing) not in seen:
                seen.add(id(folder.listing))
                yield folder
                pending += reversed(folder.folders)

    def file(self, name: str) -> str:
        """The path of a file in this folder."""
        return os.path.join(self.root, *self.parts, name)

    def images(self) -> list[str]:
        """The paths of all images in and below this folder, in the same order on every file system."""
        found = [(*folder.parts, name) for folder in self.walk() for name in folder.listing.images]
        return [os.path.join(self.root, *parts) for parts in sorted(found, key=lambda parts: [nfc(p) for p in parts])]


def survey(root: Path) -> tuple[Folder, LeftOut]:
    """List everything visible below `root`, and what was left out."""
    # A link to a folder that contains the root is a circle too.
    above = {_identity(parent) for parent in root.resolve().parents}
    top, left_out = Listing(), LeftOut()
    listings, pending = {_identity(root): top}, [("", top)]
    while pending:
        place, listing = pending.pop()
        try:
            with os.scandir(os.path.join(root, place)) as found:
                entries = sorted(found, key=lambda entry: (nfc(entry.name), entry.name))
        except OSError:
            left_out.unreadable.append(place)
            continue
        for entry in entries:
            inner, is_folder = os.path.join(place, entry.name), _is(entry.is_dir)
            if _is_hidden(entry.name, is_folder):
                left_out.hidden += [inner] * is_folder
            elif is_folder and (identity := _identity(entry.path)) not in above:
                if identity not in listings:
                    listings[identity] = Listing()
                    pending.append((inner, listings[identity]))
                listing.folders[entry.name] = listings[identity]
            elif _is(entry.is_file):
                (listing.images if _is_image(entry) else listing.others).append(entry.name)
            elif entry.is_symlink():
                left_out.links.append(inner)
    return Folder(os.fspath(root), (), top), left_out


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False


def nfc(name: str) -> str:
    """A name with composed characters: macOS and others write é as e and an accent."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def as_label(name: str) -> str:
    """A folder's name as a class name: without spaces around it; bytes that are no characters are written \\xe9."""
    return nfc(_readable(name)).strip()


def shown(name: str) -> str:
    """A file name for one line of text, without line breaks."""
    return re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], _readable(name))


def as_text(path: str) -> str:
    """A path as text that Arrow can store: a name may have bytes that are no characters."""
    plain = _is_text(path) and not path.startswith("file:")
    return path if plain else "file:" + quote(os.fsencode(path))


def as_path(text: str) -> str:
    """The path that `as_text` stored."""
    return os.fsdecode(unquote_to_bytes(text[5:])) if text.startswith("file:") else text


def _readable(name: str) -> str:
    return name if _is_text(name) else os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_text(path: str) -> bool:
    return path.isascii() or not re.search("[\ud800-\udfff]", path)


def _identity(path: str | Path) -> tuple[int, int] | str:
    try:
        status = os.stat(path)
    except OSError:
        return os.fspath(path)
    return status.st_dev, status.st_ino


def _is_hidden(name: str, is_folder: bool) -> bool:
    return name.startswith(".") or name.lower() in (HIDDEN_FOLDERS if is_folder else HIDDEN_FILES)


# ---- Which files are images ----


def _is_image(entry: os.DirEntry) -> bool:
    """By the suffix if it is known, because opening every file would be slow; otherwise by the content."""
    known = _known_by_suffix(os.path.splitext(entry.name)[1].lower())
    if known is not None:
        return known
    try:
        with Image.open(entry.path, formats=_with_signature()):
            return True
    except Exception:  # Pillow raises a dozen kinds of errors
        return False


@cache
def _known_by_suffix(suffix: str) -> bool | None:
    """Whether files with this suffix are images, or None if only their content can tell."""
    Image.init()
    if format := Image.registered_extensions().get(suffix):
        return format in {*Image.OPEN, "MPO"} - NOT_READ
    kind, _ = mimetypes.MimeTypes().guess_type(f"x{suffix}")  # a new object, without the types of this system
    return None if kind is None or kind.startswith("image/") else False


@cache
def _with_signature() -> tuple[str, ...]:
    """The formats that Pillow recognizes by a file's first bytes, and so not by mistake."""
    Image.init()
    return tuple(name for name, (_, accepts) in Image.OPEN.items() if accepts and name not in NOT_READ)
