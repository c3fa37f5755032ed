"""The judge, a pytest plugin: checks one student's functions, which run in a sandbox, against the laws of a lesson.

    pytest tests/laws/test_lesson_3.py -p minimaskgit.grading.pytest_plugin --submission FILE --grading SETTINGS.json
    SETTINGS.json ──answers──> functions in a sandbox ──laws──> Verdict ──> one JSON file of results

`minimaskgit.grade` starts one such process per student. tests/laws/conftest.py calls `answers` instead of importing
the student's file.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimaskgit.grading import lent, variants
from minimaskgit.grading.confinement import Limits
from minimaskgit.grading.laws import ROOT
from minimaskgit.grading.sandbox import Answers, JudgeError, NotWritten, Sandbox

SPARE = 3  # seconds of processor time in addition to the time limit of all exercises


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--grading", type=Path, metavar="FILE", help="settings of minimaskgit.grade")


def answers(config: pytest.Config, path: Path) -> Answers:
    """The functions of a student's file, in a sandbox."""
    settings = json.loads(config.getoption("--grading").read_text("utf-8"))
    # An exercise may take more than its share: what one call may take, and what earlier ones saved.
    limits = Limits(memory=settings["memory"], seconds=int(settings["all_seconds"]) + SPARE)
    sandbox = Sandbox(limits, Path(settings["folder"]), [ROOT, Path(settings["hidden"])])
    everything, exercise = settings["lend_everything"], variants.exercise_of(settings["lesson"])
    texts = lent.everything(path) if everything else lent.lent_to(exercise)
    options = {"seed": settings["seed"], "infinite": settings["infinite"]}
    found = Answers(
        path.name, path.read_text("utf-8"), texts, sandbox, (settings["seconds"], settings["call_seconds"]), **options
    )
    config.pluginmanager.register(Verdict(found, sandbox, Path(settings["out"])))
    return found


class Verdict:
    """Per exercise: the number of laws, how many hold, and an explanation of the first that does not."""

    def __init__(self, found: Answers, sandbox: Sandbox, out: Path):
        self.found, self.sandbox, self.out = found, sandbox, out
        self.exercises: dict[str, dict] = {}
        self.current, self.failure = "", ""
        self.unloadable: list[str] = []  # why the file could not be loaded, for each exercise of which that is true

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self.report = config.report
        for name in config.report.exercises:
            laws = sum(name == about(item) for item in items)
            self.exercises[name] = {"laws": laws, "held": 0, "state": "broken", "told": "", "law": "", "seconds": 0.0}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator:
        if about(item) != self.current:
            self._finish()
            self.current = about(item)
            try:
                self.unloadable += filter(None, [self.found.begin()])
            except (JudgeError, OSError) as error:
                self.failure = f"the judge itself failed: {error}"
                pytest.exit(self.failure, returncode=3)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator:
        report = yield
        error = call.excinfo and call.excinfo.value
        exercise = self.exercises[about(item)]
        if isinstance(error, JudgeError):
            self.failure = str(error)
        if call.when == "call" and error is None:
            exercise["held"] += 1
        elif isinstance(error, NotWritten) and not exercise["told"]:
            exercise["state"] = "not written"
        return report

    def _finish(self) -> None:
        if self.current:
            self.exercises[self.current]["seconds"] = round(self.found.finish(), 1)

    def pytest_sessionfinish(self) -> None:
        self._finish()
        self.sandbox.close()
        for name, exercise in self.exercises.items():
            if exercise["held"] == exercise["laws"] > 0:
                exercise["state"] = "done"
            elif name in self.report.broken:
                lines = [line for line in self.report.explanation(name) if not line.lstrip().startswith("(tried")]
                exercise["told"], exercise["law"] = "\n".join(lines), self.report.law(name)
        whole = len(self.unloadable) == len(self.exercises)
        trouble = f"the file cannot be loaded: {self.unloadable[0]}" if whole and self.unloadable else ""
        result = {"exercises": self.exercises, "trouble": trouble, "failure": self.failure}
        result |= {"protection": self.sandbox.protection}
        self.out.write_text(json.dumps(result), "utf-8")


def about(item: pytest.Item) -> str:
    """The function that a law is about, from its mark or its parameter `name`."""
    mark = item.get_closest_marker("law")
    return mark.args[0] if mark else item.callspec.params["name"]
