"""What a student reads when a law breaks: the call to paste, what came back, and the known mistake that looks like it.

    law(impl) ──> law(Recorded(impl)) ──law breaks──> error with `explanation` and a note that shows the calls

tests/conftest.py calls `told` around each law of a submission; the report in tests/laws/conftest.py prints both texts.
"""

import importlib.util
import inspect
import textwrap
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, wraps
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tiny
import torch
from hypothesis.errors import Flaky
from torch import Tensor

from minimaskgit.schedules import SCHEDULES
from minimaskgit.transformer import Transformer

TESTS = Path(__file__).parent
SHOWN = 4  # calls of one example; of more, only the last is shown
REMEMBERED = 200  # calls of all examples, by which a known mistake is recognised
LARGEST = 64  # numbers of a tensor that is written out
WIDTH = 100
PLAIN = (torch.float32, torch.int64, torch.bool)  # dtypes that torch.tensor finds by itself


@dataclass
class Call:
    """One call of a student's function. method: the function's own name, or "gradients" or "forward".

    wrote: whether it changed its arguments.
    """

    method: str
    args: tuple
    options: dict
    result: Any = "nothing yet"
    answered: bool = False
    wrote: bool = False

    @property
    def name(self) -> str:
        return self.args[0] if self.method in ("gradients", "forward") else self.method

    def again(self, impl: object) -> "Call":
        """The same call of other answers."""
        other = Call(self.method, _copy(self.args, anew=True), _copy(self.options, anew=True))
        other.result = getattr(impl, self.method)(*other.args, **other.options)
        other.wrote = not (_unchanged(self.args, other.args) and _unchanged(self.options, other.options))
        return other


class Recorded:
    """Answers that remember how they were called: `example` in the latest example, `calls` in the latest of all."""

    def __init__(self, answers: object):
        self._answers, self.example, self.calls = answers, [], deque(maxlen=REMEMBERED)

    def __repr__(self) -> str:
        return repr(self._answers)

    def __getattr__(self, method: str) -> Callable:
        function = getattr(self._answers, method)

        def call(*args, **options):
            this = Call(method, _copy(args), _copy(options))
            self.example.append(this)
            self.calls.append(this)
            try:
                result = function(*args, **options)
                this.result = _copy(result)  # the law may change it
            except Exception:
                if method == "gradients":  # of a None?
                    with suppress(Exception):
                        this.result = getattr(self._answers, this.name)(*args)
                    _must_return(this)
                raise
            _must_return(this)
            this.answered = True
            this.wrote = not (_unchanged(this.args, args) and _unchanged(this.options, options))
            _must_be_comparable(this)
            return result

        return call


def _must_return(call: Call) -> None:
    if call.result is None:
        raise AssertionError(f"{call.name} returned None; is a `return` missing?")


def _must_be_comparable(call: Call) -> None:
    """AssertionError for a call after which a law would compare nothing: of emptied arguments, or with no numbers."""
    if call.wrote:
        raise AssertionError(f"{call.name} has changed one of its arguments; it must work on a copy")
    if _is_empty(call.result) and not any(map(_is_empty, [*call.args, *call.options.values()])):
        raise AssertionError(f"{call.name} returned nothing: its answer has no elements")


def _is_empty(value: Any) -> bool:
    """Whether a tensor or an array, or one of several, has no elements."""
    if isinstance(value, list | tuple):
        return any(map(_is_empty, value))
    return 0 in getattr(value, "shape", ())


# --- Around a law ---


@contextmanager
def told(recorded: Recorded, law: Callable, laws: ModuleType) -> Iterator[None]:
    """Around a law, one of a file of `laws`: add to the error of a broken one what a student should read."""
    with _each_example(law, recorded.example.clear):
        try:
            yield
        except Exception as error:
            if recorded.example and not _conftest().is_unwritten(error):
                package = {name: getattr(module, name) for name, (module, _) in laws.LESSON.items()}
                lesson = laws.__name__.rpartition("lesson_")[2]  # variants have no known mistakes
                _add_texts(error, recorded, package, _wrong_answers(lesson) if lesson.isdigit() else [])
            raise


