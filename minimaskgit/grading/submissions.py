"""What students hand in, in one folder or archive; it is only read, one file a student, never run or unpacked.

    submissions/Ada.py, Ben/lesson_3.py, Cem.zip, or submissions.zip ──collect──> one text each
                notes.txt, Dora.rar                                  ──────────> ignored, and why

Students are told apart by their platform's number, or else by path, never by name. Sizes are looked at before anything
is read, and no student costs more than 64 MB of memory.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from minimaskgit.common.errors import UserError
from minimaskgit.grading.sandbox import visible
from minimaskgit.grading.texts import LARGEST, MEBI, text_of

ARCHIVES = 64 * MEBI  # bytes of all archives of one student, decompressed
MEMBERS = 10_000  # files in an archive of one student
ZIP, TAR = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
FOREIGN = (".rar", ".7z", ".gz", ".bz2", ".xz", ".zst")
SYSTEM = ("__macosx", "__pycache__", "thumbs.db", "desktop.ini")
DECOMPRESS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}

# How platforms call files and folders: "Ada Lovelace_1234_assignsubmission_file_", "lovelaceada_77_4321_lesson_3.py".
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<rest>.*)", re.DOTALL)
CANVAS = re.compile(r"(?P<name>[^_]+)(?P<late>_LATE)?_(?P<id>\d{2,})_\d{3,}_(?P<rest>.+)", re.DOTALL | re.IGNORECASE)

# Errors that a damaged, encrypted or foreign file raises.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, KeyError, LookupError, SyntaxError)
UNREADABLE += (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Owner:
    """Who handed something in: a student with a platform's number, or else whoever the path belongs to."""

    name: str
    entry: str  # unique in a class
    platform: str = ""
    id: str = ""


def owner(entry: str) -> tuple[Owner, str, bool] | None:
    """Of a file or folder that a platform named: its owner, its name without what was added, and whether it is late."""
    for platform, pattern in (("Moodle", MOODLE), ("Canvas", CANVAS)):
        if found := pattern.fullmatch(entry):
            name, number, rest = found["name"], found["id"], found["rest"]
            is_late = bool(found.groupdict().get("late"))  # only Canvas says so
            return Owner(name, f"{platform} {number} {name}", platform, number), rest, is_late
    return None


NOBODY = Owner("", "")


@dataclass(frozen=True)
class Submission:
    """The text of one student's file, or the reason why there is none. student: a name that is unique in the class."""

    student: str
    source: str = ""
    trouble: str = ""
    owner: Owner = NOBODY
    is_late: bool = False  # by what the platform says
    others: str = ""  # files for the same lesson that are not graded

    @property
    def note(self) -> str:
        return "; ".join(filter(None, ["late" * self.is_late, self.others]))


@dataclass(frozen=True)
class File:
    """A file, or an empty folder, that has not been read."""

    path: PurePosixPath
    size: int = 0
    content: Callable[[int], bytes] = lambda most: b""  # at most so many bytes
    refused: str = ""  # why it is not read
    is_folder: bool = False
    is_late: bool = False  # by what the platform says

    @property
    def kind(self) -> str:
        """Its suffix in small letters, if this file knows it."""
        known = (*LARGEST, *ZIP, *TAR, *FOREIGN)
        fitting = [suffix for suffix in known if self.path.name.lower().endswith(suffix)]
        return "" if self.is_folder else max(fitting, key=len, default="")

    @property
    def is_hidden(self) -> bool:
        return any(part.startswith(".") or part.lower() in SYSTEM for part in self.path.parts)

    def read(self, most: int) -> bytes:
        if self.refused:
            raise ValueError(self.refused)
        data = self.content(most + 1) if self.size <= most else bytes(most + 1)
        if len(data) > most:
            raise ValueError(f"it is larger than {most // MEBI} MB")
        return data


