"""What teachers and students read: a table, CSV, JSON, and a page of feedback per student.

results ──> table on screen, grades.csv, grades.json, DIR/Ada.md
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minimaskgit.common.files import write_json, write_text
from minimaskgit.common.tables import text_table
from minimaskgit.grading.sandbox import clean

GRADES = {"done": "done", "broken": "BROKEN", "not written": "not written"}


@dataclass(frozen=True)
class Result:
    """One student's result: the state of each exercise and an explanation, or the reason why there is none."""

    student: str
    exercises: dict[str, dict]
    seconds: float = 0.0
    trouble: str = ""  # a missing or unreadable file: 0 points
    failure: str = ""  # the grader itself failed: no grade
    protection: dict = field(default_factory=dict)

    def points(self, weights: dict[str, float]) -> dict[str, float]:
        done = {name: self.exercises.get(name, {}).get("state") == "done" for name in weights}
        return {name: weight * done[name] for name, weight in weights.items()}

    def total(self, weights: dict[str, float]) -> float:
        return sum(self.points(weights).values())


def table(results: list[Result], weights: dict[str, float]) -> Iterator[str]:
    """Lines of text: the exercises with numbers, then one line of points per student."""
    best = sum(weights.values())
    for number, name in enumerate(weights, 1):
        yield f"  {number:>2} {name} ({weights[name]:g})"
    heads = ["student", *map(str, range(1, len(weights) + 1)), "total", "time", ""]
    rows = []
    for result in results:
        cells = [*(f"{points:g}" for points in result.points(weights).values()), f"{result.total(weights):g}/{best:g}"]
        cells += [f"{result.seconds:.0f} s", result.trouble]
        if result.failure:
            cells = [*[""] * (len(cells) - 1), f"NOT GRADED: {result.failure}"]
        rows.append([clean(result.student), *cells])
    yield from text_table(heads, rows, left=(0, len(heads) - 1)).splitlines()


def write_csv(path: Path, results: list[Result], weights: dict[str, float]) -> None:
    """Write one line per student, without times, so that grading again writes the same file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", *weights, "total", "of", "remark"])
    for result in results:
        cells = ["" if result.failure else f"{points:g}" for points in result.points(weights).values()]
        total = "" if result.failure else f"{result.total(weights):g}"
        remark = f"not graded: {result.failure}" if result.failure else result.trouble
        writer.writerow([_cell(result.student), *cells, total, f"{sum(weights.values()):g}", _cell(remark)])
    write_text(path, text.getvalue())


def _cell(text: str) -> str:
    """Text for a cell; quoted if it starts like a formula, which a spreadsheet would compute."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else clean(text)


def write_details(path: Path, results: list[Result], weights: dict[str, float], settings: dict) -> None:
    students = [
        {
            "student": result.student,
            "total": None if result.failure else result.total(weights),
            "points": result.points(weights),
            "exercises": result.exercises,
            "trouble": result.trouble,
            "failure": result.failure,
            "seconds": result.seconds,
        }
        for result in results
    ]
    write_json(path, {**settings, "weights": weights, "students": students})


def file_name(student: str, suffix: str) -> str:
    """A safe file name for a student, without folders."""
    safe = re.sub(r"[^\w .()-]", "_", student).strip(" .")[:100] or "student"
    if safe != student:  # another student's name may result in the same
        safe += f"-{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    return safe + suffix


def feedback(result: Result, weights: dict[str, float], lesson: int) -> str:
    """A student's page: points per exercise, and for broken ones the law and the smallest input that breaks it."""
    best = sum(weights.values())
    lines = [f"# Lesson {lesson}: {_plain(result.student)}", ""]
    if result.failure:
        return "\n".join([*lines, "Not graded yet: the grader itself failed. This is not your mistake.", ""])
    lines += [f"**{result.total(weights):g} of {best:g} points.**", ""]
    if result.trouble:
        lines += [f"Your file could not be graded: {_plain(result.trouble)}", ""]
    lines += ["| exercise | points | |", "| --- | --- | --- |"]
    for name, points in result.points(weights).items():
        state = GRADES[result.exercises.get(name, {}).get("state", "not written")]
        lines.append(f"| `{name}` | {points:g} of {weights[name]:g} | {state} |")
    for name in weights:
        explanation = result.exercises.get(name, {}).get("told", "")
        if explanation and result.exercises[name]["state"] == "broken":
            lines += ["", f"## `{name}`", "", *(f"    {_visible(line)}" for line in explanation.splitlines())]
    lines += ["", f"`make check-{lesson}` prints the same on your machine.", ""]
    return "\n".join(lines)


def _visible(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _plain(text: str) -> str:
    """Text with Markdown's special characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", clean(text))
