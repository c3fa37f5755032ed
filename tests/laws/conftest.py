"""Whom the laws judge: the package and other right answers, wrong answers, or with --submission FILE a student.

    law(impl) ── impl is the package, each right answer: the law must hold
              ├─ a wrong answer that names this law:     the law must break
              └─ --submission FILE:                      a report, one line a function

A law file is called test_lesson_N.py and has `LESSON`: a dictionary from each function that a student writes, in
order, to the module that holds the package's answer and the idea to re-read when a law breaks.

test_variants_N.py has the laws of lesson N's variants in the same form; they also take `drawn`, what a teacher's number
draws (minimaskgit.grading.variants). Without a submission they judge tests/variant_answers by a few numbers.

Answers may live in another process, so laws say `impl.name(...)`, and `impl.gradients` or `impl.forward` where a value
is not enough, and hand in only what plain data describe; anything else is refused:

    handed in                                         described by
    tensor, number, string, None, sequences of these  itself; so is all that comes back
    torch.Generator                                   its initial_seed(); every call gets a fresh one
    schedule                                          its name in minimaskgit.schedules.SCHEDULES
    what tiny.py makes: models, a discriminator,      its `described_by`: who makes it, and from what; besides, of
    a cache                                           modules their state_dict(). Of FixedLogits `seen`, of a KVCache
                                                      `length` come back

The grader of a class (minimaskgit.grading) rebuilds none of these from what describes them: generators go over by their
state, schedules and models stay with the judge, and the student's process calls back for each call of them.
"""

import linecache
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial, wraps
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from minimaskgit.common.errors import with_line
from minimaskgit.grading import lent, local, sandbox, variants
from minimaskgit.grading.execution import execute, place
from minimaskgit.grading.laws import may_be_infinite
from minimaskgit.grading.pytest_plugin import about
from minimaskgit.grading.texts import read_answer
from minimaskgit.schedules import SCHEDULES

TESTS = Path(__file__).parents[1]
LESSONS = TESTS.parent / "lessons"
INFINITE = may_be_infinite()
CALL_SECONDS = 5.0  # of --call-timeout when a class is graded


class NotWritten(AttributeError, NotImplementedError):
    """A function is not there, or its body is still the exercise's."""


class Answers:
    """The functions of a file or of the package, as attributes; their results are checked as in grading."""

    def __init__(self, name: str, functions: dict, watch: Callable = lambda name: nullcontext()):
        self.name, self.functions, self.watch = name, functions, watch

    def __getattr__(self, name: str) -> Callable:
        function = self._function(name)

        @wraps(function)
        def call(*args, **options):
            _check_sendable(*args, *options.values())
            with torch.no_grad(), self.watch(name):
                result = local.as_sent(function(*args, **options))
            sandbox.check_numbers(name, result, infinite=name in INFINITE)
            return result

        return call

    def gradients(self, name: str, *args, output: int | None = None, upstream: Tensor | None = None) -> list:
        """Gradients of a function's result, or of its part `output`, for all float tensors among the arguments.

        They are in the order of the arguments, with those in lists and the weights of modules; None where none arrives.
        upstream: the gradient at the output; by default 1, of a scalar.
        """
        _check_sendable(*args)
        args = [_leaf(value) for value in args]
        result = self._function(name)(*args)
        result = result if output is None else result[output]
        leaves = list(_leaves(args))
        assert all(leaf.requires_grad for leaf in leaves), (
            f"{name} has changed an argument: it no longer takes gradients"
        )
        if not result.requires_grad:
            return [None] * len(leaves)
        try:
            found = list(torch.autograd.grad(result, leaves, upstream, allow_unused=True))
        except RuntimeError as error:
            assert "second time" not in str(error), f"{name} calls backward itself; it must only return the loss"
            raise
        sandbox.check_numbers("the gradient", found)
        return found

    def forward(self, name: str, options: dict, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """Create a module of the student's class, load its weights, and call it in eval mode."""
        _check_sendable(*options.values(), *weights.values(), x)
        module = self._function(name)(**options).eval()
        module.load_state_dict(weights)
        with torch.no_grad():
            return local.as_sent(module(x))

    def _function(self, name: str) -> Callable:
        if name not in self.functions:
            raise NotWritten(f"{self.name} has no function {name}")
        return self.functions[name]

    def __repr__(self) -> str:
        return self.name


DESCRIBED = Tensor | int | float | str | None | torch.Generator


def _check_sendable(*values) -> None:
    for value in values:
        if isinstance(value, list | tuple):
            _check_sendable(*value)
        elif not (isinstance(value, DESCRIBED) or hasattr(value, "described_by") or value in SCHEDULES.values()):
            raise TypeError(f"{value!r} cannot be sent to answers in another process")


def _leaf(value):
    if isinstance(value, list):
        return [_leaf(part) for part in value]
    return value.detach().clone().requires_grad_() if _is_float(value) else value


def _leaves(values: list) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, list):
            yield from _leaves(value)
        elif isinstance(value, nn.Module):
            yield from value.parameters()
        elif _is_float(value):
            yield value


