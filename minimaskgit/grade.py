"""Grade a class: check every student's file against the laws of a lesson, in a sandbox (see lessons/grading.md).

    submissions/ ──one process per student──> laws, the functions in a sandbox ──> table, summary, CSV, JSON, feedback

The same files and seed give the same grades: a student's points depend only on the student's file.
"""

import ast
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
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
from minimaskgit.grading import lent, platforms, report, similarity, variants
from minimaskgit.grading.confinement import Limits
from minimaskgit.grading.report import Result
from minimaskgit.grading.sandbox import STARTING, Answers, JudgeError, Sandbox, StudentError
from minimaskgit.grading.submissions import Submission, anonymous, collect, named
from minimaskgit.runs.checks import checked
from minimaskgit.runs.config import between

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "lessons" / "weights.toml"

# An honest file, to try the sandbox with.
HONEST = "import numpy.random, torch\ndef one():\n    return torch.rand(9, 9).softmax(-1).sum() / 9\n"
LEFT_OUT = "has no finished result in the folder of --work; grade once without --only"
# More than a day overflows the system's clocks.
Seconds = Annotated[float, Field(gt=0, le=86_400), tyro.conf.arg(metavar="0<FLOAT<=86400")]
KEPT = ("exercises", "seconds", "trouble", "protection")  # of a result
PATIENCE = 12  # a judge that takes this many times the timeout counts as dead


@dataclass(frozen=True)
class Options:
    """What to grade, and where to write the grades."""

    submissions: Annotated[Path, tyro.conf.Positional]  # one file, or a folder or zip of files, folders or zips
    lesson: int  # number of the lesson
    variants: between(0, 2**32 - 1) | None = None  # number of the variants handed out by assignment (default: none)
    csv: Path | None = None  # CSV file for a table with one line per student (default: none)
    json: Path | None = None  # JSON file for all details, and a summary of the class (default: none)
    plot: Path | None = None  # picture of how many students solved each exercise (default: none)
    moodle: Path | None = None  # CSV file to import into Moodle as a grading worksheet (default: none)
    canvas: Path | None = None  # CSV file to import into Canvas' gradebook (default: none)
    roster: Path | None = None  # a grading worksheet or gradebook as exported, for e-mail addresses and more columns
    comments: Path | None = None  # CSV file with columns student and comment, for feedback and tables (default: none)
    similarity: Path | None = None  # CSV file of pairs of files that share code; never part of a grade (default: none)
    junit: Path | None = None  # folder for one JUnit report per student (default: none)
    feedback: Path | None = None  # folder for one Markdown page per student (default: none)
    work: Path = Path("runs/grades")  # folder for finished results, which --resume reuses
    resume: bool = False  # reuse results that an earlier run has finished with the same files and options
    only: str | None = None  # student (name, number or path) to grade anew; the others' finished results are reused
    anonymous: bool = False  # numbers instead of names, in all that is printed and written
    jobs: between(1, 1000) = 1  # students to grade in parallel
    timeout: Seconds = 60.0  # seconds for all exercises of one student; each exercise is guaranteed an equal share
    call_timeout: Seconds = 5.0  # seconds for one call of a function
    memory: between(1, 2**20) = 1024  # MB for a student's functions, in addition to Python and torch
    seed: between(0, 2**32 - 1) = 0  # seed of the examples and random numbers, the same for all students
    lend_everything: bool = False  # let files import the whole package, answers too; only to grade the grader


