"""Atomic writes: a file is complete or absent, because it is written under another name and then renamed (lesson 9).

write ──> NAME.1f0c9a2e.partial ──fsync──> rename ──> NAME     if killed at any point: the old NAME or the new

Only files are replaced: a link stays and its target is replaced; a device or a pipe is written to.
"""

import glob
import json
import math
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minimaskgit.common.errors import UserError, first_line

ABANDONED = 3600  # seconds without a write, after which a temporary file belongs to a process that was killed


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; when the context ends, that file replaces `path` in one step.

    UserError if it cannot be written, for example on a full disk; `path` is then unchanged.
    """
    with writing(path):
        if _is_stream(path):
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder, "whole")
                _copy_into(path, Path(folder, "whole"))
            return
        path = _behind_links(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        # A short name, because a long one plus a suffix may be too long; a random one, because two may write at once.
        temporary = path.with_name(f"{_start(path)}.{secrets.token_hex(4)}.partial")
        temporary.touch(exist_ok=False)
        try:
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)  # the usual mode of new files; safetensors makes files that only the owner can read
            _force_to_disk(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # frees space, which matters most on a full disk
            raise
        if os.name == "posix":  # the name is stored in the folder, which must reach the disk too
            with suppress(OSError):  # some shared folders cannot do it
                _force_to_disk(path.parent)


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Remove a folder, which the caller knows to be new, if its content could not be written."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors raised while writing `path` into a UserError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be written ({_reason(error)}); what was saved before is intact") from None


def write_text(path: Path, text: str) -> None:
    """Write text atomically, in UTF-8; letters that it does not have, from odd file names, are written as escapes."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))  # the same bytes on every system


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; infinite numbers and NaN, which JSON does not have, become null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def read_kept(path: Path, advice: str) -> dict[str, Any]:
    """The results that an earlier call kept in a JSON file, {} if there are none; UserError if it is damaged or
    cannot be opened.

    advice: what deleting it leads to.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or cannot be opened ({first_line(error)}); delete it to {advice}") from None


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


# --- Before the work: can the result be written? ---


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """UserError unless a file can be written for each option that has a path, and replaces no input or other output.

    To call before hours of work. It leaves nothing behind.
    """
    taken = {_same(path): option for option, path in inputs.items() if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        with _refused(option, path):
            if path.is_dir():
                raise UserError(f"{option} {path} is a folder; expected a file to write")
            if path.exists() and not os.access(path, os.W_OK):
                raise PermissionError("no permission to write to it")
            if _is_printed_to(path):
                raise UserError(f"{option} {path} is where this command prints its lines; choose another file")
            if _is_stream(path):
                continue
            if other := taken.get(_same(path)):
                raise UserError(f"{option} {path} is the same file as {other}; choose another name")
            taken[_same(path)] = option
            _check_new(_behind_links(path))


def check_output_folder(option: str, path: Path) -> None:
    """UserError unless files can be written in a folder, which need not exist yet; it leaves nothing behind."""
    with _refused(option, path):
        if str(path).encode("utf-8", "replace").decode() != str(path):
            raise ValueError("its name is not UTF-8, which TensorBoard and safetensors need")
        if os.path.lexists(path) and not path.is_dir():
            raise UserError(f"{option} {path} is a file; expected a folder, or a name that is free")
        _check_new(path / "any")


def check_absent(option: str, path: Path) -> None:
    """UserError for a file or folder that exists."""
    if os.path.lexists(path):
        raise UserError(f"{option} {path} already exists; remove it, or choose another name")


@contextmanager
def _refused(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UserError(f"{option} {path} cannot be written ({_reason(error)}); choose another name") from None


def _check_new(path: Path) -> None:
    """OSError unless a file `path` can be made or replaced, in a folder that can be made too."""
    place, names = path.parent, [path.name]
    while not place.exists() and place != place.parent:
        place, names = place.parent, [place.name, *names]
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is not a folder")
    for name in names:
        with suppress(FileNotFoundError):
            (place / name).lstat()  # a name may be too long
    with tempfile.TemporaryFile(dir=place):  # permissions alone do not tell: root has all of them, even in /proc
        pass


def _is_printed_to(path: Path) -> bool:
    """Whether `path` is the file or pipe, but not the terminal or /dev/null, behind stdout or stderr."""
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed, or `path` does not exist
            there = path.stat()
            if os.path.samestat(there, os.fstat(descriptor)) and not stat.S_ISCHR(there.st_mode):
                return True
    return False


def _same(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


# --- Files, devices and pipes ---


def _is_stream(path: Path) -> bool:
    """Whether to write to `path` instead of replacing it; OSError where neither is possible."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OSError("it is a folder, a disk or a socket; expected a file")
    return not stat.S_ISREG(mode)


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _copy_into(path: Path, source: Path) -> None:
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))  # never creates a file
    with os.fdopen(handle, "wb") as stream, source.open("rb") as content:
        shutil.copyfileobj(content, stream)


def _start(path: Path) -> str:
    return path.name[:24]


def _remove_abandoned(path: Path) -> None:
    """Remove what writers of `path` left that were killed."""
    for leftover in path.parent.glob(f"{glob.escape(_start(path))}.{'[0-9a-f]' * 8}.partial"):
        with suppress(OSError):  # its writer has just renamed it, or it belongs to another user
            if time.time() - leftover.stat().st_mtime > ABANDONED:
                leftover.unlink()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _force_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)  # Windows syncs only writable files
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