def _is_float(value) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def load(path: Path) -> ModuleType:
    """A file of answers as a module; whatever goes wrong in it is raised."""
    source, name = read_answer(path), str(path.resolve())
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module = sys.modules[f"answers_{path.stem}"] = ModuleType(f"answers_{path.stem}")
    module.__file__ = name
    with lent.idle_tools():  # check would try the laws of what is being loaded
        module.__left_out__ = execute(source, name, vars(module))
    return module


def lesson_number(module: ModuleType) -> int:
    return int(module.__name__.rpartition("_")[2])


def has_variants(module: ModuleType) -> bool:
    """Whether a file has laws of a lesson's variants, which also take what is drawn."""
    return module.__name__.startswith("test_variants_")


# --- The fixtures ---


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "impl" not in metafunc.fixturenames:
        return
    if has_variants(metafunc.module):
        metafunc.parametrize(("impl", "drawn"), list(of_variants(metafunc)), indirect=["impl"])
        return
    if metafunc.config.getoption("--submission"):
        metafunc.parametrize("impl", [metafunc.config.submission], ids=["submission"], indirect=True)
        return
    number, law = lesson_number(metafunc.module), metafunc.function.__name__
    package = {name: getattr(module, name) for name, (module, _) in metafunc.module.LESSON.items()}
    judged = [pytest.param(Answers("the package", package), id="package")]
    for path in sorted((TESTS / "right_answers").glob(f"lesson_{number}_*.py")):
        judged.append(pytest.param(Answers(path.name, vars(load(path))), id=path.stem, marks=pytest.mark.slow))
    for path in sorted((TESTS / "wrong_answers").glob(f"lesson_{number}_*.py")):
        wrong = load(path)
        if law in wrong.BREAKS:
            must_break = pytest.mark.xfail(raises=AssertionError, strict=True, reason=wrong.__doc__)
            judged.append(pytest.param(Answers(path.name, vars(wrong)), id=path.stem, marks=must_break))
    metafunc.parametrize("impl", judged, indirect=True)


def of_variants(metafunc: pytest.Metafunc) -> Iterator:
    """Pairs of answers and what is drawn: a student's by their number, or those of variant_answers by a few numbers."""
    config, number, law = metafunc.config, lesson_number(metafunc.module), metafunc.function.__name__
    if config.getoption("--submission"):
        if config.variants is not None:
            yield pytest.param(config.submission, variants.drawn(number, config.variants), id="submission")
        return
    answers = load(TESTS / "variant_answers" / f"lesson_{number}.py")
    for draw, drawn in draws_on_trial(number):
        right = answers.right(drawn)
        yield pytest.param(Answers("a right answer", right), drawn, id=f"right-{draw}")
        for name, (breaks, wrong) in answers.wrong(drawn).items():
            if law == breaks:
                must_break = pytest.mark.xfail(raises=AssertionError, strict=True, reason=name)
                yield pytest.param(Answers(name, right | wrong), drawn, id=f"{name}-{draw}", marks=must_break)