def main(argv: Sequence[str] | None = None) -> None:
    """Grade and report; exit code 3 if a student could not be graded, 1 if a single file lacks points."""
    options = checked(cli.parse(Options, "grade", argv=argv))
    weights = exercise_weights(options.lesson, options.variants is not None)
    check(options)
    roster = platforms.read_roster(options.roster)
    found, ignored = collect(options.submissions, options.lesson)
    if options.anonymous:
        found = anonymous(found, options.seed)
        ignored = {why: f"{number} in the folder" for why, number in Counter(ignored.values()).items()}
    only = named(found, options.only) if options.only is not None else None
    comments = read_comments(options.comments, found)
    graded = grade_all(found, list(weights), options, only)
    results = [
        dataclasses.replace(
            graded[one.student], owner=one.owner, email=roster.email(one.owner), comment=comments.get(one.student, "")
        )
        for one in found
        if one.student in graded
    ]
    lines = [*report.table(results, weights)]
    if len(results) > 1:
        lines += ["", *report.summary(results, weights)]
    ignored |= {report.visible(one.student): LEFT_OUT for one in found if one.student not in graded}
    lines += [f"ignored: {name}: {why}" for name, why in ignored.items()]
    for platform, path in {"Moodle": options.moodle, "Canvas": options.canvas}.items():
        others = [report.visible(result.student) for result in results if result.owner.platform != platform]
        if path and others:
            lines.append(f"not in {path}, without a {platform} number: {', '.join(others)}")
    try:
        store(results, weights, options, roster, ignored)
        if options.similarity:
            similarity.write_pairs(options.similarity, found, variants.handed_out(options.lesson, options.variants))
    finally:  # the grades are shown even if a file cannot be written, and written even if nobody reads on
        print("\n".join(lines))
    if any(result.failure for result in results):
        sys.exit(3)
    if len(results) == 1 and not options.submissions.is_dir() and results[0].total(weights) < sum(weights.values()):
        sys.exit(1)


def check(options: Options) -> None:
    """Before anything is graded, UserError for a file or folder that cannot be written, or options that contradict."""
    inputs = {"the submissions": options.submissions, "--roster": options.roster, "--comments": options.comments}
    outputs = ("csv", "json", "plot", "moodle", "canvas", "similarity")
    check_outputs({f"--{name}": getattr(options, name) for name in outputs}, inputs)
    if options.plot:
        from minimaskgit.figures.formats import check_formats  # here, because matplotlib takes long to import

        check_formats({"--plot": options.plot}, {})
    for name in ("junit", "feedback", "work"):
        if (folder := getattr(options, name)) is not None:
            check_output_folder(f"--{name}", folder)
            if folder.resolve().is_relative_to(options.submissions.resolve()):
                raise UserError(
                    f"--{name} {folder} lies in {options.submissions}, and would be graded as a student's next time;"
                    " choose a folder elsewhere"
                )
    if options.anonymous and (options.moodle or options.canvas or options.roster):
        raise UserError("--anonymous leaves no names for --moodle, --canvas or --roster; choose one or the other")


def read_comments(path: Path | None, found: list[Submission]) -> dict[str, str]:
    """The teacher's comments by student; UserError for a student who is not in the class."""
    if path is None:
        return {}
    columns, rows = platforms.read_csv("--comments", path)
    if not {"student", "comment"} <= set(columns):
        raise UserError(f"--comments {path} has the columns {', '.join(columns)}; expected student and comment")
    comments: dict[str, list[str]] = {}
    for row in rows:
        if not (row["student"] or row["comment"]):  # an empty line
            continue
        comments.setdefault(named(found, row["student"] or "").student, []).append(row["comment"] or "")
    return {student: "\n".join(lines) for student, lines in comments.items()}


def exercise_weights(lesson: int, with_variants: bool = False) -> dict[str, float]:
    """Points by exercise, in the order of the laws; 1 unless weights.toml has another. UserError without laws."""
    laws = laws_of(lesson)
    if not laws.exists():
        lessons = sorted(int(path.stem.removeprefix("test_lesson_")) for path in laws.parent.glob("test_lesson_*.py"))
        if not lessons:
            hint = f"in a clone of the project, run make grade-{lesson} SUBMISSIONS=FOLDER"
            raise UserError(f"cannot grade lesson {lesson}: an installed minimaskgit comes without the laws; {hint}")
        raise UserError(f"--lesson {lesson}: there are no laws for it; expected one of {', '.join(map(str, lessons))}")
    if with_variants and not variant_laws_of(lesson).exists():
        raise UserError(f"--variants: lesson {lesson} has none; leave the option out")
    given = tomllib.loads(WEIGHTS.read_text("utf-8")).get(f"lesson_{lesson}", {})
    names = [name for path in (laws, *[variant_laws_of(lesson)] * with_variants) for name in _judged(path)]
    return {name: given.get(name, 1) for name in names}


