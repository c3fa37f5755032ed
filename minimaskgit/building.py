"""Exercises in a notebook: check one there, and use your own version in everything that follows.

    def confidence(...): ...          in a cell, or in lessons/exercises/lesson_5.py
    check("confidence")           ──> its laws, judged as by make check-5
    mine(decoding.confidence)     ──> yours if its laws hold, or else the package's; one line says which

Only notebooks import this module. The laws are in tests/, so both calls need a clone of the project.
"""

import dis
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import NamedTuple

import torch

from minimaskgit.common.errors import UserError, with_line
from minimaskgit.grading.execution import execute
from minimaskgit.grading.texts import read_answer
from minimaskgit.runs.run import ROOT

EXERCISES, TESTS = ROOT / "lessons/exercises", ROOT / "tests"
HERE = "this notebook"
UNTAGGED = "  warning: it uses the notebook's variable {}; to be graded, its cell needs the tag answer too"
# Kinds of values that grading also takes from cells without the tag.
DEFINED = type | ModuleType | FunctionType | BuiltinFunctionType | int | float | str | tuple | None


class Own(NamedTuple):
    """A student's version of one exercise, and where it was found. trouble: why it could not be read."""

    place: str
    functions: dict[str, Callable]  # all that the student wrote for the lesson
    path: Path
    trouble: str = ""


def check(name: str) -> None:
    """Try the laws of one exercise on the notebook's version, or else on the exercise file's, and print what broke."""
    lesson = _lesson(name)
    own = _own(name, lesson)
    if own is None:
        print(f"{name} is not written yet. Write it in its cell, or in {_file(lesson)}, and run this cell again.")
    elif own.trouble:
        print(own.trouble)
    else:
        print(f"{name}, from {own.place}:")
        used = _variables(own.functions[name]) if own.place == HERE else []
        print("\n".join([*_judged(name, lesson, own)[1], *map(UNTAGGED.format, used)]))


def mine(answer: Callable) -> Callable:
    """The student's version of a function of the package if all its laws hold, or else the package's."""
    name = answer.__name__
    if not EXERCISES.is_dir():
        print(f"using the package's {name}: the laws that would judge yours are in a clone of the project")
        return answer
    lesson = _lesson(name)
    own = _own(name, lesson)
    if own is None:
        print(f"using the package's {name}: yours is not written yet")
    elif own.trouble:
        print(f"using the package's {name}: {own.trouble}")
    elif not _judged(name, lesson, own)[0]:
        print(f'using the package\'s {name}: yours, from {own.place}, breaks a law; check("{name}") says which')
    else:
        print(f"using your {name}, from {own.place}")
        return own.functions[name]
    return answer


def _file(lesson: int) -> str:
    return f"lessons/exercises/lesson_{lesson}.py"


def _lesson(name: str) -> int:
    """The lesson in whose exercises a name is defined; UserError if there is none."""
    if not EXERCISES.is_dir():
        raise UserError("no exercises here; check needs a clone of the project, with lessons/ and tests/")
    found = {}
    for path in EXERCISES.glob("lesson_*.py"):
        for defined in re.findall(r"^(?:def|class) (\w+)", path.read_text("utf-8", "replace"), re.MULTILINE):
            found[defined] = int(path.stem.removeprefix("lesson_"))
    if name not in found:
        raise UserError(f"no exercise {name!r}; expected one of {', '.join(sorted(found, key=found.get))}")
    return found[name]


# --- The student's version ---


def _own(name: str, lesson: int) -> Own | None:
    """The notebook's version if it is written, or else the exercise file's; None if neither is."""
    here = {key: value for key, value in vars(sys.modules["__main__"]).items() if _is_written(value)}
    path = EXERCISES / f"lesson_{lesson}.py"
    try:
        there = {key: value for key, value in _executed(path).items() if _is_written(value)}
    except Exception as error:
        there, trouble = {}, f"{_file(lesson)} cannot be imported; {with_line(error, path)}"
    else:
        trouble = ""
    if name in here:
        return Own(HERE, there | here, _source_of(here[name]))
    if name in there or trouble:
        return Own(_file(lesson), there, path, trouble)
    return None


def _executed(path: Path) -> dict:
    names = {"__name__": path.stem}
    execute(read_answer(path), str(path), names)
    return names


def _is_written(value: object) -> bool:
    """Whether a value is a function or class of a student's, and not the exercise's stub."""
    value = _plain(value)
    if not isinstance(value, FunctionType | type) or value.__module__.partition(".")[0] == "minimaskgit":
        return False
    return not any(code.co_names == ("NotImplementedError",) for code in _codes(value))  # all that a stub does


def _plain(value: object) -> object:
    """A function without its decorator, such as functools.cache; anything else as it is."""
    return getattr(value, "__dict__", {}).get("__wrapped__", value)


def _codes(value: FunctionType | type) -> Iterator:
    parts = vars(value).values() if isinstance(value, type) else [_plain(value)]
    return (part.__code__ for part in parts if isinstance(part, FunctionType))


def _variables(value: FunctionType | type) -> list[str]:
    """The notebook's variables that a function or class uses, other than constants and what grading defines as well."""
    here, waiting, used = vars(sys.modules["__main__"]), [*_codes(value)], set()
    while waiting:
        code = waiting.pop()
        used |= {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
        waiting += [part for part in code.co_consts if isinstance(part, CodeType)]
    return sorted(name for name in used if name in here and not isinstance(_plain(here[name]), DEFINED))


def _source_of(value: FunctionType | type) -> Path:
    """The file, or the notebook's cell, that a function or a class's methods were compiled from."""
    return next((Path(code.co_filename) for code in _codes(value)), Path())


# --- The laws ---


def _judged(name: str, lesson: int, own: Own) -> tuple[bool, list[str]]:
    """Whether all laws of an exercise hold, and the lines that say so or say which does not, and why."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the laws' tensors are too small for a second thread
    try:
        with open_lawbook() as lawbook, torch.random.fork_rng(devices=[]):
            return lawbook.judged(name, lesson, own.functions, own.path)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def open_lawbook() -> Iterator[ModuleType]:
    """tests/lawbook.py, while the tests' folder can be imported from."""
    sys.path.insert(0, str(TESTS))
    try:
        import lawbook

        yield lawbook
    except ModuleNotFoundError as error:
        hint = 'in the clone, run pip install -e ".[dev,lessons]"'
        raise UserError(f"{error.name} is not installed; checking exercises needs it: {hint}") from None
    finally:
        sys.path.remove(str(TESTS))
