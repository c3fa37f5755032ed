"""Grade a class: every student's file by the laws of a lesson, each function locked in (see lessons/grading.md).

    submissions/ ──a process a student──> laws, the functions in a sandbox ──> table, CSV, JSON, JUnit, feedback

Same files and seed, same grades: a student's points depend on nothing but the file.
"""

import ast
import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json, write_text
from minimaskgit.grading import lent, report
from minimaskgit.grading.confinement import Limits
from minimaskgit.grading.report import Result
from minimaskgit.grading.sandbox import STARTING, Answers, JudgeError, Sandbox, StudentError
from minimaskgit.grading.submissions import Submission, collect

ROOT = Path(__file__).parents[1]

WEIGHTS = ROOT / "lessons" / "weights.toml"

# Runs wherever anything does.
HONEST = "import numpy.random, torch\ndef one():\n    return torch.rand(9, 9).softmax(-1).sum() / 9\n"

PATIENCE = 12  # times the timeout, after which a judge is taken for dead


@dataclass(frozen=True)
class Options:
    """What to grade, and where the grades go."""

    submissions: Annotated[Path, tyro.conf.Positional]  # a folder or zip of students' files, folders or zips, or a file
    lesson: int  # number of the lesson
    csv: Path | None = None  # a line a student, for a spreadsheet
    json: Path | None = None  # everything that is known
    junit: Path | None = None  # folder of a JUnit report a student
    feedback: Path | None = None  # folder of a Markdown page a student
    work: Path = Path("runs/grades")  # where finished results are kept for --resume
    resume: bool = False  # take over what an interrupted run with the same files and options has finished
    jobs: int = 1  # students at the same time
    timeout: float = 60.0  # seconds for a lesson of one student, an equal share of it sure for each exercise
    call_timeout: float = 5.0  # seconds for one call
    memory: int = 1024  # MB for a student's functions, beyond Python and torch
    seed: int = 0  # other examples and draws; the same for all students
    lend_everything: bool = False  # let the files import the whole package, answers too; to grade the grader


def main(argv: Sequence[str] | None = None) -> None:
    """Grade and report; exit code 3 if somebody could not be graded, 1 if a single file is not all right."""
    options = cli.parse(Options, "Grade a class by the laws of a lesson.", argv=argv)
    weights = exercise_weights(options.lesson)
    found = collect(options.submissions, options.lesson)
    check(options)
    results = grade_all(found, list(weights), options)
    print("\n".join(report.table(results, weights)))
    store(results, weights, options)
    if any(result.failure for result in results):
        sys.exit(3)
    if len(results) == 1 and not options.submissions.is_dir() and results[0].total(weights) < sum(weights.values()):
        sys.exit(1)


def check(options: Options) -> None:
    """UserError for numbers with which everybody would get a 0, or the grader itself would fail."""
    for name in ("jobs", "timeout", "call_timeout", "memory"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be positive and finite")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed {options.seed}: expected 0 to {2**32 - 1}")


def exercise_weights(lesson: int) -> dict[str, float]:
    """Points by exercise, in the laws' order; 1 where weights.toml says nothing. UserError if there are no laws."""
    laws = laws_of(lesson)
    if not laws.exists():
        there = sorted(path.stem.removeprefix("test_lesson_") for path in laws.parent.glob("test_lesson_*.py"))
        if not there:
            hint = f"in a clone of the project, run make grade-{lesson} SUBMISSIONS=FOLDER"
            raise UserError(f"cannot grade lesson {lesson}: an installed minimaskgit comes without the laws; {hint}")
        raise UserError(f"no laws of lesson {lesson}; there are lessons {', '.join(there)}")
    tree = ast.parse(laws.read_text("utf-8"))
    table = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "LESSON")
    given = tomllib.loads(WEIGHTS.read_text("utf-8")).get(f"lesson_{lesson}", {})
    return {key.value: given.get(key.value, 1) for key in table.keys}


def laws_of(lesson: int) -> Path:
    return ROOT / "tests" / "laws" / f"test_lesson_{lesson}.py"


# --- Many students ---


