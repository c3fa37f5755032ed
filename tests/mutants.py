"""Mutation testing of the laws: each function that students write gets one small mistake at a time.

    package's source ──one mistake──> answers ──laws──> killed, or survived: explained, or a law is missing

`make mutants` prints the table; `make mutants ARGS="--lesson 3"` prints one lesson's. The exit code is 1 if fewer than
95 % of the mistakes that matter are killed, or if a surviving one is not explained in mutants.toml.

`make mutants ARGS=--variants` does the same for the exercises that a teacher's number draws, with the right answers in
variant_answers. A mistake counts as killed if a law of one of several numbers sees it, because a number needs only part
of an answer.

`make mutants ARGS=--decoders` makes the mistakes of mutants.toml, one in each part of a decoder; the test of
test_decoders.py that is meant for it must fail.
"""

import argparse
import ast
import copy
import importlib
import io
import signal
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from multiprocessing import get_context
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "laws")]

import messages  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import Phase, settings  # noqa: E402
from lawbook import LAWS, cases, law_file  # noqa: E402

from minimaskgit.grading import lent, variants  # noqa: E402

TOML, DECODERS = Path(__file__).with_suffix(".toml"), Path(__file__).with_name("test_decoders.py")
EXERCISES = Path(__file__).parents[1] / "lessons" / "exercises"
ANSWERS = Path(__file__).with_name("variant_answers")
NUMBERS = range(16)  # of variants, whose laws judge a mistake in turn
SECONDS = 30  # time limit per mistake, which kills endless loops; the laws usually take about two
ENOUGH = 0.95


def explained(why: str) -> set[str]:
    """The lines of one section of mutants.toml, each "function: line"."""
    reasons = tomllib.loads(TOML.read_text("utf-8"))[why]
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
    """Yield the replacements for a node."""
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
            yield node.func.value  # without the call
    for number, word in enumerate(node.keywords):
        if word.arg != "device":
            yield _with(node, keywords=[keyword for at, keyword in enumerate(node.keywords) if at != number])
    if len(node.args) == 2 and not _symmetric(node):
        yield _with(node, args=node.args[::-1])


def _to_a_device(node: ast.Call) -> bool:
    """Whether a call moves a tensor to a device; it makes no difference here, because there is only one device."""
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
    """Replace one node by another."""

    def __init__(self, old: ast.AST, new: ast.AST):
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else super().generic_visit(node)


