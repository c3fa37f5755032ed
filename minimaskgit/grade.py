"""Grade a class: check every student's file against the laws of a lesson, in a sandbox (see lessons/grading.md).

    submissions/ ──one process per student──> laws, the functions in a sandbox ──> table, summary, CSV, JSON, feedback

The same files and seed give the same grades: a student's points depend only on the student's file.
"""

import dataclasses
import hashlib
import json
import os
import re
import sys
import tempfile
import time
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
from minimaskgit.common.files import write_json, write_text
from minimaskgit.grading import lent, platforms, report, similarity, variants
from minimaskgit.grading.judges import Judges, protection
from minimaskgit.grading.laws import ROOT, exercise_weights, laws_of, may_be_infinite
from minimaskgit.grading.report import Result
from minimaskgit.grading.submissions import Submission, anonymous, collect, named
from minimaskgit.grading.texts import read_answer
from minimaskgit.runs.checks import check_output_folder, check_outputs, checked
from minimaskgit.runs.config import between

LEFT_OUT = "has no finished result in the folder of --work; grade once without --only"
OF_THE_CLASS = ("csv", "json", "plot", "moodle", "canvas")  # files with all students
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
    comments = platforms.read_comments(options.comments, found)
    graded = grade_all(found, list(weights), options, only)
    results = [
        dataclasses.replace(
            graded[one.student],
            owner=one.owner,
            note=one.note,
            email=roster.email(one.owner),
            comment=comments.get(one.student, ""),
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
            given = [variants.handed_out(options.lesson, options.variants)]
            given += map(read_answer, variants.LESSONS.glob(f"{options.lesson}_*.ipynb"))
            similarity.write_pairs(options.similarity, found, given)
    finally:  # the grades are shown even if a file cannot be written, and written even if nobody reads on
        print("\n".join(lines))
    if any(result.failure for result in results):
        sys.exit(3)
    if len(results) == 1 and not options.submissions.is_dir() and results[0].total(weights) < sum(weights.values()):
        sys.exit(1)


def check(options: Options) -> None:
    """Before anything is graded, UserError for a file or folder that cannot be written, or options that contradict."""
    inputs = {"the submissions": options.submissions, "--roster": options.roster, "--comments": options.comments}
    outputs = (*OF_THE_CLASS, "similarity")
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


def _check_no_tables(options: Options, left_out: list[str]) -> None:
    """UserError if a table of the class would be replaced by one that lacks students."""
    if asked := [f"--{name}" for name in OF_THE_CLASS if getattr(options, name)]:
        names = ", ".join(left_out[:5]) + ", ..." * (len(left_out) > 5)
        raise UserError(
            f"{', '.join(asked)} would lack {names}, without a finished result for these options in {options.work};"
            f" grade once without --only, or leave out {' and '.join(asked)}"
        )


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
    if only or options.resume:
        for one in found:
            if one != only and (kept := _kept(one, folder, basis, options)):
                results[one.student] = kept
    to_grade = [one for one in found if one.student not in results]
    if only and (left_out := [report.visible(one.student) for one in to_grade if one != only]):
        _check_no_tables(options, left_out)
        to_grade = [only]
    _print_protection(protection(options.memory))
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


def _print_protection(lock: dict) -> None:
    lines = ["protection: separate file system, network and processes; limits; no privileges"]
    if not lock["namespaces"]:
        can = "students' code can read this machine's files and use its network; limits and a watcher are active"
        lines = [f"warning: no namespaces here ({lock['why']}): {can}. See lessons/grading.md"]
        if not lock["user"]:
            alas = "it can change and delete all your files, grades included. Better stop here"
            lines.append(f"warning: it runs as you: {alas}")
    print(*lines, sep="\n", file=sys.stderr)


def _graded(
    one: Submission, exercises: list[str], options: Options, folder: Path, judges: Judges, basis: list[str]
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
    """Everything that all students' grades depend on: options, laws and package."""
    limits = [options.timeout, options.call_timeout, options.memory, options.seed, options.lend_everything]
    limits += [options.variants, variants.handed_out(options.lesson, options.variants)]
    exercise, tests = variants.exercise_of(options.lesson), ROOT / "tests"
    files = [exercise, *laws_of(options.lesson, True), tests / "laws/conftest.py", *sorted(tests.glob("*.py"))]
    files += sorted(lent.PACKAGE.rglob("*.py"))  # the grader, what laws call, and what students are lent
    return [*map(str, limits), *may_be_infinite(), *(path.read_text("utf-8") for path in files if path.exists())]


# --- One student ---


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
        command = [sys.executable, "-m", "pytest", *map(str, laws_of(options.lesson, options.variants is not None))]
        command += ["-p", "minimaskgit.grading.pytest_plugin", "-p", "no:cacheprovider", "--timeout", "0"]
        command += ["--submission", settings["submission"], "--grading", f"{scratch}/settings.json"]
        if options.variants is not None:
            command += ["--variants", str(options.variants)]
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
    settings |= {"seconds": options.timeout / count, "call_seconds": options.call_timeout, "memory": options.memory}
    settings |= {"all_seconds": options.timeout, "lesson": options.lesson, "lend_everything": options.lend_everything}
    settings |= {"seed": options.seed, "infinite": may_be_infinite(), "hidden": str(options.submissions.resolve())}
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
        settings |= {"protection": next((one.protection for one in results if one.protection), {})}
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


if __name__ == "__main__":
    cli.run(main)