def grade_all(found: list[Submission], exercises: list[str], options: Options) -> list[Result]:
    """In the students' order; each result is kept when it is there, and a word about it printed."""
    folder = options.work / f"lesson_{options.lesson}"
    results: dict[str, Result] = {}
    judges, basis = Judges(), _basis(options)
    _say_protection(protection(options.memory))
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {pool.submit(_kept_or_graded, one, exercises, options, folder, judges, basis): one for one in found}
        try:
            for done in as_completed(waiting):
                one, result = waiting[done], done.result()
                results[one.student] = result
                _say(len(results), len(found), result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            judges.stop()
            raise
    return [results[one.student] for one in found]


def _say(number: int, count: int, result: Result) -> None:
    done = sum(exercise["state"] == "done" for exercise in result.exercises.values())
    what = result.failure or result.trouble or f"{done} of {len(result.exercises)} exercises done"
    print(f"[{number}/{count}] {report.clean(result.student)}: {what}", file=sys.stderr, flush=True)


def protection(memory: int) -> dict:
    """Which lock closes on this machine, tried before anybody's code runs. UserError if nothing can run in it."""
    if not hasattr(os, "fork"):
        raise UserError("nobody can be graded on this system: students' code is locked in by what Linux has; use WSL")
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        os.chmod(folder, 0o711)  # a student's process may be another user
        try:
            sandbox = Sandbox(Limits(memory), Path(folder), [ROOT])
            try:
                honest = Answers("lesson_0.py", HONEST, {}, sandbox, (STARTING, STARTING))
                honest.begin()
                honest.one()
            finally:
                sandbox.close()
        except (JudgeError, StudentError) as error:
            raise UserError(f"nobody can be graded: in the sandbox, {error}") from None
        return sandbox.protection


def _say_protection(lock: dict) -> None:
    if lock["namespaces"]:
        print("protection: own file system, network and processes; limits; no privileges", file=sys.stderr)
    else:
        print(
            f"warning: no namespaces here ({lock['why']}): students' code can read this machine's files and use "
            "its network; limits and a watcher are on. See lessons/grading.md",
            file=sys.stderr,
        )
        if not lock["user"]:
            print(
                "warning: it runs as you: it can change and delete all that you can, grades too. Better stop here",
                file=sys.stderr,
            )


def _kept_or_graded(
    one: Submission, exercises: list[str], options: Options, folder: Path, judges: "Judges", basis: list[str]
) -> Result:
    kept = folder / report.file_name(one.student, f"-{_mark(one, basis)}.json")
    if options.resume and kept.exists():
        return Result(**json.loads(kept.read_text("utf-8")))
    result = grade(one, exercises, options, judges)
    if not result.failure:
        write_json(kept, dataclasses.asdict(result))
    return result


def _mark(one: Submission, basis: list[str]) -> str:
    """The key of a kept result: a hash of everything that the grade depends on."""
    return hashlib.sha256("\0".join([one.student, one.source, one.trouble, *basis]).encode()).hexdigest()[:16]


def _basis(options: Options) -> list[str]:
    """Everything that all students' grades depend on: options, laws, grader, and the sources lent to students."""
    limits = [options.timeout, options.call_timeout, options.memory, options.seed, options.lend_everything]
    exercise = ROOT / f"lessons/exercises/lesson_{options.lesson}.py"
    laws = [laws_of(options.lesson), *sorted((ROOT / "tests").glob("*.py")), ROOT / "tests/laws/conftest.py"]
    laws += [exercise, *sorted(Path(__file__).parent.glob("grading/*.py"))]
    if options.lend_everything:  # what is lent then depends on the student's imports
        lent_sources = [path.read_text("utf-8") for path in sorted(lent.PACKAGE.rglob("*.py"))]
    else:
        lent_sources = [text for item in sorted(lent.lent_to(exercise).items()) for text in item]
    texts = [path.read_text("utf-8") for path in laws if path.exists()]
    return [*map(str, limits), str(options.junit), *may_be_infinite(), *texts, *lent_sources]


def may_be_infinite() -> list[str]:
    """Functions whose answer may be infinite, by weights.toml."""
    return tomllib.loads(WEIGHTS.read_text("utf-8")).get("may_be_infinite", [])


# --- One student ---


class Judges:
    """The processes that judge now, so that they can be stopped."""

    def __init__(self):
        self.running: set[subprocess.Popen] = set()
        self.stopped, self.lock = False, threading.Lock()

    def run(self, command: list[str], environment: dict[str, str], seconds: float) -> tuple[int, str]:
        """Exit code and the last line said."""
        with self.lock:
            if self.stopped:
                raise KeyboardInterrupt
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, start_new_session=True, text=True, errors="replace", **streams
            )
            self.running.add(process)
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()  # the sandbox notices, and kills what it holds
            said, _ = process.communicate()
        finally:
            with self.lock:
                self.running.discard(process)
        return process.returncode, next(reversed(said.strip().splitlines()), "")

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.kill()


