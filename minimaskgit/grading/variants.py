"""Variants: exercises that nobody has answered yet, because a number that the teacher chooses draws what they ask.

lessons/variants/lesson_5.py: draw(random numbers) ──> what is drawn ──stub──> text after that of the exercises
tests/laws/test_variants_5.py: laws of what is drawn, without a worked answer
"""

import random
import re
import runpy
import textwrap
from functools import cache
from pathlib import Path
from types import ModuleType

LESSONS = Path(__file__).parents[2] / "lessons"
WIDTH = 120  # letters in a line
MARK = "VARIANTS = "  # in the file that students get, for their own checks; grading uses the teacher's number


def file_of(lesson: int) -> Path:
    return LESSONS / "variants" / f"lesson_{lesson}.py"


@cache
def _template(lesson: int) -> dict:
    return runpy.run_path(str(file_of(lesson)))


def drawn(lesson: int, number: int) -> dict:
    """What a teacher's number draws for a lesson: plain values by name, the same on every machine."""
    return _template(lesson)["draw"](random.Random(f"lesson {lesson}, variants {number}"))


def exercise_of(lesson: int) -> Path:
    return LESSONS / "exercises" / f"lesson_{lesson}.py"


def handed_out(lesson: int, number: int | None) -> str:
    """The file that students get: the lesson's exercises, then its variants if a number draws them."""
    exercises = exercise_of(lesson).read_text("utf-8")
    if number is None:
        return exercises
    stub = _rewrapped(_template(lesson)["stub"](drawn(lesson, number)).strip("\n"))
    check = f"check this file with make check-{lesson} FILE=lesson_{lesson}.py"
    head = f"# --- Variants: not in the notebook or package; {check} ---\n\n{MARK}{number}  # leave this line as it is"
    return f"{exercises}\n\n{head}\n\n\n{stub}\n"


def _rewrapped(stub: str) -> str:
    """The text with the paragraphs of docstrings filled anew, because what is drawn is longer or shorter."""
    wrap = lambda found: textwrap.indent(textwrap.fill(" ".join(found[0].split()), WIDTH - 4), " " * 4)
    return re.sub(r"(?<=\n\n)    [A-Z|][^\n]*(?:\n    [^ \n>][^\n]*)*(?=\n\n)", wrap, stub)


def number_of(source: str) -> int | None:
    """The number that a handed-out file was drawn by, or None for a file without variants."""
    found = re.search(rf"^{MARK}(\d{{1,10}})\b", source, re.MULTILINE)
    return int(found[1]) if found else None


@cache
def stubs(lesson: int) -> ModuleType:
    """The unwritten functions, for their names and parameters, which are the same for every number."""
    module = ModuleType(f"variants_{lesson}")
    exec(compile(handed_out(lesson, 0), f"lesson_{lesson}.py", "exec"), vars(module))
    return module


# --- What several lessons draw ---


def falling_points(rng: random.Random, inner: int = 3) -> list[tuple[float, float]]:
    """A falling curve as a table of points (x, y), from (0, 1) to (1, 0), in steps of 0.05."""
    x = sorted(rng.sample(range(2, 19, 2), inner))
    y = sorted(rng.sample(range(1, 20), inner), reverse=True)
    return [(0.0, 1.0), *((a / 20, b / 20) for a, b in zip(x, y)), (1.0, 0.0)]


REASON = '''
def {function}_reason() -> str:
    """What was wrong with {function} as you got it: one of these names. (Difficulty 1 of 3, 2 minutes.)

{names}

    Your own check tells you only whether it is one of them; grading compares.

    >>> len({function}_reason()) > 0
    True
    """
    raise NotImplementedError
'''


def reason_stub(function: str, reasons: dict[str, str]) -> str:
    """The exercise to name what is wrong with a broken function, for the end of its lesson's stub."""
    names = "\n".join(f'    "{name}": {what}' for name, what in sorted(reasons.items()))
    return REASON.strip("\n").format(function=function, names=names)
