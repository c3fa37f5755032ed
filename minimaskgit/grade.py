"""Grade a class: check every student's file against the laws of a lesson, in a sandbox (see lessons/grading.md).

    submissions/ ──one process per student──> laws, the functions in a sandbox ──> table, CSV, JSON, JUnit, feedback

The same files and seed give the same grades: a student's points depend only on the student's file.
"""

import ast
import dataclasses
import hashlib
import json
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
from pydantic import Field

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import check_output_folder, check_outputs, write_json, write_text
from minimaskgit.grading import lent, report
from minimaskgit.grading.confinement import Limits
from minimaskgit.grading.report import Result
from minimaskgit.grading.sandbox import STARTING, Answers, JudgeError, Sandbox, StudentError
from minimaskgit.grading.submissions import Submission, collect
from minimaskgit.runs.checks import checked
from minimaskgit.runs.config import between

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "lessons" / "weights.toml"

# An honest file, to try the sandbox with.
HONEST = "import numpy.random, torch\ndef one():\n    return torch.rand(9, 9).softmax(-1).sum() / 9\n"
# More than a day overflows the system's clocks.
Seconds = Annotated[float, Field(gt=0, le=86_400), tyro.conf.arg(metavar="0<FLOAT<=86400")]
PATIENCE = 12  # a judge that takes this many times the timeout counts as dead


@dataclass(frozen=True)
class Options:
    """What to grade, and where to write the grades."""

    submissions: Annotated[Path, tyro.conf.Positional]  # one file, or a folder or zip of files, folders or zips
    lesson: int  # number of the lesson
    csv: Path | None = None  # CSV file for a table with one line per student (default: none)
    json: Path | None = None  # JSON file for all details (default: none)
    junit: Path | None = None  # folder for one JUnit report per student (default: none)
    feedback: Path | None = None  # folder for one Markdown page per student (default: none)
    work: Path = Path("runs/grades")  # folder for finished results, which --resume reuses
    resume: bool = False  # reuse results that an earlier run has finished with the same files and options
    jobs: between(1, 1000) = 1  # students to grade in parallel
    timeout: Seconds = 60.0  # seconds for all exercises of one student; each exercise is guaranteed an equal share
    call_timeout: Seconds = 5.0  # seconds for one call of a function
    memory: between(1, 2**20) = 1024  # MB for a student's functions, in addition to Python and torch
    seed: between(0, 2**32 - 1) = 0  # seed of the examples and random numbers, the same for all students
    lend_everything: bool = False  # let files import the whole package, answers too; only to grade the grader


def main(argv: Sequence[str] | None = None) -> None:
    """Grade and report; exit code 3 if a student could not be graded, 1 if a single file lacks points."""
    options = checked(cli.parse(Options, "grade", argv=argv))
    weights = exercise_weights(options.lesson)
    check(options)
    found = collect(options.submissions, options.lesson)
    results = grade_all(found, list(weights), options)
    print("\n".join(report.table(results, weights)))
    store(results, weights, options)
    if any(result.failure for result in results):
        sys.exit(3)
    if len(results) == 1 and not options.submissions.is_dir() and results[0].total(weights) < sum(weights.values()):
        sys.exit(1)


def check(options: Options) -> None:
    """Before anything is graded, UserError for a file or folder that cannot be written."""
    submissions = {"the submissions": options.submissions}
    check_outputs({"--csv": options.csv, "--json": options.json}, submissions)
    for name in ("junit", "feedback", "work"):
        if (folder := getattr(options, name)) is not None:
            check_output_folder(f"--{name}", folder)


def exercise_weights(lesson: int) -> dict[str, float]:
    """Points by exercise, in the order of the laws; 1 unless weights.toml has another. UserError without laws."""
    laws = laws_of(lesson)
    if not laws.exists():
        lessons = sorted(int(path.stem.removeprefix("test_lesson_")) for path in laws.parent.glob("test_lesson_*.py"))
        if not lessons:
            hint = f"in a clone of the project, run make grade-{lesson} SUBMISSIONS=FOLDER"
            raise UserError(f"cannot grade lesson {lesson}: an installed minimaskgit comes without the laws; {hint}")
        raise UserError(f"--lesson {lesson}: there are no laws for it; expected one of {', '.join(map(str, lessons))}")
    tree = ast.parse(laws.read_text("utf-8"))
    table = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "LESSON")
    given = tomllib.loads(WEIGHTS.read_text("utf-8")).get(f"lesson_{lesson}", {})
    return {key.value: given.get(key.value, 1) for key in table.keys}


def laws_of(lesson: int) -> Path:
    return ROOT / "tests" / "laws" / f"test_lesson_{lesson}.py"


# --- Many students ---


