"""The package's answers to the exercises of a lesson, as its notebook shows them, folded away, or with them filled in.

<!-- answer confidence -->   in a text cell            ──folded──> its source, in a box that is closed at first
def confidence(...): stub    in a cell tagged answer   ──filled──> its source, and the imports that it needs
"""

import ast
import html
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from types import FunctionType

from nbformat import NotebookNode

from minimaskgit.building import open_lawbook

PLACE = re.compile(r"<!-- answer (\w+) -->")


@cache
def answers(lesson: int) -> dict[str, Callable]:
    """The package's function or class for each exercise of a lesson."""
    with open_lawbook() as lawbook:
        return {name: getattr(module, name) for name, (module, _) in lawbook.law_file(lesson).LESSON.items()}


def folded(text: str, lesson: int) -> str:
    """A text cell with the package's answers, or other parts of their modules, in the places kept for them."""
    return PLACE.sub(lambda found: _box(_named(found[1], lesson)), text)


def _named(name: str, lesson: int) -> Callable:
    modules = [sys.modules[answer.__module__] for answer in answers(lesson).values()]
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def _box(answer: Callable) -> str:
    code = html.escape(without_docstring(inspect.getsource(answer)), quote=False)
    code = code.replace("\n\n", "\n&#32;\n")  # an empty line would end the box in Markdown
    where = f"{answer.__module__.rpartition('minimaskgit.')[2].replace('.', '/')}.py"
    return f"<details><summary>the package's answer, in {where}</summary><pre>{code}</pre></details>"


def without_docstring(source: str) -> str:
    """The source of a function or class without its own docstring."""
    lines, function = source.rstrip().splitlines(), ast.parse(source).body[0]
    if ast.get_docstring(function):
        del lines[function.body[0].lineno - 1 : function.body[0].end_lineno]
    return "\n".join(lines)


def fill(notebook: NotebookNode, lesson: int) -> None:
    """Put the package's answers in place of the stubs in the cells tagged `answer`, and take out old outputs."""
    asks = any("answer" in cell.metadata.get("tags", ()) for cell in notebook.cells)
    known = answers(lesson) if asks else {}
    defined = _imported(notebook) | set(known)  # an answer calls the others in this notebook, not the package's
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "answer" in cell.metadata.get("tags", ()):
            cell.source = _filled(cell.source, known, defined)


def _imported(notebook: NotebookNode) -> set[str]:
    """The names that the notebook's own imports define."""
    nodes = [
        node
        for cell in notebook.cells
        if cell.cell_type == "code"
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return {(alias.asname or alias.name).partition(".")[0] for node in nodes for alias in node.names}


def _filled(stubs: str, known: dict[str, Callable], defined: set[str]) -> str:
    """The source of a cell with each stub replaced; what an answer needs of its module is imported before it."""
    lines, tree = stubs.splitlines(), ast.parse(stubs)
    for node in reversed([node for node in tree.body if getattr(node, "name", "") in known]):
        source = textwrap.dedent(inspect.getsource(known[node.name])).rstrip()
        lines[node.lineno - 1 : node.end_lineno] = [*_needs(known[node.name], source, defined), *source.splitlines()]
    return "\n".join(lines)


def _needs(answer: Callable, source: str, defined: set[str]) -> list[str]:
    there = vars(sys.modules[answer.__module__])
    nodes = list(ast.walk(ast.parse(source)))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    own = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {answer.__name__}
    needed: dict[str, list[str]] = {}
    for name in sorted((used & set(there)) - own - defined):
        made = isinstance(there[name], type | FunctionType)  # which know where they were made
        needed.setdefault(there[name].__module__ if made else answer.__module__, []).append(name)
    lines = [f"from {module} import {', '.join(names)}" for module, names in needed.items()]
    return [*lines, "", ""] if lines else []