def collect(path: Path, lesson: int) -> tuple[list[Submission], dict[str, str]]:
    """Submissions, sorted by student, and what was ignored, with the reason; UserError if nobody handed in anything.

    path: a folder or archive of all students, or one student's file.
    """
    if not path.exists():
        raise UserError(f"no {path}; expected a folder or zip of submissions, or one student's file")
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{path} is neither a file nor a folder; expected a folder or zip of submissions")
    try:
        files = _all_files(path, lesson)
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    handed_in: dict[Owner, list[File]] = {}
    ignored = {}
    for file in files:
        if reason := _why_ignored(file):
            if not (file.is_hidden and file.path.parts[0] in ignored):
                ignored[file.path.parts[0] if file.is_hidden else str(file.path)] = reason
        else:
            whose, inside = _whose(file)
            handed_in.setdefault(whose, []).append(inside)
    if not handed_in:
        raise UserError(f"{path} contains no submissions; expected a .py file, a folder or a .zip per student")
    names = _unique_names(handed_in)
    found = [
        replace(_submission(names[whose], whose, files, lesson), is_late=any(file.is_late for file in files))
        for whose, files in handed_in.items()
    ]
    return sorted(found, key=lambda one: one.student), {visible(name): why for name, why in sorted(ignored.items())}


def _all_files(path: Path, lesson: int) -> list[File]:
    if path.is_dir():
        return list(_in_folder(path))
    alone = File(PurePosixPath(path.name), path.stat().st_size, partial(_content, path))
    if alone.kind not in ZIP + TAR:
        return [alone]
    files = list(_in_archive(_decompressed(path.open("rb"), 16 * ARCHIVES)))
    inside = [one for one in files if not (one.refused or one.is_hidden)]
    if _in_one_folder(inside, lesson):
        top = inside[0].path.parts[:1]
        files = [_below(one) if one.path.parts[:1] == top else one for one in files if one.path.parts != top]
    return files


# --- Whose is it? ---


def _why_ignored(file: File) -> str:
    """Why something in the folder of the class is no student's, or an empty string."""
    top = file.path.parts[0]
    if File(PurePosixPath(top)).is_hidden:
        return "hidden, or made by the system"
    if _leads_outside(file):
        return "its path leads outside"
    if len(file.path.parts) > 1 or file.is_folder or file.kind in (*LARGEST, *ZIP, *TAR) or owner(top):
        return ""
    return "" if file.refused.startswith("a symbolic link") else _why_not_read(file)


def _why_not_read(file: File) -> str:
    if file.refused:
        return file.refused
    if file.kind in FOREIGN:
        return f"a {file.kind} cannot be opened here; ask for a .zip"
    return "neither .py nor .ipynb, folder, .zip or .tar"


def _whose(file: File) -> tuple[Owner, File]:
    """The owner, and the file with the path that it has there."""
    top = file.path.parts[0]
    is_alone = len(file.path.parts) == 1 and not file.is_folder
    if found := owner(top):
        whose, name, is_late = found
        inside = replace(file, path=PurePosixPath(name)) if is_alone else _below(file)
        return whose, replace(inside, is_late=is_late)
    if is_alone:
        return Owner(top[: len(top) - len(file.kind)], top), file
    return Owner(top, top), _below(file)


def _below(file: File) -> File:
    return replace(file, path=PurePosixPath(*file.path.parts[1:]))


def _unique_names(owners: Iterable[Owner]) -> dict[Owner, str]:
    """A name for each: the student's if nobody else could be called so, or else with the number or as the path."""
    possible = {one: [one.name, *([f"{one.name} ({one.id})"] if one.id else []), one.entry] for one in owners}
    claimed = Counter(name for names in possible.values() for name in set(map(_fold, names)))
    return {
        one: next((name for name in names if claimed[_fold(name)] == 1), names[-1]) for one, names in possible.items()
    }


def _fold(name: str) -> str:
    """A name without what people do not see or type: large letters, and how accents are stored."""
    return unicodedata.normalize("NFKC", visible(name)).casefold()


