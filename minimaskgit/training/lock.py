"""One training at a time in a folder (lesson 9).

    RUN/lock       locked by the operating system, which releases it however its process ends
    RUN/lock.json  whose it is: process id, host, since when

Both are gone when training ends; a process that was killed leaves them, and the next one replaces them. On some network
file systems such a lock holds on one machine only, so the files of another host are never replaced.
"""

import contextlib
import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from accelerate import Accelerator
from filelock import FileLock, Timeout

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json, writing
from minimaskgit.training.processes import main_decides

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # file systems that cannot lock


@contextmanager
def locked(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Within this context, no other training writes into `folder`; UserError that names it if one already does.

    The main process holds the lock for all that train together.
    """
    with ExitStack() as stack:
        main_decides(accelerator, lambda: stack.enter_context(_held(folder)))
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    owner, lock = folder / "lock.json", FileLock(folder / "lock", timeout=0)
    created = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with writing(folder / "lock"):
            folder.mkdir(parents=True, exist_ok=True)
            _acquire(lock, owner)
        try:
            _replace_owner(owner, sure=lock.is_locked)
            try:
                yield
            finally:
                owner.unlink(missing_ok=True)
        finally:
            _release(lock)
    finally:
        for place in created:  # by a training that was refused, and so left nothing
            with contextlib.suppress(OSError):
                place.rmdir()


def _acquire(lock: FileLock, owner: Path) -> None:
    try:
        lock.acquire()
    except Timeout:
        text = f"{owner.parent} is being trained by {_found(owner)}; wait for it to end, or choose another --out"
        raise UserError(text) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(f"note: the file system cannot lock {owner.parent} ({error.strerror})", file=sys.stderr)


def _release(lock: FileLock) -> None:
    path = Path(lock.lock_file)
    if os.name == "posix":  # while it is held, so that nobody else's is deleted
        path.unlink(missing_ok=True)
    lock.release()
    if os.name != "posix":  # Windows deletes no open file, and so nobody else's
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _found(owner: Path) -> str:
    """The process that holds the lock, as text; it writes the file just after it has taken the lock."""
    for _ in range(20):
        if (found := _read(owner)) is not None:
            return _described(found)
        time.sleep(0.05)
    return "another process"


def _replace_owner(owner: Path, sure: bool) -> None:
    """Write who trains here; UserError if somebody else may: one on another host, or any if the lock is not sure."""
    host, before = platform.node(), _read(owner)
    if before and (before["host"] != host or not sure):
        raise UserError(
            f"{owner.parent} is being trained by {_described(before)}, which cannot be seen from here ({host});"
            f" if it has ended, delete {owner} and start again"
        )
    if before:
        print(f"note: {owner.parent} was being trained by {_described(before)}, which was killed", file=sys.stderr)
    write_json(owner, {"pid": os.getpid(), "host": host, "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"})


def _read(owner: Path) -> dict | None:
    try:
        found = json.loads(owner.read_text("utf-8"))
        return {name: found[name] for name in ("pid", "host", "since")}
    except (OSError, ValueError, LookupError, TypeError):  # absent, or of nobody
        return None


def _described(owner: dict) -> str:
    return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
