"""Which parts of the package a student's file may use: the source of what the exercise file imports, nothing else.

    lessons/exercises/lesson_5.py: from minimaskgit.decoding import gumbel_noise  ──> its source, and what that needs

What the exercise asks for is never lent. If it asks for a method of a class, the class is lent without that method and
without private helpers.
"""

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parents[1]
# What a notebook's own tools do when it is graded: nothing.
TOOLS = {"minimaskgit.building": "def check(*names):\n    pass\n\n\ndef mine(answer):\n    return answer\n"}


@contextmanager
def idle_tools() -> Iterator[None]:
    """Imports within this context find the tools as they are when a notebook is graded."""
    there = {name: sys.modules.get(name) for name in TOOLS}
    for name, text in TOOLS.items():
        sys.modules[name] = ModuleType(name)
        exec(text, vars(sys.modules[name]))
    try:
        yield
    finally:
        for name, module in there.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})


def lent_to(exercise: Path) -> dict[str, str]:
    """Sources by module for students of an exercise file, without its answers."""
    tree = ast.parse(exercise.read_text("utf-8"))
    answers = {node.name: _methods(node) for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return TOOLS | _sources(tree, answers)


def everything(answers: Path) -> dict[str, str]:
    """Sources by module of everything that a file imports, answers too; used to grade the grader."""
    return _sources(ast.parse(answers.read_text("utf-8")), {})


def _sources(tree: ast.Module, answers: dict[str, set[str]]) -> dict[str, str]:
    modules: dict[str, dict[str, ast.stmt]] = {}
    for module, name in _imported(tree):
        names = [name] if name else sorted(_attributes(tree, module.rpartition(".")[2]))
        for wanted in names:
            _lend(module, wanted, answers, modules)
    return {module: "\n\n".join(ast.unparse(node) for node in nodes.values()) for module, nodes in modules.items()}


def _imported(tree: ast.Module) -> list[tuple[str, str | None]]:
    """Imports of the package: pairs of a module and a name in it, or None for the module itself."""
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or node.module.split(".")[0] != "minimaskgit":
            continue
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            found.append((inner, None) if _file(inner).exists() else (node.module, alias.name))
    return found


def defined(text: str) -> list[str]:
    """The names that the text of a module defines."""
    return [name for node in ast.parse(text).body for name in _names(node)]


def is_module(name: str) -> bool:
    return _file(name).exists() or _file(name).with_suffix("").is_dir()


def _file(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _attributes(tree: ast.Module, module: str) -> set[str]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return {node.attr for node in nodes if node.value.id == module}


def _methods(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    return {part.name for part in getattr(node, "body", ()) if isinstance(part, ast.FunctionDef)}


def _lend(module: str, name: str, answers: dict[str, set[str]], modules: dict[str, dict[str, ast.stmt]]) -> None:
    """Add the source of a name of a module, after everything that it needs."""
    defined = {name: node for node in ast.parse(_file(module).read_text("utf-8")).body for name in _names(node)}
    node = defined.get(name)
    if node is None or (isinstance(node, ast.FunctionDef) and name in answers):
        return
    nodes = modules.get(module, {})
    if name in nodes:
        return
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minimaskgit."):
        _lend(node.module, name, answers, modules)
    if isinstance(node, ast.ClassDef) and name in answers:
        node.body = [part for part in node.body if not _gives_away(getattr(part, "name", ""), answers[name])]
    if isinstance(node, ast.Import | ast.ImportFrom):
        node.names = [alias for alias in node.names if (alias.asname or alias.name) == name]
    needed = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - {name}
    modules.setdefault(module, {})
    for other in sorted(needed & set(defined)):
        _lend(module, other, answers, modules)
    modules[module][name] = node


def _gives_away(method: str, asked: set[str]) -> bool:
    return method in asked or (method.startswith("_") and not method.startswith("__"))


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]