def _in_one_folder(files: list[File], lesson: int) -> bool:
    """Whether an archive's only folder contains all students, not just one student's files."""
    if len({file.path.parts[0] for file in files}) != 1:
        return False
    inside = [file for file in files if len(file.path.parts) == 2 and file.kind in (*LARGEST, *ZIP, *TAR)]
    deep = [file for file in files if len(file.path.parts) > 2]
    folders = {file.path.parts[1] for file in deep if _answers_lesson(file, lesson) or _named_as_its_folder(file)}
    from_platform = [file for file in files if len(file.path.parts) > 1 and owner(file.path.parts[1])]
    of_one = any(file.path.name.lower() == f"lesson_{lesson}.py" for file in inside)
    return (len(inside) + len(folders) > 1 and not of_one) or bool(from_platform)


# --- Files in folders and archives ---


def _in_folder(top: Path) -> Iterator[File]:
    """All files below a folder; links are not followed, and nothing is opened."""
    waiting = [top]
    while waiting:
        here = waiting.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            if here == top:
                raise
            yield File(PurePosixPath(*here.relative_to(top).parts), refused=f"cannot be read: {error.strerror}")
            continue
        for entry in entries:
            path = PurePosixPath(*Path(entry.path).relative_to(top).parts)
            if entry.is_symlink():
                yield File(path, refused="a symbolic link; hand in the file itself")
            elif entry.is_dir():
                waiting.append(Path(entry.path))
                yield File(path, is_folder=True)
            elif entry.is_file():
                yield File(path, entry.stat().st_size, partial(_content, entry.path))
            else:
                yield File(path, refused="neither a file nor a folder")


