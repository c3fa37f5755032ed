"""What a check on a student's own machine says about grading: whatever the sandbox would refuse.

the file ──> names of the package that are not lent, files that are not sent ──> one line each
its functions, running ──> files read, network, programs, slow calls         ──> one line each
"""

import ast
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minimaskgit.grading import lent
from minimaskgit.grading.confinement import DEVICES, SYSTEM
from minimaskgit.grading.execution import Cell, cells, statements
from minimaskgit.grading.protocol import decode, encode

PYTHON = tuple(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, sys.exec_prefix, *SYSTEM))
OURS = str(lent.PACKAGE)
UNNOTICED = ("/proc", "/sys", "/etc", *DEVICES)
NETWORK = ("socket.connect", "socket.getaddrinfo")
PROGRAMS = ("subprocess.Popen", "os.system", "os.posix_spawn")


def as_sent(value: Any) -> Any:
    """A student's answer as it arrives at the judge; NotPlain if it could not be sent."""
    text, body = encode(value, lambda thing: None)
    return decode(text.encode("utf-8", "replace"), body, lambda reference: None)


class Watch:
    """Notes what a student's code does that it cannot do in the sandbox."""

    def __init__(self, call_seconds: float):
        self.call_seconds, self.running, self.found, self.written = call_seconds, False, {}, set()
        sys.addaudithook(self._note)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.running, start = True, time.monotonic()
        try:
            yield
        finally:
            self.running, seconds = False, time.monotonic() - start
        if seconds > self.call_seconds:
            self.found.setdefault(
                name, f"a call of {name} took {seconds:.0f} s; the grader allows {self.call_seconds:g} s"
            )

    def _note(self, event: str, args: tuple) -> None:
        if not self.running:
            return
        if event == "open" and isinstance(args[0], str):
            path = os.path.realpath(args[0])
            if args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.written.add(path)  # as it can be when it is graded
            elif self._is_data(path):
                self.found.setdefault(path, f"it reads {args[0]}, which the grader does not have")
        elif event in NETWORK:
            self.found.setdefault(event, "it uses the network, which the grader does not allow")
        elif event in PROGRAMS:
            self.found.setdefault(event, "it starts another program, which the grader does not allow")

    def _is_data(self, path: str) -> bool:
        """Whether a file is read for what is in it; Python itself reads source to show errors, and files of its own."""
        elsewhere = not path.startswith((*PYTHON, *UNNOTICED, OURS)) and not path.endswith((".py", ".ipynb"))
        return elsewhere and path not in self.written and os.path.isfile(path)


def refused(source: str, exercise: Path) -> Iterator[str]:
    """What a file imports that it does not have when it is graded: answers of the package, and files beside it."""
    parts = cells(source)
    tree, answers = _tree(parts), _tree([cell for cell in parts if cell.is_answer])
    for name in sorted(_not_lent(tree, answers, exercise)):
        yield f"it uses {name}, which the grader does not have"
    for name in sorted(_roots(tree) - {"minimaskgit"}):
        spec = importlib.util.find_spec(name)
        if spec and spec.has_location and not os.path.realpath(spec.origin).startswith(PYTHON):
            yield f"it imports {name}, but only this one file is graded"


def _tree(parts: list[Cell]) -> ast.Module:
    return ast.Module([one for cell in parts for one in statements(cell, "")], [])


def _roots(tree: ast.Module) -> set[str]:
    imports = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imports += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in imports}


def _not_lent(tree: ast.Module, answers: ast.Module, exercise: Path) -> set[str]:
    """Names of the package, with their modules, that answers use and that nobody lends to them; tree: all of a file."""
    texts = lent.lent_to(exercise)
    there = {f"{module}.{name}" for module, text in texts.items() for name in lent.defined(text)}
    bound = {}  # what a name in the file stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {one.asname or one.name.partition(".")[0]: one.name if one.asname else "" for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            bound |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    found = {name for name in bound.values() if name.endswith(".*")}
    for path in _used(answers):
        start, _, rest = path.partition(".")
        whole = ".".join(filter(None, (bound[start] or start, rest))) if start in bound else ""
        is_there = any(whole == name or whole.startswith(f"{name}.") for name in there)
        if whole and not is_there and not lent.is_module(whole):
            found.add(whole)
    return {name for name in found if name.split(".")[0] == "minimaskgit"}


def _used(tree: ast.Module) -> Iterator[str]:
    """Names and attributes of names, dotted, that are used other than as an annotation."""
    unused = set()
    for node in ast.walk(tree):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            unused |= {id(part) for part in ast.walk(annotation)} if isinstance(annotation, ast.AST) else set()
    for node in ast.walk(tree):  # an attribute comes before what it is an attribute of
        if isinstance(node, ast.Attribute):
            unused.add(id(node.value))
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in unused:
            path = ast.unparse(node)
            if path.replace(".", "").isidentifier():
                yield path