def mutants(tree: ast.Module, function: ast.FunctionDef | ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the module's source with one mistake in a function, and the line with the mistake."""
    for node in [part for statement in _body(function) for part in _asked(function.name, statement)]:
        for new in mistakes(node):
            changed = Replace(node, new).visit(copy_keeping(tree, node))
            yield ast.unparse(ast.fix_missing_locations(changed)), _line(function, node, new)


def copy_keeping(tree: ast.AST, kept: ast.AST) -> ast.AST:
    """Copy a tree except for one node, which stays the same object."""
    return copy.deepcopy(tree, {id(kept): kept})


def _body(function: ast.FunctionDef | ast.ClassDef) -> list[ast.stmt]:
    """The statements to mutate: without docstring, signature and constructor, which the exercise provides."""
    if isinstance(function, ast.ClassDef):
        methods = [part for part in function.body if isinstance(part, ast.FunctionDef) and part.name != "__init__"]
        return [statement for method in methods for statement in _body(method)]
    return function.body[1:] if ast.get_docstring(function) else function.body


def _asked(name: str, node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all its descendants, except what no exercise asks for: NOT_ASKED and error messages."""
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
    """A function and the functions of its module that it calls, without other exercises and provided ones."""
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


class Endless(BaseException):
    """The time limit; not an Exception, because hypothesis would repeat the call to reproduce it."""


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


def judge(lesson: int) -> Iterator[tuple[str, int, list[str]]]:
    """Yield, for each function of a lesson, its name, the number of mistakes, and the lines of those that survive."""
    laws, module = cases(lesson), law_file(lesson)
    given = {name for text in lent.lent_to(EXERCISES / f"lesson_{lesson}.py").values() for name in _defined(text)}
    for name, (home, _) in module.LESSON.items():
        tree = ast.parse(Path(home.__file__).read_text("utf-8"))
        if name not in {node.name for node in tree.body if hasattr(node, "name")}:
            continue  # the package defines it in another way
        functions = of_the_student(tree, name, set(module.LESSON) - {name} | given)
        lives = lambda names, name=name: survives(messages.answers("a mutant", names), laws[name])
        yield name, *tried(tree, functions, home.__name__, lives)


def judge_variants(lesson: int) -> Iterator[tuple[str, int, list[str]]]:
    """As `judge`, for the functions that numbers draw."""
    module, draws = law_file(lesson, "variants"), [variants.drawn(lesson, number) for number in NUMBERS]
    laws = [cases(lesson, laws=module, drawn=drawn) for drawn in draws]
    tree = ast.parse((ANSWERS / f"lesson_{lesson}.py").read_text("utf-8"))
    right = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "right")

    def lives_with(names: dict, name: str, number: int) -> bool:
        try:
            answers = names["right"](draws[number])
        except Exception:
            return False
        return survives(messages.answers("a mutant", answers), laws[number][name])

    for function in right.body:
        if isinstance(function, ast.FunctionDef) and function.name in module.LESSON:
            lives = lambda names, name=function.name: all(lives_with(names, name, number) for number in NUMBERS)
            yield function.name, *tried(tree, [function], f"variants_{lesson}", lives)


def tried(tree: ast.Module, functions: list, home: str, lives: Callable[[dict], bool]) -> tuple[int, list[str]]:
    """The number of mistakes in the functions, and the lines of those that live; lives: judges a module's names."""
    count, alive = 0, []
    for function in functions:
        for text, line in mutants(tree, function):
            names: dict = {"__name__": home}
            exec(compile(text, "mutant", "exec"), names)
            count += 1
            if lives(names):
                alive.append(f"{function.name}: {line}")
    return count, alive


def _defined(text: str) -> set[str]:
    return {node.name for node in ast.parse(text).body if hasattr(node, "name")}


# --- Decoders: one mistake for each of their parts, and the test that must see it ---


def decoder_survivors() -> list[str]:
    """The parts of decoders whose mistake goes unseen."""
    import minimaskgit.compare  # noqa: F401  once here, because it takes longer than most tests

    mistakes, alive = tomllib.loads(TOML.read_text("utf-8"))["decoders"], []
    for part, (old, new, test) in mistakes.items():
        child = get_context("fork").Process(target=run_test_with_mistake, args=(part.split(".")[0], old, new, test))
        child.start()
        child.join()
        alive += [part] if child.exitcode != pytest.ExitCode.TESTS_FAILED else []
        print(f"{part:<26}{'survived' if part in alive else 'killed':<10}{old}  ->  {new}", flush=True)
    return alive


def run_test_with_mistake(module: str, old: str, new: str, test: str) -> None:
    """Put a mistake into a module of this process, and exit with what pytest says."""
    changed = importlib.import_module(f"minimaskgit.decoders.{module}")
    text = Path(changed.__file__).read_text("utf-8").replace(old, new)
    exec(compile(text, changed.__file__, "exec"), vars(changed))
    with redirect_stdout(io.StringIO()):
        sys.exit(pytest.main(["-qx", "-p", "no:cacheprovider", str(DECODERS), "-k", test]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Check that the laws catch mistakes in the functions students write.")
    numbers = sorted(int(path.stem.removeprefix("test_lesson_")) for path in LAWS.glob("test_lesson_*.py"))
    parser.add_argument(
        "--lesson", type=int, choices=numbers, metavar="N", action="append", help="only this lesson; repeatable"
    )
    parser.add_argument("--variants", action="store_true", help="the exercises that a teacher's number draws instead")
    parser.add_argument("--decoders", action="store_true", help="the decoders' mistakes instead")
    options = parser.parse_args()
    if options.decoders:
        sys.exit(1 if decoder_survivors() else 0)
    lessons = options.lesson or numbers
    torch.set_num_threads(1)
    phases = [Phase.explicit, Phase.generate]  # no shrinking: any failing example will do
    settings.register_profile("mutants", max_examples=50, deadline=None, derandomize=True, database=None, phases=phases)
    settings.load_profile("mutants")
    print(f"{'function':<24}{'killed':>8}{'survived':>10}{'explained':>11}")
    total = killed = 0
    unexplained = []
    for lesson in lessons:
        for name, count, alive in (judge_variants if options.variants else judge)(lesson):
            known = [line for line in alive if line in EQUIVALENT]
            unexplained += [line for line in alive if line not in known]
            total, killed = total + count - len(known), killed + count - len(alive)
            print(f"{name:<24}{count - len(alive):>8}{len(alive):>10}{len(known):>11}", flush=True)
    print(f"killed {killed} of {total} mistakes that matter: {killed / max(1, total):.1%}")
    for line in unexplained:
        print(textwrap.indent(f"not explained: {line}", "  "))
    sys.exit(1 if unexplained or killed < ENOUGH * total else 0)


if __name__ == "__main__":
    main()
