"""What students hand in: one file, folder or zip each, in one folder or zip; it is only read, never run or unpacked.

submissions/Ada.py, submissions/Ben/lesson_3.py, submissions/Cem.zip, or submissions.zip ──collect──> one text each
"""

import io
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from minimaskgit.common.errors import UserError

LARGEST = 2**20  # bytes of a student's file

# Errors that a damaged, encrypted or foreign file raises.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Submission:
    """The text of one student's file, or the reason why there is none."""

    student: str
    source: str = ""
    trouble: str = ""


def collect(path: Path, lesson: int) -> list[Submission]:
    """Submissions from a folder, a zip or a single student's file, sorted by student; UserError if there are none."""
    if not path.exists():
        raise UserError(f"no {path}; expected a folder or zip of submissions, or one student's file")
    if path.suffix == ".zip":
        found = _platform_zip(path, lesson)
    elif path.is_dir():
        entries = (entry for entry in path.iterdir() if not entry.name.startswith((".", "__")))
        found = [_entry(entry, lesson) for entry in entries if _is_submission(entry)]
    else:
        found = [_entry(path, lesson)]
    if not found:
        raise UserError(f"{path} contains no submissions; expected a .py file, a folder or a .zip per student")
    return sorted(_distinct(found), key=lambda submission: submission.student)


def _is_submission(entry: Path) -> bool:
    return entry.is_symlink() or entry.is_dir() or entry.suffix in (".py", ".zip")


def _entry(path: Path, lesson: int) -> Submission:
    student = path.stem if path.suffix in (".py", ".zip") else path.name
    try:
        if path.is_symlink():
            return Submission(student, trouble="a symbolic link; hand in the file itself")
        if path.is_dir():
            return _folder(path, student, lesson)
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return _one_of(student, _members(archive, archive.infolist()), lesson)
        return Submission(student, _text(path.read_bytes() if path.stat().st_size <= LARGEST else b"", path.name))
    except UNREADABLE as error:
        return _unreadable(student, error)


def _unreadable(student: str, error: Exception) -> Submission:
    return Submission(student, trouble=f"cannot be read: {str(error).splitlines()[0] if str(error) else 'damaged'}")


def _folder(path: Path, student: str, lesson: int) -> Submission:
    files = {}
    for file in sorted(path.rglob("*.py")):
        if any(part.is_symlink() for part in (file, *file.parents[: len(file.relative_to(path).parts)])):
            return Submission(student, trouble=f"{file.name} is a symbolic link; hand in the file itself")
        if file.is_file() and file.stat().st_size <= LARGEST:
            files[file.relative_to(path).as_posix()] = file.read_bytes()
    return _one_of(student, files, lesson)


def _members(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[str, bytes]:
    """Python files among members of an archive, by name; kept in memory, so that their names can do no harm."""
    files = {}
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        astray = path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16)
        if astray or path.suffix != ".py" or "__MACOSX" in path.parts or member.file_size > LARGEST:
            continue
        with archive.open(member) as file:
            files[path.as_posix()] = file.read(LARGEST + 1)  # the size in the archive may be false
    return files


def _one_of(student: str, files: dict[str, bytes], lesson: int) -> Submission:
    """The file called lesson_N.py in any folder, or else the only file."""
    wanted = f"lesson_{lesson}.py"
    named = [name for name in sorted(files) if PurePosixPath(name).name == wanted] or sorted(files)
    if not named:
        return Submission(student, trouble=f"no {wanted}")
    if len(named) > 1:
        return Submission(student, trouble=f"{len(named)} files, and it is not clear which is {wanted}")
    return Submission(student, _text(files[named[0]], named[0]))


def _text(data: bytes, name: str) -> str:
    if not data.strip():
        raise ValueError(f"{name} is empty or larger than {LARGEST // 2**20} MB")
    if len(data) > LARGEST:
        raise ValueError(f"{name} is larger than {LARGEST // 2**20} MB")
    return data.decode("utf-8-sig")


def _platform_zip(path: Path, lesson: int) -> list[Submission]:
    """Submissions from one zip of all students: a folder, file or zip per student, at the top or in one folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            places = [(member, place) for member in archive.infolist() if (place := _place(member))]
            if _in_one_folder([place for _, place in places], f"lesson_{lesson}.py"):
                places = [(member, place.relative_to(place.parts[0])) for member, place in places]
            by_student: dict[str, list[zipfile.ZipInfo]] = {}
            for member, place in places:
                if student := _student(place, member.is_dir()):
                    by_student.setdefault(student, []).append(member)
            return [_of_members(archive, student, members, lesson) for student, members in by_student.items()]
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _of_members(archive: zipfile.ZipFile, student: str, members: list[zipfile.ZipInfo], lesson: int) -> Submission:
    """One student's part of a zip of all students: Python files or, if there are none, a zip of them."""
    try:
        files = _members(archive, members)
        zips = [member for member in members if member.filename.endswith(".zip") and member.file_size <= 8 * LARGEST]
        if not files and zips:
            with archive.open(zips[-1]) as file, zipfile.ZipFile(io.BytesIO(file.read(8 * LARGEST))) as inner:
                files = _members(inner, inner.infolist())
        return _one_of(student, files, lesson)
    except UNREADABLE as error:
        return _unreadable(student, error)


def _place(member: zipfile.ZipInfo) -> PurePosixPath | None:
    """The path of a member of a zip; None if it is hidden or leads outside."""
    place = PurePosixPath(member.filename.replace("\\", "/"))
    return None if place.is_absolute() or ".." in place.parts or str(place).startswith((".", "__")) else place


def _in_one_folder(places: list[PurePosixPath], wanted: str) -> bool:
    """Whether the zip's only folder contains all students, not just one student's files."""
    if len({place.parts[0] for place in places}) != 1:
        return False
    inside = [place for place in places if len(place.parts) == 2 and place.suffix in (".py", ".zip")]
    deeper = [place for place in places if len(place.parts) > 2 and place.name == wanted]
    return len(inside + deeper) > 1 and all(place.name != wanted for place in inside)


def _student(place: PurePosixPath, is_folder: bool) -> str:
    """The student that a member of a zip belongs to, or an empty string.

    Moodle calls folders "Ada Lovelace_1234_assignsubmission_file_"; only the name is kept.
    """
    in_a_folder = is_folder or len(place.parts) > 1
    if not place.parts or (not in_a_folder and place.suffix not in (".py", ".zip")):
        return ""
    return re.sub(r"(_\d+)?_assignsubmission.*", "", place.parts[0] if in_a_folder else place.stem)


def _distinct(found: list[Submission]) -> Iterator[Submission]:
    seen: dict[str, int] = {}
    for one in sorted(found, key=lambda one: (one.student, one.source)):
        seen[one.student] = seen.get(one.student, 0) + 1
        again = f" ({seen[one.student]})" if seen[one.student] > 1 else ""
        yield Submission(one.student + again, one.source, one.trouble)