def draws_on_trial(lesson: int) -> Iterator[tuple[int, dict]]:
    """The first three numbers, and others that draw a rule or a mistake which none before them has drawn."""
    seen: set = set()
    for number in range(40):
        drawn = variants.drawn(lesson, number)
        rules = {(name, value) for name, value in drawn.items() if isinstance(value, str | bool)}
        if number < 3 or rules - seen:
            seen |= rules
            yield number, drawn


@pytest.fixture(scope="session")
def graded(request) -> bool:
    """Whether a class is graded: only then a choice among named reasons is compared, or one could try them all."""
    judge = "minimaskgit.grading.pytest_plugin"
    return request.config.pluginmanager.has_plugin(judge) or not request.config.getoption("--submission")


@pytest.fixture(scope="session")
def impl(request) -> Answers:
    """The answers under trial: `impl.cosine` is the package's function, or another's who claims to do the same."""
    return request.param


@pytest.fixture(scope="session")
def seed(request) -> int:
    """Where a law with a distribution starts to draw: 0, or what --hypothesis-seed says."""
    return int(request.config.getoption("--hypothesis-seed") or 0)


# --- A student's report ---


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--submission")
    if not path:
        return
    if not path.is_file():
        raise pytest.UsageError(f"no file {path}; the exercises are in lessons/exercises")
    judge = config.pluginmanager.get_plugin("minimaskgit.grading.pytest_plugin")  # of a class: nothing is imported here
    config.report = Report(path, None if judge else local.Watch(CALL_SECONDS))
    config.variants = config.getoption("--variants")
    if judge:
        config.submission = judge.answers(config, path)
    else:
        try:
            with config.report.watch("the file"):
                functions = vars(load(path))
        except (Exception, SystemExit) as error:
            said = with_line(error, path, placed(path))
            raise pytest.UsageError(f"{path} cannot be imported, so no law has been tried; {said}") from None
        left_out = functions.pop("__left_out__")
        config.report.left_out = [
            f"left out, because it failed: {with_line(error, path, placed(path))}" for error in left_out
        ]
        if config.variants is None:  # a check of one's own uses the number in the file
            config.variants = variants.number_of(read_answer(path))
        config.submission = Answers(path.name, functions, config.report.watch)
    config.pluginmanager.register(config.report)
    config.option.tbstyle, config.option.verbose, config.option.no_summary = "no", -2, True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--submission"):
        return
    # The file's lesson is the one of which it has the most functions.
    laws = [item for item in items if "impl" in getattr(item, "fixturenames", ())]
    lessons: dict[int, dict] = {}
    for module in dict.fromkeys(item.module for item in laws):
        if not has_variants(module) or config.variants is not None:
            lessons.setdefault(lesson_number(module), {}).update(module.LESSON)
    if not lessons:
        raise pytest.UsageError("no laws among these tests; they are in tests/laws")
    has = config.submission.functions
    number = max(lessons, key=lambda number: sum(name in has for name in lessons[number]))
    config.report.number, config.report.exercises = number, lessons[number]
    order = list(lessons[number])
    items[:] = sorted(
        (item for item in laws if lesson_number(item.module) == number and about(item) in order),
        key=lambda item: order.index(about(item)),
    )


