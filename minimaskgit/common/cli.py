"""What all commands share: options from dataclasses, one-line errors, clean exits and stops between steps.

command line ──parse──> dataclass of options ──run(main)──> exit code 0, 2 (UserError), 130 (Ctrl-C) or 141 (pipe)
"""

import ctypes
import errno
import io
import os
import platform
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import tyro
from tyro._errors import ParseErrorEvent, on_parse_error  # not public, so pyproject.toml limits the version

from minimaskgit.common.errors import UserError
from minimaskgit.common.help import help_text, parser_of
from minimaskgit.common.refusals import empty_path, refusal, words

Options = TypeVar("Options")
UNPRINTABLE = (errno.EPIPE, errno.ENOSPC, errno.EBADF)  # errors of printing: to no reader, a full disk, nowhere
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from malloc.h


def parse(
    options: type[Options],
    command: str,
    default: Options | None = None,
    argv: Sequence[str] | None = None,
) -> Options:
    """Fill a dataclass from the command line; UserError if an option is wrong, and --help prints the help and exits."""
    given = list(sys.argv[1:] if argv is None else argv)
    if asked := {"-h", "--help", "--help-all"}.intersection(token.replace("_", "-") for token in given):
        print(help_text(command, parser_of(options, default), everything="--help-all" in asked), flush=True)
        sys.exit(0)

    if "" in words(given) and (line := empty_path(parser_of(options, default), given)):
        raise UserError(line)

    def refuse(event: ParseErrorEvent) -> None:
        if line := refusal(event, parser_of(options, default), given):
            raise UserError(line)

    with on_parse_error(refuse):
        return tyro.cli(options, default=default, args=given, add_help=False)


def run(main: Callable[[], None]) -> None:
    """Run a command: a UserError is printed as one line and exits with code 2, Ctrl-C exits with 130."""
    keep_freed_memory()
    prepare_streams()
    code = 0
    try:
        if sys.stdout is None:
            raise UserError("stdout is closed; send it to a file or to /dev/null")
        with ctrl_c_raises():
            main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as stop:
        print(f"\nstopped{f': {stop}' if str(stop) else ''}", file=sys.stderr)
        code = 130
    except SystemExit as stop:  # --help, a wrong option, or a grade
        code = stop.code or 0
    except OSError as error:
        if error.errno not in UNPRINTABLE:
            raise
        code = unprintable(error)
    code = flush() or code
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # Communication threads may still free tensors, and would crash while Python is shutting down.
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)


@contextmanager
def ctrl_c_raises() -> Iterator[None]:
    """Within this context, Ctrl-C raises KeyboardInterrupt, unless it is ignored; before and after, it ends a command.

    So a second Ctrl-C, while the first is being reported or Python is shutting down, prints no traceback.
    """
    before = signal.getsignal(signal.SIGINT)  # in a command it is minimaskgit.stop_at_once
    if not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def typed(command: str, *given: object) -> str:
    """A command of the package as a user must type it in a shell here: quoted where that is needed."""
    line = ["python", "-m", f"minimaskgit.{command}", *map(str, given)]
    return subprocess.list2cmdline(line) if os.name == "nt" else shlex.join(line)


def prepare_streams() -> None:
    """Print "?" where a terminal or pipe cannot encode γ, and nothing to a closed stderr."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def flush() -> int:
    """Print what is still in stdout's buffer; 0, or the exit code if that fails."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return unprintable(error)
    return 0


def unprintable(error: OSError) -> int:
    """Report that stdout cannot be written, and drop its buffer; returns the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # the reader of our output, such as `head`, has closed the pipe
        return 141
    print(f"error: the output cannot be printed ({error.strerror})", file=sys.stderr)
    return 2


def keep_freed_memory() -> None:
    """Make this process keep freed memory for the next step; does nothing without glibc.

    By default glibc returns every large block to the system at once. The system must then find and clear the same
    pages again for every activation of every step, which takes a good part of a tokenizer's training time on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):  # never use mmap, never trim
            libc.mallopt(parameter, value)


@contextmanager
def postponed_stop(second_raises: bool = True) -> Iterator[list[int]]:
    """Within this context, the first SIGINT or SIGTERM is added to the yielded list instead of raised.

    No training step is interrupted halfway: the loop checks the list between steps, saves and stops.
    second_raises: whether a second signal raises KeyboardInterrupt. Under torchrun each process receives Ctrl-C twice,
    from the terminal and from torchrun, and torchrun kills any process that does not stop in time.
    """
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if received and second_raises:
            raise KeyboardInterrupt
        if received:
            return
        received.append(number)
        print("\nstopping after this step (press Ctrl-C again to stop at once)", file=sys.stderr)

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, note) for number in numbers]
    except ValueError:  # only the main thread may handle signals, and a notebook may run us in another
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