@contextmanager
def _each_example(law: Callable, begin: Callable) -> Iterator[None]:
    """Call `begin` before each example of a law that hypothesis runs."""
    handle = getattr(law, "hypothesis", None)
    if handle is None:
        yield
        return
    inner = handle.inner_test

    @wraps(inner)
    def example(*args, **options):
        begin()
        return inner(*args, **options)

    handle.inner_test = example
    try:
        yield
    finally:
        handle.inner_test = inner


def _add_texts(error: Exception, recorded: Recorded, package: dict, wrong: list[tuple[str, ModuleType]]) -> None:
    lines = [written_call(call, package) for call in recorded.example[-SHOWN:]]
    lines = list(dict.fromkeys(lines))  # a law may ask for the value and the gradients of one call
    if len(recorded.example) > SHOWN:  # then the law's own values say more
        drawn = textwrap.dedent("\n".join("".join(getattr(error, "__notes__", [])[:1]).splitlines()[1:-1]))
        lines = [*filter(None, [drawn]), f"the last of {len(recorded.example)} calls:", lines[-1]]
    error.__notes__ = ["\n".join(["Failing test case:", *lines, ")"])]  # as hypothesis has it
    if hasattr(error, "explanation"):  # the judge of a class has said why
        return
    call = recorded.example[-1]
    if isinstance(error, Flaky):
        error.explanation = f"repeated, {call.name} gave another answer: does all randomness come from the generator?"
    elif isinstance(error, AssertionError):
        lines = list(takewhile(lambda line: not line.startswith("assert "), str(error).splitlines()))
        lines = lines or str(error).splitlines()[:1]
        mistake = known_mistake(recorded.calls, package, wrong)
        error.explanation = "\n".join([*lines, *([f"looks like a known mistake: {mistake}"] if mistake else [])])
    elif call.answered:  # the law cannot look at what came back
        with suppress(Exception):
            found, expected = kind(call.result), kind(call.again(answers("the package", package)).result)
            if found != expected:
                error.explanation = f"{call.name} returned {found}; expected {expected}"


def kind(value: object) -> str:
    """A value in words: its type, and of a tensor its dtype and shape."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return {"ndarray": "a numpy array", "int": "an int"}.get(type(value).__name__, f"a {type(value).__name__}")


# --- Calls, written so that they can be pasted ---


def written_call(call: Call, package: dict) -> str:
    """A call as Python source, arguments by name."""
    args = call.args[1:] if call.method == "gradients" else call.args
    if call.method == "forward":
        _, options, _, x = call.args
        inside = ", ".join(f"{key}={written(value)}" for key, value in options.items())
        return f"{call.name}({inside})(  # with weights of the law's own\n    {written(x)}\n)"
    parameters = list(inspect.signature(package[call.name]).parameters)
    named = [f"{key}={written(value)}" for key, value in zip(parameters, args)]
    if call.method == call.name:
        named += [f"{key}={written(value)}" for key, value in call.options.items()]
    line = f"{call.name}({', '.join(named)})"
    if len(line) > WIDTH:
        line = f"{call.name}(\n" + "".join(f"    {one},\n" for one in named) + ")"
    of_tests = sorted({word for word in vars(tiny) if f"{word}(" in line and callable(vars(tiny)[word])})
    return line + (f"  # {', '.join(of_tests)}: tests/tiny.py" if of_tests else "")


def written(value: object) -> str:
    """An argument as Python source; a large tensor only as <dtype of shape>."""
    if isinstance(value, Tensor):
        return _written_tensor(value)
    if isinstance(value, list | tuple):
        inside = ", ".join(map(written, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    if isinstance(value, torch.Generator):
        return f"torch.Generator().manual_seed({value.initial_seed()})"
    if hasattr(value, "described_by"):
        name, options = value.described_by
        return f"{name}({', '.join(f'{key}={written(option)}' for key, option in options.items())})"
    names = [name for name, schedule in SCHEDULES.items() if schedule is value]
    return names[0] if names else repr(value)


def _written_tensor(x: Tensor) -> str:
    dtype = "" if x.dtype in PLAIN else f", dtype={x.dtype}"
    if x.numel() == 0:
        return f"torch.zeros({tuple(x.shape)}{dtype})"
    first = x.flatten()[0]
    if x.numel() > 8 and bool((x == first).all()):
        return f"torch.full({tuple(x.shape)}, {_number(first)}{dtype})"
    if x.numel() > LARGEST:
        return f"<{kind(x)}>"
    return f"torch.tensor({_nested(x)}{dtype})"


def _nested(x: Tensor) -> str:
    return _number(x) if x.ndim == 0 else f"[{', '.join(map(_nested, x))}]"


def _number(x: Tensor) -> str:
    if not x.is_floating_point():
        return str(x.item())
    if not x.isfinite():
        return f"float('{x.item()}')"
    return str(x.numpy()) if x.dtype in (torch.float32, torch.float64) else str(x.item())  # no more digits than needed


# --- Known mistakes ---


def known_mistake(calls: deque[Call], package: dict, wrong: list[tuple[str, ModuleType]]) -> str:
    """What a known wrong answer says of itself, if it returns the same as the student's in all calls; or nothing."""
    right = answers("the package", package)
    if not all(call.answered for call in calls) or all(_gives(right, call) for call in calls):
        return ""
    for stem, module in wrong:
        own = {name for name in package if getattr(getattr(module, name), "__module__", "") == module.__name__}
        if own.issuperset(call.name for call in calls):
            claimed = answers(stem, vars(module))
            if all(_gives(claimed, call) for call in calls):
                return " ".join(module.__doc__.split())
    return ""