def grade(one: Submission, exercises: list[str], options: Options, judges: Judges) -> Result:
    """One student's result. A file that is not there or is no Python earns nothing, and is told why."""
    trouble = one.trouble or _syntax_error(one.source)
    if trouble:
        nothing = {name: {"state": "broken", "laws": 0, "held": 0, "told": "", "seconds": 0.0} for name in exercises}
        return Result(one.student, nothing, trouble=trouble)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
        settings = _settings(one, len(exercises), options, Path(scratch))
        command = [
            sys.executable,
            "-m",
            "pytest",
            str(laws_of(options.lesson)),
            "-p",
            "minimaskgit.grading.pytest_plugin",
        ]
        command += ["--submission", settings["submission"], "--grading", f"{scratch}/settings.json"]
        command += ["-p", "no:cacheprovider", "--timeout", "0"]
        if options.seed:
            command += ["--hypothesis-seed", str(options.seed)]
        if options.junit:
            name = report.file_name(one.student, ".xml")
            command += ["--junitxml", str(options.junit.resolve() / name), "-o", f"junit_suite_name={name[:-4]}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        code, last = judges.run(command, environment, PATIENCE * options.timeout + 120)
        try:
            told = json.loads(Path(settings["out"]).read_text("utf-8"))
        except (OSError, ValueError):
            return Result(one.student, {}, failure=f"the judge ended with {code}: {report.clean(last)}"[:300])
    seconds = round(time.monotonic() - began, 1)
    if told["trouble"]:
        return Result(one.student, {}, seconds, failure=told["trouble"])
    return Result(one.student, told["exercises"], seconds, protection=told["protection"])


def _settings(one: Submission, count: int, options: Options, scratch: Path) -> dict:
    """What the judge needs to know, in files: the student's among them, which it reads and does not run."""
    submission = scratch / f"lesson_{options.lesson}.py"
    write_text(submission, one.source)
    (scratch / "empty").mkdir()
    scratch.chmod(0o711)  # a student's process may be another user, and work in the empty folder
    (scratch / "empty").chmod(0o777)
    settings = {"submission": str(submission), "out": str(scratch / "out.json"), "folder": str(scratch / "empty")}
    settings |= {"lesson": options.lesson, "seconds": options.timeout / count, "call_seconds": options.call_timeout}
    settings |= {"memory": options.memory, "seed": options.seed, "infinite": may_be_infinite()}
    settings |= {"hidden": [str(options.submissions.resolve())], "lend_everything": options.lend_everything}
    write_json(scratch / "settings.json", settings)
    return settings


def _syntax_error(source: str) -> str:
    """Why a text is no Python, or an empty string; in a process of its own, since a parser can be made to crash."""
    program = "import ast, sys\ntry: ast.parse(sys.stdin.read())\nexcept SyntaxError as e: print(e.lineno, e.msg)"
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", program],
        input=source,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        return "no Python can read it"
    line, _, message = done.stdout.strip().partition(" ")
    return f"line {line}: SyntaxError: {report.clean(message)}" if message else ""


# --- What is left behind ---


def store(results: list[Result], weights: dict[str, float], options: Options) -> None:
    """Write what was asked for."""
    if options.csv:
        report.write_csv(options.csv, results, weights)
    if options.json:
        settings = {"lesson": options.lesson, "seed": options.seed, "protection": _protection(results)}
        report.write_details(options.json, results, weights, settings)
    if options.feedback:
        for result in results:
            page = options.feedback / report.file_name(result.student, ".md")
            write_text(page, report.feedback(result, weights, options.lesson))


def _protection(results: list[Result]) -> dict:
    return next((result.protection for result in results if result.protection), {})


if __name__ == "__main__":
    cli.run(main)