def _judged(laws: Path) -> list[str]:
    """The functions that a file of laws is about."""
    tree = ast.parse(laws.read_text("utf-8"))
    table = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "LESSON")
    return [key.value for key in table.keys]


def laws_of(lesson: int) -> Path:
    return ROOT / "tests" / "laws" / f"test_lesson_{lesson}.py"


def variant_laws_of(lesson: int) -> Path:
    return laws_of(lesson).with_name(f"test_variants_{lesson}.py")


# --- Many students ---


def grade_all(
    found: list[Submission], exercises: list[str], options: Options, only: Submission | None = None
) -> dict[str, Result]:
    """Results by student; each is saved and reported as soon as it is finished.

    only: the one student to grade; the others have the results that an earlier run has saved, or none.
    """
    folder = options.work / f"lesson_{options.lesson}"
    results: dict[str, Result] = {}
    judges, basis = Judges(), _basis(options)
    _print_protection(protection(options.memory))
    if only or options.resume:
        for one in found:
            if one != only and (kept := _kept(one, folder, basis, options)):
                results[one.student] = kept
    to_grade = [only] if only else [one for one in found if one.student not in results]
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(_graded, one, exercises, options, folder, judges, basis) for one in to_grade]
        try:
            for number, done in enumerate(as_completed(waiting), 1):
                results[done.result().student] = done.result()
                _print_progress(number, len(to_grade), done.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            judges.stop()
            raise
    return results


def _print_progress(number: int, count: int, result: Result) -> None:
    done = sum(exercise["state"] == "done" for exercise in result.exercises.values())
    what = report.visible(result.failure or result.trouble) or f"{done} of {len(result.exercises)} exercises done"
    print(f"[{number}/{count}] {report.visible(result.student)}: {what}", file=sys.stderr, flush=True)


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


def _graded(
    one: Submission, exercises: list[str], options: Options, folder: Path, judges: "Judges", basis: list[str]
) -> Result:
    result = grade(one, exercises, options, judges)
    if not result.failure:
        write_json(folder / _mark(one, basis), {name: getattr(result, name) for name in KEPT})
    return result


def _kept(one: Submission, folder: Path, basis: list[str], options: Options) -> Result | None:
    """The result that an earlier run has saved for the same file, if there is one."""
    kept = folder / _mark(one, basis)
    is_whole = not options.junit or junit_of(one, options).exists()
    return Result(one.student, **json.loads(kept.read_text("utf-8"))) if is_whole and kept.exists() else None


def _mark(one: Submission, basis: list[str]) -> str:
    """The name of a kept result: a hash of everything that the grade depends on, which the student's name is not."""
    text = "\0".join([one.source, one.trouble, *basis])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24] + ".json"


