"""How good the laws are: every teachable function with one small mistake at a time, judged as a student's answer.

    package's source ──one mistake──> answers ──laws──> killed, or survived: explained below, or a law is missing

`make mutants` prints the table; `make mutants ARGS="--lesson 3"` one lesson's. Exit code 1 if fewer than 95 % of the
mistakes that matter are killed, or one that survives is not explained.
"""

import argparse
import ast
import copy
import importlib.util
import signal
import sys
import textwrap
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
SECONDS = 120  # for one mistake; one that makes it endless is killed by that
ENOUGH = 0.95

# Mistakes that change nothing a student is asked for, by (function, line as it then reads), with the reason.
BOUND = "the cosine is within its bounds by itself, but for rounding that the laws allow"
TWO = "the exercises promise two tokens or more"
PROMOTED = "torch converts by itself"
LAST = "the last dimension is the one there is"
INVERSE = "the inverse of a random permutation is one too"
EQUIVALENT: dict[tuple[str, str], str] = {
    ("cosine", "return torch.cos(math.pi / 2 * r)"): BOUND,
    ("cosine", "return torch.cos(math.pi / 2 * r).clamp(0, 2)"): BOUND,
    ("_at_least_two", "return torch.as_tensor(num_tokens, dtype=like.dtype, device=like.device)"): TWO,
    ("_at_least_two", "return torch.as_tensor(num_tokens, device=like.device).clamp(min=2)"): PROMOTED,
    ("mask_counts", "fraction = schedule(r, num_tokens)"): "either neighbour will do where only rounding decides",
    ("random_mask", "ranks = scores.argsort(dim=1)"): INVERSE,
    ("random_mask", "ranks = scores.argsort(dim=1).argsort()"): LAST,
    ("random_mask", "ranks = scores.argsort().argsort(dim=1)"): LAST,
    (
        "masked_cross_entropy",
        "losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction='none', "
        "label_smoothing=label_smoothing)",
    ): PROMOTED,
    ("masked_cross_entropy", "weights = mask.flatten()"): PROMOTED,
    ("nearest_codes", "distances = codebook.square().sum(1) - 2 * (z @ codebook.T)"): LAST,
    ("code_perplexity", "p = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()"): PROMOTED,
    (
        "code_perplexity",
        "p = torch.bincount(codes.flatten()).float() / codes.numel()",
    ): "a code not in use adds nothing",
}


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
        if not isinstance(node.func.value, ast.Name) or node.func.value.id not in ("torch", "F", "math", "nn"):
            yield node.func.value  # the call left out
    for number, word in enumerate(node.keywords):
        if word.arg != "device":  # there is but one here
            yield _with(node, keywords=[keyword for at, keyword in enumerate(node.keywords) if at != number])
    if len(node.args) == 2 and not _symmetric(node):
        yield _with(node, args=node.args[::-1])


def _symmetric(node: ast.Call) -> bool:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in ("min", "max", "minimum", "maximum", "mse_loss") or ast.dump(node.args[0]) == ast.dump(node.args[1])


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
    for node in [part for statement in _body(function) for part in ast.walk(statement)]:
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


def _line(function: ast.AST, node: ast.AST, new: ast.AST) -> str:
    around = [part for part in ast.walk(function) if isinstance(part, ast.stmt) and node in ast.walk(part)]
    statement = min(around, key=lambda part: sum(1 for _ in ast.walk(part)))
    text = ast.unparse(ast.fix_missing_locations(Replace(node, new).visit(copy_keeping(statement, node))))
    return text.splitlines()[0]


def of_the_student(tree: ast.Module, name: str, others: set[str]) -> list[ast.FunctionDef | ast.ClassDef]:
    """A function and those of its module that it calls, but what is another exercise or is lent."""
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found, waiting = [], [name]
    while waiting:
        node = defined[waiting.pop(0)]
        found.append(node)
        called = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & set(defined)
        called = {one for one in called if isinstance(defined[one], ast.FunctionDef)}
        waiting += sorted(called - others - {node.name for node in found} - set(waiting))
    return found


# --- Judging ---


def conftest() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("laws_conftest", LAWS / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def time_limit() -> Iterator[None]:
    def over(number: int, frame: object) -> None:
        raise TimeoutError

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
    except Exception:
        return False
    return True


def judge(lesson: int, answers_of) -> Iterator[tuple[str, int, list[str]]]:
    """Per function of a lesson: how many mistakes, and the lines of those that survive."""
    laws, module = cases(lesson), law_file(lesson)
    given = {name for text in lent.lent_to(EXERCISES / f"lesson_{lesson}.py").values() for name in _defined(text)}
    for name, (home, _) in module.LESSON.items():
        tree = ast.parse(Path(home.__file__).read_text())
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
            known = [line for line in alive if tuple(line.split(": ", 1)) in EQUIVALENT]
            unexplained += [line for line in alive if line not in known]
            total, killed = total + count - len(known), killed + count - len(alive)
            print(f"{name:<24}{count - len(alive):>8}{len(alive):>10}{len(known):>11}", flush=True)
    print(f"{killed} of {total} killed that matter: {killed / max(1, total):.1%}")
    for line in unexplained:
        print(textwrap.indent(f"not explained: {line}", "  "))
    sys.exit(1 if unexplained or killed < ENOUGH * total else 0)


if __name__ == "__main__":
    main()
