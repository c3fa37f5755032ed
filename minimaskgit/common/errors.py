"""The one kind of error that commands turn into a single line instead of a traceback."""

import importlib
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType


class UserError(Exception):
    """A user's mistake, reported in one clear line: what was given, what was expected, what to do.

    Commands print the line and exit with code 2.
    """


def needed(name: str) -> ModuleType:
    """Import a module that only notebooks need; UserError if the lessons extra is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        hint = 'in a clone of the project, run pip install ".[lessons]"'
        raise UserError(f"{name} is not installed; notebooks need the lessons extra: {hint}") from None


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without addresses of objects."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r" <.*>", "", line)


def with_line(error: BaseException, path: Path, place: Callable[[int], str] = "line {}".format) -> str:
    """An error's kind and message, after the last line of the file at `path` that it came through, in words."""
    here = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == path.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else here[-1] if here else None
    said = error.msg if isinstance(error, SyntaxError) else error  # which would repeat the line
    return f"{'' if line is None else f'{place(line)}: '}{type(error).__name__}: {said}"
