"""What runs of a student's text, and how: one statement at a time, as a notebook would.

    a file     ──> all statements; an expression that fails, such as a print, is left out
    a notebook ──> those of its answers, like a file's; of the other cells, what defines a function or calls nothing

A notebook arrives in percent format: `# %% tags=["answer"]` above each answer, `# %%` above any other cell. This
file imports nothing of the package, because students' processes have it too.
"""

import __future__

import ast
import re
from contextlib import suppress
from typing import NamedTuple

ANSWER, OTHER = '# %% tags=["answer"]', "# %%"
# A line that makes no sense outside a notebook: %timeit f(x), !ls, decode?
IPYTHON = re.compile(r"^([ \t]*)(?=[!?]|%%?[A-Za-z]|[\w.]+\?+$)", re.MULTILINE)
UNREADABLE = (SyntaxError, ValueError, MemoryError, RecursionError)  # what parsing raises
DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Cell(NamedTuple):
    """A part of a student's text. start: lines before it."""

    text: str
    start: int
    is_answer: bool


def cells(source: str) -> list[Cell]:
    """The cells of a notebook, without their heads; a file is one cell, and that is an answer."""
    lines = source.split("\n")
    if ANSWER not in lines:
        return [Cell(source, 0, True)]
    heads = [at for at, line in enumerate(lines) if line.startswith(OTHER)]
    ends = [*heads[1:], len(lines)]
    return [Cell("\n".join(lines[at + 1 : end]), at + 1, lines[at] == ANSWER) for at, end in zip(heads, ends)]


def statements(cell: Cell, name: str) -> list[ast.stmt]:
    """The statements of a cell that run; SyntaxError only for an answer. name: of the file, for messages."""
    try:
        found = _parsed(cell, name)
    except UNREADABLE:
        if cell.is_answer:
            raise
        return []
    return [one for one in found if cell.is_answer or isinstance(one, DEFINES) or not _calls(one)]


def _parsed(cell: Cell, name: str) -> list[ast.stmt]:
    before = "\n" * cell.start  # so that lines are counted from the start of the text
    try:
        return ast.parse(before + cell.text, name).body
    except SyntaxError:
        with suppress(*UNREADABLE):
            return ast.parse(before + IPYTHON.sub(r"\1pass  # ", cell.text), name).body
        raise


def _calls(statement: ast.stmt) -> bool:
    return any(isinstance(part, ast.Call) for part in ast.walk(statement))


def execute(source: str, name: str, names: dict) -> list[Exception]:
    """Run a text in a namespace; returns the errors of the expressions in answers that were left out."""
    flags, left_out = 0, []
    for cell in cells(source):
        for statement in statements(cell, name):
            flags |= _future(statement)
            code = compile(ast.Module([statement], []), name, "exec", flags, dont_inherit=True)
            try:
                exec(code, names)
            except Exception as error:
                if cell.is_answer and not isinstance(statement, ast.Expr):
                    raise
                left_out += [error] * cell.is_answer
    return left_out


def _future(statement: ast.stmt) -> int:
    """The flag of `from __future__ import annotations`, which holds for all that follows."""
    is_future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
    return __future__.annotations.compiler_flag if is_future else 0


def place(source: str, line: int) -> str:
    """A line of a text in words; of a notebook, within its cell."""
    start = max((cell.start for cell in cells(source) if cell.start < line), default=0)
    return f"line {line - start} of its cell" if start else f"line {line}"