class Report:
    """What a student reads: per function done, broken or not written, and for a broken one which law, how and why."""

    def __init__(self, path: Path, watch: local.Watch | None):
        self.path, self.watch = path, watch
        self.left_out: list[str] = []  # which lines of the file failed without stopping it
        self.number, self.exercises = 0, {}  # of the lesson; by function, the module of its answer and the idea
        self.laws: dict[str, int] = {}  # how many held, by function
        self.broken: dict[str, tuple[pytest.Item, BaseException]] = {}  # the first that did not

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if about(item) in self.broken:
            pytest.skip("one broken law at a time")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator:
        name = about(item)
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            self.broken[name] = (item, call.excinfo.value)
        elif call.when == "call":
            self.laws[name] = self.laws.get(name, 0) + 1
        return (yield)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str]:
        return report.outcome, "", ""  # no dots

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.watch is None:
            return  # a judge writes its verdict, and must not parse the student's file
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> Iterator[str]:
        functions = list(self.exercises)
        done = [name for name in functions if name not in self.broken]
        unwritten = [name for name in functions if self.is_unwritten(name)]
        yield f"Lesson {self.number}: {self.path}"
        for name in functions:
            if name in done:
                held = self.laws.get(name, 0)
                yield f"  done         {name} ({held} {'law holds' if held == 1 else 'laws hold'})"
            elif name in unwritten:
                yield f"  not written  {name}"
            else:
                yield f"  BROKEN       {name}"
                yield from textwrap.indent("\n".join(self.explanation(name)), " " * 15).splitlines()
        rest = [name for name in functions if name not in done]
        exercise = LESSONS / "exercises" / f"lesson_{self.number}.py"
        for line in (*self.left_out, *local.refused(read_answer(self.path), exercise), *self.watch.found.values()):
            yield f"  warning      {line}"
        yield f"{len(done)} of {len(functions)} done." + (f" Next: {rest[0]}." if rest else " All laws hold.")

    def is_unwritten(self, name: str) -> bool:
        return name in self.broken and is_unwritten(self.broken[name][1])

    def law(self, name: str) -> str:
        return sentence(self.broken[name][0])

    def explanation(self, name: str) -> Iterator[str]:
        item, error = self.broken[name]
        module, idea = self.exercises[name]
        yield f"the law   {self.law(name)}"
        yield from labelled("breaks at", smallest_input(item, error))
        yield from labelled("because  ", reason(error, self.path))
        yield f"re-read   {idea}"
        if module.__name__.startswith("minimaskgit."):
            yield f"          (tried for a while? the package's answer is in {module.__name__.replace('.', '/')}.py)"


def is_unwritten(error: BaseException) -> bool:
    """Whether an error is an exercise's own; torch raises one too, with a text, where a dtype has no such operation."""
    return isinstance(error, NotImplementedError) and not (type(error) is NotImplementedError and str(error))


def sentence(item: pytest.Item) -> str:
    """The law as its name says it."""
    words = item.function.__name__.removeprefix("test_").replace("_s_", "'s_").replace("_", " ")
    return words[0].upper() + words[1:] + "."


def smallest_input(item: pytest.Item, error: BaseException) -> str:
    """What hypothesis found, or the law's own parameters; others have fixed input."""
    given = {name: value for name, value in item.callspec.params.items() if name not in ("impl", "drawn")}
    lines = [f"{name}={value!r}" for name, value in given.items()]
    for note in getattr(error, "__notes__", ()):
        if note.startswith(("Failing test case", "Falsifying example")):
            found = textwrap.dedent("\n".join(note.splitlines()[1:-1])).splitlines()
            names = (*given, "impl", "seed", "drawn", "graded")
            lines += [line for line in found if not line.startswith(tuple(f"{name}=" for name in names))]
    return "\n".join(lines) or "the law's own input, always the same"


def reason(error: BaseException, path: Path) -> str:
    """The first lines of what went wrong, and the student's own line where it did."""
    if hasattr(error, "explanation"):  # by the judge of a class
        return error.explanation
    if isinstance(error, AssertionError):
        said = list(takewhile(lambda line: not line.startswith("assert "), str(error).splitlines()))
        return "\n".join(said) or str(error).splitlines()[0]
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame, path)]
    said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if not own:  # what it gave was of a kind that the law could not even look at
        return f"it returns something other than what the exercise asks for; {said}"
    return f"{said}, in {placed(path)(own[-1].lineno)}: {own[-1].line}"


def placed(path: Path) -> Callable[[int], str]:
    """How a line of a file, or of a notebook's or its cells, is said in words."""
    return partial(place, "".join(linecache.getlines(str(path.resolve()))))


def is_own(frame: traceback.FrameSummary, path: Path) -> bool:
    return Path(frame.filename).resolve() == path.resolve()  # notebooks compile under a link on macOS


def labelled(label: str, text: str) -> Iterator[str]:
    first, *more = text.splitlines()
    yield f"{label} {first}"
    yield from (" " * (len(label) + 1) + line for line in more)
