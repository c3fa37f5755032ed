"""Files that are whole or not there: written aside, forced to the disk, renamed into place (lesson 9).

write ──> NAME.partial ──fsync──> rename ──> NAME        killed anywhere: the old NAME or the new one, never half
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
def written_aside(path: Path) -> Iterator[Path]:
    """A path to write to within; at the end the file there takes the place of `path`, all at once.

    UserError if it cannot be written, on a full disk say; `path` is then what it was.
    """
    aside = path.with_name(f"{path.name}.partial")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)  # of a run that was killed
            aside.touch()
            mode = aside.stat().st_mode
            yield aside
            aside.chmod(mode)  # as any new file here; safetensors would let nobody else read it
            _force_to_disk(aside)
            aside.replace(path)
        except (OSError, SafetensorError):
            aside.unlink(missing_ok=True)  # above all on a full disk
            raise
        if os.name == "posix":  # the name is an entry of the folder, which must reach the disk too
            _force_to_disk(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing into a UserError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be written ({reason}); what was saved before is intact") from None


def write_text(path: Path, text: str) -> None:
    """`Path.write_text`, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, "utf-8", newline="\n")  # the same bytes on every system


def write_json(path: Path, content: Any) -> None:
    """Indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def _force_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)  # Windows syncs what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