def _basis(options: Options) -> list[str]:
    """Everything that all students' grades depend on: options, laws, grader, and the sources lent to students."""
    limits = [options.timeout, options.call_timeout, options.memory, options.seed, options.lend_everything]
    limits += [options.variants, variants.handed_out(options.lesson, options.variants)]
    exercise = variants.exercise_of(options.lesson)
    laws = [laws_of(options.lesson), *sorted((ROOT / "tests").glob("*.py")), ROOT / "tests/laws/conftest.py"]
    laws += [variant_laws_of(options.lesson)]
    laws += [exercise, *sorted(Path(__file__).parent.glob("grading/*.py"))]
    if options.lend_everything:  # what is lent then depends on the student's imports
        lent_sources = [path.read_text("utf-8") for path in sorted(lent.PACKAGE.rglob("*.py"))]
    else:
        lent_sources = [text for item in sorted(lent.lent_to(exercise).items()) for text in item]
    texts = [path.read_text("utf-8") for path in laws if path.exists()]
    return [*map(str, limits), *may_be_infinite(), *texts, *lent_sources]


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
    if one.trouble:
        if options.junit:
            report.write_junit(junit_of(one, options), one.student, one.trouble)
        nothing = {"state": "not written", "laws": 0, "held": 0, "told": "", "law": "", "seconds": 0.0}
        return Result(one.student, dict.fromkeys(exercises, nothing), trouble=one.trouble)
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
        if options.variants is not None:
            command += [str(variant_laws_of(options.lesson)), "--variants", str(options.variants)]
        if options.seed:
            command += ["--hypothesis-seed", str(options.seed)]
        if options.junit:
            path = junit_of(one, options)
            command += ["--junitxml", str(path.resolve()), "-o", f"junit_suite_name={path.stem}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        code, last = judges.run(command, environment, PATIENCE * options.timeout + 120)
        if options.junit and path.exists():  # the teacher's machine is nobody's business
            write_text(path, re.sub(r' hostname="[^"]*"', "", path.read_text("utf-8")))
        try:
            verdict = json.loads(Path(settings["out"]).read_text("utf-8"))
        except (OSError, ValueError):
            return Result(one.student, {}, failure=f"the judge ended with {code}: {report.visible(last)}"[:300])
    seconds = round(time.monotonic() - start_time, 1)
    if verdict["failure"]:
        return Result(one.student, {}, seconds, failure=verdict["failure"])
    return Result(one.student, verdict["exercises"], seconds, verdict["trouble"], protection=verdict["protection"])


def junit_of(one: Submission, options: Options) -> Path:
    return options.junit / report.file_name(one.student, ".xml")


def _settings(one: Submission, count: int, options: Options, scratch: Path) -> dict:
    """The judge's settings, also written to files beside the student's file, which the judge reads but never runs."""
    submission = scratch / f"lesson_{options.lesson}.py"
    write_text(submission, one.source)
    (scratch / "empty").mkdir()
    scratch.chmod(0o711)  # a student's process may be another user, and work in the empty folder
    (scratch / "empty").chmod(0o777)
    settings = {"submission": str(submission), "out": str(scratch / "out.json"), "folder": str(scratch / "empty")}
    settings |= {"lesson": options.lesson, "seconds": options.timeout / count, "call_seconds": options.call_timeout}
    settings |= {"all_seconds": options.timeout}
    settings |= {"memory": options.memory, "seed": options.seed, "infinite": may_be_infinite()}
    settings |= {"hidden": [str(options.submissions.resolve())], "lend_everything": options.lend_everything}
    write_json(scratch / "settings.json", settings)
    return settings


# --- Output ---


def store(
    results: list[Result],
    weights: dict[str, float],
    options: Options,
    roster: platforms.Roster,
    ignored: dict[str, str],
) -> None:
    """Write the files that the options ask for."""
    if options.csv:
        report.write_csv(options.csv, results, weights)
    if options.json:
        settings = {"lesson": options.lesson, "variants": options.variants, "seed": options.seed}
        settings |= {"protection": _protection(results)}
        report.write_details(options.json, results, weights, settings | {"ignored": ignored})
    if options.moodle:
        write_text(options.moodle, platforms.moodle_table(results, weights, roster))
    if options.canvas:
        write_text(options.canvas, platforms.canvas_table(results, weights, roster, options.lesson))
    if options.plot:
        from minimaskgit.figures.formats import save_picture
        from minimaskgit.figures.plots import stacked

        save_picture(stacked(report.shares(results, weights), "students", f"Lesson {options.lesson}"), options.plot)
    if options.feedback:
        for result in results:
            page = options.feedback / report.file_name(result.student, ".md")
            write_text(page, report.feedback(result, weights, options.lesson))


def _protection(results: list[Result]) -> dict:
    return next((result.protection for result in results if result.protection), {})


if __name__ == "__main__":
    cli.run(main)
