"""Atomic writes: a file is complete or absent, because it is written under another name and then renamed (lesson 9).

write ──> NAME.partial ──fsync──> rename ──> NAME        if killed at any point: the old NAME or the new one, never half
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minimaskgit.common.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; when the context ends, that file replaces `path` in one step.

    UserError if it cannot be written, for example on a full disk; `path` is then unchanged.
    """
    temporary = path.with_name(f"{path.name}.partial")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)  # left by a run that was killed
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)  # the usual mode of new files; safetensors makes files that only the owner can read
            _force_to_disk(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # frees space, which matters most on a full disk
            raise
        if os.name == "posix":  # the name is stored in the folder, which must reach the disk too
            _force_to_disk(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors raised while writing `path` into a UserError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be written ({reason}); what was saved before is intact") from None


def write_text(path: Path, text: str) -> None:
    """Write text atomically, in UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8", newline="\n")  # the same bytes on every system


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def _force_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)  # Windows syncs only writable files
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
