"""The laws of a lesson as plain calls, for judging many answers in one process.

cases(3)["cosine"]  ──>  [call(impl), ...]   each raises if its law does not hold
"""

import importlib.util
import inspect
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

LAWS = Path(__file__).parent / "laws"


def law_file(lesson: int, kind: str = "lesson") -> ModuleType:
    path = LAWS / f"test_{kind}_{lesson}.py"
    spec = importlib.util.spec_from_file_location(f"lawbook_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(lesson: int, seed: int = 0) -> dict[str, list[Callable]]:
    """The laws as calls, by the function that they test, in the order of the lesson."""
    module = law_file(lesson)
    found: dict[str, list[Callable]] = {name: [] for name in module.LESSON}
    for name, law in vars(module).items():
        if not name.startswith("test_"):
            continue
        about = next((mark.args[0] for mark in getattr(law, "pytestmark", []) if mark.name == "law"), None)
        for values in parameters(law, seed):
            found[about or values["name"]].append(partial(_call, law, values))
    return found


def _call(law: Callable, values: dict, impl: object) -> None:
    law(impl=impl, **values)


def parameters(law: Callable, seed: int = 0) -> list[dict]:
    """All combinations of a law's parameters, the seed among them if it takes one."""
    choices = [[{"seed": seed}]] if "seed" in inspect.signature(law).parameters else []
    for mark in getattr(law, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args[:2]
            names = [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
            choices.append([dict(zip(names, value if len(names) > 1 else [value])) for value in values])
    return [{key: value for part in chosen for key, value in part.items()} for chosen in itertools.product(*choices)]
