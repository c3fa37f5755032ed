"""What all commands share: options from dataclasses, a line for a user's mistake, a tidy end, freed memory kept."""

import ctypes
import io
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import tyro

from minimaskgit.common.errors import UserError

Options = TypeVar("Options")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def parse(
    options: type[Options],
    description: str,
    default: Options | None = None,
    argv: Sequence[str] | None = None,
) -> Options:
    """Fill a dataclass from the command line; exits with code 2 and a message on a wrong option."""
    prog = f"python -m minimaskgit.{Path(sys.argv[0]).stem}"
    return tyro.cli(options, prog=prog, description=description, default=default, args=argv)


def run(main: Callable[[], None]) -> None:
    """Run a command: a UserError is printed as one line and exits with code 2, Ctrl-C exits with 130."""
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or pipe that knows no γ shows a question mark
        sys.stdout.reconfigure(errors="replace")
    code = 0
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as stop:
        print(f"\nstopped{f': {stop}' if str(stop) else ''}", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # Threads that talked to other processes may still let go of tensors, and crash if Python is half gone by then.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for the next step to take; without glibc nothing changes.

    glibc hands every large block back to the system at once, which must then find and clear the same pages again for
    every activation of every step: on a CPU a good part of the time in which a tokenizer trains.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):  # no block apart, and never trim
            libc.mallopt(parameter, value)


@contextmanager
def postponed_stop(insisting: bool = True) -> Iterator[list[int]]:
    """Within, the first SIGINT or SIGTERM is noted in the list given instead of raised; a second one raises.

    A training step is thus never cut in half: the loop looks at the list between steps, saves and stops.
    insisting: whether a second one raises. Under torchrun each process hears Ctrl-C twice, from the terminal and from
    torchrun, which also puts an end to whoever does not stop in time.
    """
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if received and insisting:
            raise KeyboardInterrupt
        if received:
            return
        received.append(number)
        print("\nstopping after this step (again: at once)", file=sys.stderr)

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, note) for number in numbers]
    except ValueError:  # not in the main thread, as in a notebook's worker: signals are not ours
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
