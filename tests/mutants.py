"""How good the laws are: every teachable function with one small mistake at a time, judged as a student's answer.

    package's source ──one mistake──> answers ──laws──> killed, or survived: explained, or a law is missing

`make mutants` prints the table; `make mutants ARGS="--lesson 3"` one lesson's. Exit code 1 if fewer than 95 % of the
mistakes that matter are killed, or one that survives is not explained in mutants.toml.
"""

import argparse
import ast
import copy
import importlib.util
import signal
import sys
import textwrap
import tomllib
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

import torch  # noqa: E402
from hypothesis import Phase, settings  # noqa: E402
from lawbook import LAWS, cases, law_file  # noqa: E402

from minimaskgit.grading import lent  # noqa: E402

EXERCISES = Path(__file__).parents[1] / "lessons" / "exercises"
SECONDS = 30  # for one mistake, of some two that the laws take; one that makes a loop endless is killed by that
ENOUGH = 0.95


def explained(why: str) -> set[str]:
    """Lines of mutants.toml, "function: line"."""
    reasons = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))[why]
    return {line for lines in reasons.values() for line in lines}


NOT_ASKED, EQUIVALENT = explained("not_asked"), explained("equivalent")


# --- Mistakes ---

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
METHODS = {
    "minimum": "maximum", "maximum": "minimum", "sum": "mean", "mean": "sum", "floor": "ceil", "ceil": "floor",
    "log_softmax": "softmax", "argmin": "argmax", "argmax": "argmin", "amax": "amin", "zeros_like": "ones_like",
}  # fmt: skip
MODULES = ("torch", "F", "math", "nn")
SYMMETRIC = ("min", "max", "minimum", "maximum", "mse_loss", "transpose")


def mistakes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    for field in ("op", "ops"):
        operator = getattr(node, field, None)
        operator = operator[0] if isinstance(operator, list) else operator
        if type(operator) in SWAPS:
            other = SWAPS[type(operator)]()
            yield _with(node, **{field: [other, *node.ops[1:]] if field == "ops" else other})
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    if isinstance(node, ast.Call):
        yield from _of_a_call(node)


