"""The laws of a lesson as plain calls, for judging many answers in one process.

cases(3)["cosine"]             ──>  [call(impl), ...]   each raises if its law does not hold
judged("cosine", 3, {...}, path) ──>  what make check-3 says of this one function, in a notebook
"""

import inspect
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import messages
from hypothesis import Phase, settings

LAWS = Path(__file__).parent / "laws"


def law_file(lesson: int, kind: str = "lesson") -> ModuleType:
    return messages.fresh(LAWS / f"test_{kind}_{lesson}.py")


def cases(lesson: int, laws: ModuleType | None = None, **given: object) -> dict[str, list[Callable]]:
    """The laws as calls, by the function that they test, in the order of the lesson.

    laws: their file, if at hand. given: what every law takes besides, such as `drawn` of variants.
    """
    module = laws or law_file(lesson)
    found: dict[str, list[Callable]] = {name: [] for name in module.LESSON}
    for name, law in vars(module).items():
        if not name.startswith("test_"):
            continue
        about = next((mark.args[0] for mark in getattr(law, "pytestmark", []) if mark.name == "law"), None)
        for values in parameters(law):
            found[about or values["name"]].append(partial(_call, law, values | given))
    return found


def _call(law: Callable, values: dict, impl: object) -> None:
    law(impl=impl, **values)


def parameters(law: Callable) -> list[dict]:
    """All combinations of a law's parameters, a seed of 0 among them if it takes one."""
    choices = [[{"seed": 0}]] if "seed" in inspect.signature(law).parameters else []
    for mark in getattr(law, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args[:2]
            names = [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
            choices.append([dict(zip(names, value if len(names) > 1 else [value])) for value in values])
    return [{key: value for part in chosen for key, value in part.items()} for chosen in itertools.product(*choices)]


# --- One function, in a notebook ---


def same_examples(derandomize: bool = True) -> None:
    """Let hypothesis try the same examples every time, without a deadline: a busy machine is no failure."""
    options = {"max_examples": 50, "deadline": None, "derandomize": derandomize, "database": None}
    # For a broken law, report only the smallest example; explaining it further would take longer.
    options |= {"report_multiple_bugs": False, "phases": [Phase.explicit, Phase.generate, Phase.shrink]}
    settings.register_profile("laws", **options)
    settings.load_profile("laws")


def judged(name: str, lesson: int, functions: dict, path: Path) -> tuple[bool, list[str]]:
    """Try the laws of one function until one breaks: whether all hold, and what a student reads.

    functions: the student's, by name. path: the file or cell that they are in, whose lines an error shows.
    """
    same_examples()  # before the laws are made, for they take their settings from it
    laws = law_file(lesson)
    report = messages.load(LAWS / "conftest.py").Report(path, None)
    report.exercises = laws.LESSON
    answers = messages.answers(path.name, functions)
    tried = cases(lesson, laws=laws)[name]
    for call in tried:
        law, values = call.args
        impl = messages.Recorded(answers)
        try:
            with messages.told(impl, law, laws):
                call(impl=impl)
        except Exception as error:
            given = {key: value for key, value in values.items() if key != "seed"}
            report.broken[name] = (SimpleNamespace(function=law, callspec=SimpleNamespace(params=given)), error)
            if report.is_unwritten(name):
                return False, ["  not written: it, or a function that it calls"]
            return False, ["  BROKEN", *(f"  {line}" for line in report.explanation(name))]
    return True, [f"  done ({len(tried)} {'law holds' if len(tried) == 1 else 'laws hold'})"]