def _gives(impl: object, call: Call) -> bool:
    with suppress(Exception):  # a wrong answer may fail at what the student's does not
        other = call.again(impl)
        return same(other.result, call.result) and other.wrote == call.wrote
    return False


def same(one: object, other: object) -> bool:
    """Whether two results are equal but for rounding."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if one is None or other is None:
        return one is other
    one, other = (np.asarray(x.double() if isinstance(x, Tensor) else x, dtype=float) for x in (one, other))
    return one.shape == other.shape and np.allclose(one, other, 1e-4, 1e-5, equal_nan=True)


def _wrong_answers(lesson: str) -> list[tuple[str, ModuleType]]:
    paths = sorted((TESTS / "wrong_answers").glob(f"lesson_{lesson}_*.py"))
    return [(path.name, load(path)) for path in paths]


def answers(name: str, functions: dict) -> object:
    """Functions as laws call them."""
    return _conftest().Answers(name, functions)


def _conftest() -> ModuleType:
    return load(TESTS / "laws" / "conftest.py")


def fresh(path: Path) -> ModuleType:
    """A file as a module, made anew."""
    spec = importlib.util.spec_from_file_location(f"messages_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


load = cache(fresh)


def _copy(value: Any, anew: bool = False) -> Any:
    """What a law passes on, as it was before the call. anew: models and caches too, made as they are described."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return type(value)(_copy(one, anew) for one in value)
    if isinstance(value, dict):
        return {key: _copy(one, anew) for key, one in value.items()}
    if isinstance(value, torch.Generator):
        return tiny.generator(value.initial_seed())
    if anew and hasattr(value, "described_by") and not isinstance(value, Transformer):  # whose weights a law may set
        name, options = value.described_by
        return getattr(tiny, name)(**_copy(options, anew))
    return value


def _unchanged(before: Any, after: Any) -> bool:
    """Whether the tensors of what a law passed on are as before the call."""
    if isinstance(before, Tensor):
        return torch.equal(before.nan_to_num(), after.detach().nan_to_num())
    if isinstance(before, list | tuple):
        return all(map(_unchanged, before, after))
    return all(_unchanged(one, after[key]) for key, one in before.items()) if isinstance(before, dict) else True