def _of_a_call(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in METHODS:
            yield _with(node, func=_with(node.func, attr=METHODS[node.func.attr]))
        if not ((isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES) or _to_a_device(node)):
            yield node.func.value  # the call left out
    for number, word in enumerate(node.keywords):
        if word.arg != "device":
            yield _with(node, keywords=[keyword for at, keyword in enumerate(node.keywords) if at != number])
    if len(node.args) == 2 and not _symmetric(node):
        yield _with(node, args=node.args[::-1])


def _to_a_device(node: ast.Call) -> bool:
    """There is but one here."""
    return node.func.attr == "cpu" or (node.func.attr == "to" and getattr(node.args[0], "attr", "") == "device")


def _symmetric(node: ast.Call) -> bool:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in SYMMETRIC or ast.dump(node.args[0]) == ast.dump(node.args[1])


def _with(node: ast.AST, **fields) -> ast.AST:
    node = copy.copy(node)
    for name, value in fields.items():
        setattr(node, name, value)
    return node


class Replace(ast.NodeTransformer):
    """Put one node in another's place."""

    def __init__(self, old: ast.AST, new: ast.AST):
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else super().generic_visit(node)


def mutants(tree: ast.Module, function: ast.FunctionDef | ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The module's text with one mistake in a function, and the line that has it."""
    for node in [part for statement in _body(function) for part in _asked(function.name, statement)]:
        for new in mistakes(node):
            changed = Replace(node, new).visit(copy_keeping(tree, node))
            yield ast.unparse(ast.fix_missing_locations(changed)), _line(function, node, new)


def copy_keeping(tree: ast.AST, kept: ast.AST) -> ast.AST:
    """A copy of a tree in which one node is still the same object."""
    return copy.deepcopy(tree, {id(kept): kept})


def _body(function: ast.FunctionDef | ast.ClassDef) -> list[ast.stmt]:
    """What is executed: no docstring, no signature, and no constructor, which an exercise gives."""
    if isinstance(function, ast.ClassDef):
        methods = [part for part in function.body if isinstance(part, ast.FunctionDef) and part.name != "__init__"]
        return [statement for method in methods for statement in _body(method)]
    return function.body[1:] if ast.get_docstring(function) else function.body


def _asked(name: str, node: ast.AST) -> Iterator[ast.AST]:
    """A node and all in it, but what no exercise asks for: NOT_ASKED, and the words of errors."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.stmt) and f"{name}: {_first_line(node)}" in NOT_ASKED):
        return
    yield node
    for part in ast.iter_child_nodes(node):
        yield from _asked(name, part)


def _first_line(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def _line(function: ast.AST, node: ast.AST, new: ast.AST) -> str:
    around = [part for part in ast.walk(function) if isinstance(part, ast.stmt) and node in ast.walk(part)]
    statement = min(around, key=lambda part: sum(1 for _ in ast.walk(part)))
    return _first_line(ast.fix_missing_locations(Replace(node, new).visit(copy_keeping(statement, node))))


def of_the_student(tree: ast.Module, name: str, others: set[str]) -> list[ast.FunctionDef | ast.ClassDef]:
    """A function and those of its module that it calls, but what is another exercise or is lent."""
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found, waiting = [], [name]
    while waiting:
        node = defined[waiting.pop(0)]
        found.append(node)
        own = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
        called = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & set(defined) - own
        called = {one for one in called if isinstance(defined[one], ast.FunctionDef)}
        waiting += sorted(called - others - {node.name for node in found} - set(waiting))
    return found


# --- Judging ---


def conftest() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("laws_conftest", LAWS / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Endless(BaseException):
    """No Exception: hypothesis would call again, to see it twice."""


@contextmanager
def time_limit() -> Iterator[None]:
    def over(number: int, frame: object) -> None:
        raise Endless

    signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def survives(answers: object, laws: list) -> bool:
    try:
        with time_limit():
            for law in laws:
                law(answers)
    except (Exception, Endless):
        return False
    return True


def judge(lesson: int, answers_of) -> Iterator[tuple[str, int, list[str]]]:
    """Per function of a lesson: how many mistakes, and the lines of those that survive."""
    laws, module = cases(lesson), law_file(lesson)
    given = {name for text in lent.lent_to(EXERCISES / f"lesson_{lesson}.py").values() for name in _defined(text)}
    for name, (home, _) in module.LESSON.items():
        tree = ast.parse(Path(home.__file__).read_text("utf-8"))
        if name not in {node.name for node in tree.body if hasattr(node, "name")}:
            continue  # the package has it in another form
        count, alive = 0, []
        for function in of_the_student(tree, name, set(module.LESSON) - {name} | given):
            for text, line in mutants(tree, function):
                names: dict = {"__name__": home.__name__}
                exec(compile(text, "mutant", "exec"), names)
                count += 1
                if survives(answers_of("a mutant", names), laws[name]):
                    alive.append(f"{function.name}: {line}")
        yield name, count, alive


def _defined(text: str) -> set[str]:
    return {node.name for node in ast.parse(text).body if hasattr(node, "name")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Put mistakes into the teachable functions; do the laws find them?")
    there = sorted(int(path.stem.removeprefix("test_lesson_")) for path in LAWS.glob("test_lesson_*.py"))
    parser.add_argument("--lesson", type=int, choices=there, action="append", help="only this one")
    lessons = parser.parse_args().lesson or there
    torch.set_num_threads(1)
    phases = [Phase.explicit, Phase.generate]  # what breaks need not be small
    settings.register_profile("mutants", max_examples=50, deadline=None, derandomize=True, database=None, phases=phases)
    settings.load_profile("mutants")
    answers_of = conftest().Answers
    print(f"{'function':<24}{'killed':>8}{'survived':>10}{'explained':>11}")
    total = killed = 0
    unexplained = []
    for lesson in lessons:
        for name, count, alive in judge(lesson, answers_of):
            known = [line for line in alive if line in EQUIVALENT]
            unexplained += [line for line in alive if line not in known]
            total, killed = total + count - len(known), killed + count - len(alive)
            print(f"{name:<24}{count - len(alive):>8}{len(alive):>10}{len(known):>11}", flush=True)
    print(f"{killed} of {total} killed that matter: {killed / max(1, total):.1%}")
    for line in unexplained:
        print(textwrap.indent(f"not explained: {line}", "  "))
    sys.exit(1 if unexplained or killed < ENOUGH * total else 0)


if __name__ == "__main__":
    main()