def grade_all(found: list[Submission], exercises: list[str], options: Options) -> list[Result]:
    """Results in the order of the students; each is saved and reported as soon as it is finished."""
    folder = options.work / f"lesson_{options.lesson}"
    results: dict[str, Result] = {}
    judges, basis = Judges(), _basis(options)
    _print_protection(protection(options.memory))
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {pool.submit(_kept_or_graded, one, exercises, options, folder, judges, basis): one for one in found}
        try:
            for done in as_completed(waiting):
                one, result = waiting[done], done.result()
                results[one.student] = result
                _print_progress(len(results), len(found), result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            judges.stop()
            raise
    return [results[one.student] for one in found]


def _print_progress(number: int, count: int, result: Result) -> None:
    done = sum(exercise["state"] == "done" for exercise in result.exercises.values())
    what = result.failure or result.trouble or f"{done} of {len(result.exercises)} exercises done"
    print(f"[{number}/{count}] {report.clean(result.student)}: {what}", file=sys.stderr, flush=True)


def protection(memory: int) -> dict:
    """Which protection works on this machine, tried before any student's code runs; UserError if none can be graded."""
    if not hasattr(os, "fork"):
        raise UserError(
            "nobody can be graded on this system: students' code runs in forks, which Windows lacks; use WSL"
        )
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        os.chmod(folder, 0o711)  # a student's process may run as another user
        try:
            sandbox = Sandbox(Limits(memory), Path(folder), [ROOT])
            try:
                honest = Answers("lesson_0.py", HONEST, {}, sandbox, (STARTING, STARTING))
                honest.begin()
                honest.one()
            finally:
                sandbox.close()
        except (JudgeError, StudentError) as error:
            raise UserError(f"nobody can be graded: the sandbox failed to run a test function: {error}") from None
        return sandbox.protection


def _print_protection(lock: dict) -> None:
    if lock["namespaces"]:
        print("protection: separate file system, network and processes; limits; no privileges", file=sys.stderr)
    else:
        print(
            f"warning: no namespaces here ({lock['why']}): students' code can read this machine's files and use "
            "its network; limits and a watcher are active. See lessons/grading.md",
            file=sys.stderr,
        )
        if not lock["user"]:
            print(
                "warning: it runs as you: it can change and delete all your files, grades included. Better stop here",
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
    text = "\0".join([one.student, one.source, one.trouble, *basis])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]  # names of files may not be UTF-8


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
    """The running judge processes, so that they can be stopped."""

    def __init__(self):
        self.running: set[subprocess.Popen] = set()
        self.stopped, self.lock = False, threading.Lock()

    def run(self, command: list[str], environment: dict[str, str], seconds: float) -> tuple[int, str]:
        """Run a judge; returns its exit code and its last line of output."""
        with self.lock:
            if self.stopped:
                raise KeyboardInterrupt
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, start_new_session=True, text=True, errors="replace", **streams
            )
            self.running.add(process)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()  # the sandbox notices, and kills the student's processes
            output, _ = process.communicate()
        finally:
            with self.lock:
                self.running.discard(process)
        return process.returncode, next(reversed(output.strip().splitlines()), "")

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.kill()


def grade(one: Submission, exercises: list[str], options: Options, judges: Judges) -> Result:
    """One student's result; a file that is missing or is not Python earns no points, and the result says why."""
    trouble = one.trouble or _syntax_error(one.source)
    if trouble:
        nothing = {name: {"state": "broken", "laws": 0, "held": 0, "told": "", "seconds": 0.0} for name in exercises}
        return Result(one.student, nothing, trouble=trouble)
    start_time = time.monotonic()
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
            verdict = json.loads(Path(settings["out"]).read_text("utf-8"))
        except (OSError, ValueError):
            return Result(one.student, {}, failure=f"the judge ended with {code}: {report.clean(last)}"[:300])
    seconds = round(time.monotonic() - start_time, 1)
    if verdict["trouble"]:
        return Result(one.student, {}, seconds, failure=verdict["trouble"])
    return Result(one.student, verdict["exercises"], seconds, protection=verdict["protection"])


def _settings(one: Submission, count: int, options: Options, scratch: Path) -> dict:
    """The judge's settings, also written to files beside the student's file, which the judge reads but never runs."""
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
    """Why a text is not Python, or an empty string; in a separate process, because a file can crash the parser."""
    program = "import ast, sys\ntry: ast.parse(sys.stdin.read())\nexcept SyntaxError as e: print(e.lineno, e.msg)"
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", program],
        input=source,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        return "Python cannot parse it"
    line, _, message = done.stdout.strip().partition(" ")
    return f"line {line}: SyntaxError: {report.clean(message)}" if message else ""


# --- Output ---


def store(results: list[Result], weights: dict[str, float], options: Options) -> None:
    """Write the files that the options ask for."""
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