def _content(path: str | Path, most: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(most)


def _decompressed(file: BinaryIO, most: int) -> BinaryIO:
    """A file, decompressed if it is a compressed tar; ValueError beyond `most` bytes."""
    start = file.read(6)
    file.seek(0)
    for magic, opened in DECOMPRESS.items():
        if start.startswith(magic):
            file = io.BytesIO(opened(file).read(most + 1))
            if len(file.getbuffer()) > most:
                raise ValueError(f"more than {most // MEBI} MB when decompressed")
    return file


def _in_archive(file: BinaryIO) -> Iterator[File]:
    """All files of a zip or tar."""
    is_link = "a symbolic link; hand in the file itself"
    if zipfile.is_zipfile(file):
        archive = zipfile.ZipFile(file)
        for member in archive.infolist():
            refused = is_link if stat.S_ISLNK(member.external_attr >> 16) else ""
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                refused = "compressed in a way that is not opened here; ask for an ordinary .zip"
            if (path := PurePosixPath(member.filename.replace("\\", "/"))).parts:
                yield File(path, member.file_size, partial(_of_zip, archive, member), refused, member.is_dir())
        return
    file.seek(0)
    archive = tarfile.TarFile(fileobj=file)
    for member in archive:
        refused = "" if member.isreg() or member.isdir() else is_link
        if (path := PurePosixPath(member.name)).parts:
            yield File(path, member.size, partial(_of_tar, archive, member), refused, member.isdir())


def _of_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(member) as file:
        return file.read(most)  # the size in the archive may be false


def _of_tar(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    return archive.extractfile(member).read(most)


# --- The one file that counts ---


def _submission(student: str, whose: Owner, files: list[File], lesson: int) -> Submission:
    try:
        answers = _answers(files)
        if not answers:
            others = [file for file in files if not file.is_folder and not file.is_hidden]
            found = "; ".join(f"{file.path.name}: {_why_not_read(file)}" for file in others[:3])
            return Submission(student, "", visible(f"no lesson_{lesson}.py" + (found and f"; {found}")), whose)
        fits = _fitting(answers, lesson)
        if len(fits) > 1:
            names = ", ".join(str(file.path) for file in fits[:4]) + ", ..." * (len(fits) > 4)
            return Submission(student, "", visible(f"{len(fits)} files could be lesson_{lesson}.py: {names}"), whose)
        text = text_of(fits[0].read(LARGEST[fits[0].kind]), fits[0].kind)
        return Submission(student, text, "", whose, others=_others(fits[0], answers, lesson))
    except UNREADABLE as error:
        said = next(iter(str(error).splitlines()), "")
        return Submission(student, "", f"cannot be read: {visible(said) or 'damaged'}", whose)


def _others(graded: File, answers: list[File], lesson: int) -> str:
    paths = [str(file.path) for file in answers if file != graded and _answers_lesson(file, lesson)]
    names = ", ".join(paths[:3]) + ", ..." * (len(paths) > 3)
    return visible(f"{graded.path.name} is graded, not {names}") if paths else ""


def _answers(files: list[File]) -> list[File]:
    """Files that may be the answer; if there are none, those in archives, and in archives in these."""
    left = ARCHIVES
    for _ in range(3):
        files = [file for file in files if not file.is_hidden and not _leads_outside(file)]
        if found := [file for file in files if file.kind in LARGEST]:
            return found
        inside: list[File] = []
        for archive in (file for file in files if file.kind in ZIP + TAR):
            data = _decompressed(io.BytesIO(archive.read(left)), left)
            left -= len(data.getbuffer())
            # In a header, tarfile takes hours for such a number.
            if archive.kind in TAR and re.search(rb"\d{1000}", data.getbuffer()):
                raise ValueError("not an ordinary tar; ask for a .zip")
            if data.getvalue().count(b"PK\1\2") > MEMBERS:  # zipfile makes an object for each
                raise ValueError(f"more than {MEMBERS} files in an archive")
            inside += islice(_in_archive(data), MEMBERS + 1)
            if len(inside) > MEMBERS:
                raise ValueError(f"more than {MEMBERS} files in an archive")
        files = inside
    return []


def _leads_outside(file: File) -> bool:
    return ".." in file.path.parts or file.path.is_absolute()


def _names(lesson: int) -> tuple[str, ...]:
    """Patterns of a file's name, the best first: lesson_3; almost so, as browsers do; the lesson's own notebook's."""
    return rf"lesson_{lesson}", rf"lesson[_ -]?0?{lesson}(\D.*)?", rf"0?{lesson}_.*"


def _is_called(file: File, pattern: str) -> bool:
    return bool(re.fullmatch(pattern, file.path.name[: len(file.path.name) - len(file.kind)], re.I | re.S))


def _answers_lesson(file: File, lesson: int) -> bool:
    return file.kind in LARGEST and any(_is_called(file, pattern) for pattern in _names(lesson))


def _named_as_its_folder(file: File) -> bool:
    return file.kind in LARGEST and file.path.stem.casefold() == file.path.parts[-2].casefold()


def _fitting(answers: list[File], lesson: int) -> list[File]:
    """Those whose name fits best, in any folder, .py before .ipynb; if no name fits, all of one kind."""
    kinds = [(pattern, kind) for pattern in (*_names(lesson), ".*") for kind in LARGEST]
    found = ([file for file in answers if file.kind == kind and _is_called(file, name)] for name, kind in kinds)
    return next(filter(None, found))


# --- Names ---


def named(found: list[Submission], name: str) -> Submission:
    """The student of that name, number or path; UserError unless there is exactly one."""
    names = lambda one: (one.student, one.owner.id, one.owner.entry, one.owner.name)
    fits = [one for one in found if name and _fold(name) in map(_fold, names(one))]
    exact = [one for one in fits if one.student == name] or [one for one in fits if name in names(one)] or fits
    if len(exact) != 1:
        known = ", ".join(visible(one.student) for one in found)
        wrong = "matches several students" if fits else "is no student"
        raise UserError(f"{visible(name)!r} {wrong}; expected one of {known}")
    return exact[0]


def anonymous(found: list[Submission], seed: int) -> list[Submission]:
    """The same submissions under numbers that say nothing about the names, and stay while the class and seed do."""
    order = lambda one: hashlib.sha256(f"{seed} {one.owner.entry}".encode("utf-8", "replace")).digest()
    digits = len(str(len(found)))
    names = [f"student {number:0{digits}}" for number in range(1, len(found) + 1)]
    # What a trouble says after a semicolon names the student's files.
    return [
        Submission(name, one.source, one.trouble.partition(";")[0], Owner("", name), one.is_late)
        for name, one in zip(names, sorted(found, key=order))
    ]
