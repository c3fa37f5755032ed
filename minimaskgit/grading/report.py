"""What teachers and students read: a table, a summary of the class, CSV, JSON, JUnit, a page of feedback per student.

results ──> table and summary on screen, grades.csv, grades.json, DIR/Ada.md
"""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize
from xml.etree import ElementTree

from minimaskgit.common.files import write_json, write_text
from minimaskgit.common.tables import text_table
from minimaskgit.grading.sandbox import visible
from minimaskgit.grading.submissions import NOBODY, Owner

GRADES = {"done": "done", "broken": "BROKEN", "not written": "not written"}
BOM = "\ufeff"  # without it, Excel on Windows does not read UTF-8
WORST = 5  # laws in the summary


@dataclass(frozen=True)
class Result:
    """One student's result: the state of each exercise and an explanation, or the reason why there is none."""

    student: str
    exercises: dict[str, dict]
    seconds: float = 0.0
    trouble: str = ""  # a missing or unreadable file: 0 points
    failure: str = ""  # the grader itself failed: no grade
    protection: dict = field(default_factory=dict)
    owner: Owner = NOBODY
    note: str = ""  # what else a teacher should know of what was handed in
    email: str = ""
    comment: str = ""  # the teacher's

    def state(self, exercise: str) -> str:
        return self.exercises.get(exercise, {}).get("state", "not written")

    def points(self, weights: dict[str, float]) -> dict[str, float]:
        return {name: weight * (self.state(name) == "done") for name, weight in weights.items()}

    def total(self, weights: dict[str, float]) -> float:
        return sum(self.points(weights).values())

    @property
    def remark(self) -> str:
        """Why points are missing, and the note, in one line."""
        if self.failure or self.trouble:
            why = [f"not graded: {self.failure}" if self.failure else self.trouble]
        else:
            lacking = {state: [name for name in self.exercises if self.state(name) == state] for state in GRADES}
            why = [f"{state}: {', '.join(names)}" for state, names in lacking.items() if names and state != "done"]
        return "; ".join([*why, *filter(None, [self.note])])

    @property
    def said(self) -> str:
        """The teacher's comment, and why points are missing."""
        return ". ".join(filter(None, (" ".join(self.comment.split()).rstrip("."), self.remark)))


def table(results: list[Result], weights: dict[str, float]) -> Iterator[str]:
    """Lines of text: the exercises with numbers, then one line per student: points, and - where nothing is written."""
    best = sum(weights.values())
    for number, name in enumerate(weights, 1):
        yield f"  {number:>2} {name} ({weights[name]:g})"
    heads = ["student", *map(str, range(1, len(weights) + 1)), "total", "time", ""]
    rows = []
    for result in results:
        points = result.points(weights).items()
        cells = ["-" if result.state(name) == "not written" else f"{worth:g}" for name, worth in points]
        cells += [f"{result.total(weights):g}/{best:g}", f"{result.seconds:.0f} s"]
        cells += [visible("; ".join(filter(None, [result.trouble, result.note])))]
        if result.failure:
            cells = [*[""] * (len(cells) - 1), f"NOT GRADED: {visible(result.failure)}"]
        rows.append([visible(result.student), *cells])
    yield from text_table(heads, rows, left=(0, len(heads) - 1)).splitlines()


def shares(results: Iterable[Result], weights: dict[str, float]) -> dict[str, dict[str, int]]:
    """How many students have each exercise done, broken or not written."""
    graded = [result for result in results if not result.failure]
    return {name: {state: sum(one.state(name) == state for one in graded) for state in GRADES} for name in weights}


def worst_laws(results: Iterable[Result]) -> list[tuple[str, str, int]]:
    """The laws that break for most students: exercise, law, count. Of an exercise only the first broken law counts."""
    judged = [(name, found) for one in results if not one.trouble for name, found in one.exercises.items()]
    broken = Counter((name, found["law"]) for name, found in judged if found["state"] == "broken" and found.get("law"))
    return [(*which, count) for which, count in sorted(broken.items(), key=lambda item: (-item[1], item[0]))]


def summary(results: list[Result], weights: dict[str, float]) -> Iterator[str]:
    """Lines of text: who solved each exercise, hardest first, and the laws that break most often."""
    rows = sorted(shares(results, weights).items(), key=lambda row: row[1]["done"])
    count = sum(not result.failure for result in results)
    numbers = ((name, f"{of['done'] / max(count, 1):.0%}", *of.values()) for name, of in rows)
    yield from text_table([f"{count} students", "solved", "done", "broken", "not written"], list(numbers)).splitlines()
    for exercise, law, often in worst_laws(results)[:WORST]:
        yield f"broken {often} {'time' if often == 1 else 'times'}: {exercise}: {law}"


# --- Files ---


def write_csv(path: Path, results: list[Result], weights: dict[str, float]) -> None:
    """Write one line per student, without times, so that grading again writes the same file."""
    rows = []
    for result in results:
        row = {"student": result.student, "id": result.owner.id or result.owner.entry, "email": result.email}
        if not result.failure:
            row |= {name: f"{points:g}" for name, points in result.points(weights).items()}
            row |= {"total": f"{result.total(weights):g}"}
        row |= {
            "of": f"{sum(weights.values()):g}",
            "remark": result.remark,
            "comment": " ".join(result.comment.split()),
        }
        rows.append(row)
    columns = ["student", "id", "email", *weights, "total", "of", "remark", "comment"]
    write_text(path, BOM + written_csv(columns, rows))


def written_csv(columns: list[str], rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(str(row.get(name) or "")) for name in columns} for row in rows)
    return text.getvalue()


def _cell(text: str) -> str:
    """Text for a cell; quoted if it starts like a formula, which a spreadsheet would compute."""
    starts = normalize("NFKC", text.strip())[:1]  # a full-width equals sign counts too
    return f"'{visible(text)}" if starts and starts in "=+-@" and text != "-" else visible(text)


def write_details(path: Path, results: list[Result], weights: dict[str, float], settings: dict) -> None:
    students = [
        {
            "student": result.student,
            "id": result.owner.id or result.owner.entry,
            "email": result.email,
            "total": None if result.failure else result.total(weights),
            "points": None if result.failure else result.points(weights),
            "exercises": result.exercises,
            "trouble": result.trouble,
            "failure": result.failure,
            "note": result.note,
            "comment": result.comment,
            "seconds": result.seconds,
        }
        for result in results
    ]
    whole = {"solved": shares(results, weights), "broken_laws": worst_laws(results)}
    write_json(path, {**settings, "weights": weights, "summary": whole, "students": students})


def write_junit(path: Path, student: str, trouble: str) -> None:
    """A JUnit report of a student who has no file to judge: one error."""
    name = visible(student)
    suite = ElementTree.Element("testsuite", name=name, tests="1", errors="1", failures="0", skipped="0")
    case = ElementTree.SubElement(suite, "testcase", classname=name, name="submission")
    ElementTree.SubElement(case, "error", message=visible(trouble))
    whole = ElementTree.Element("testsuites")
    whole.append(suite)
    write_text(path, ElementTree.tostring(whole, "unicode"))


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
    if result.note:
        lines += [f"Note: {_plain(result.note)}.", ""]
    if result.comment:
        lines += [*(f"> {visible(line)}" for line in result.comment.splitlines()), ""]
    lines += ["| exercise | points | |", "| --- | --- | --- |"]
    for name, points in result.points(weights).items():
        lines.append(f"| `{name}` | {points:g} of {weights[name]:g} | {GRADES[result.state(name)]} |")
    for name in weights:
        explanation = result.exercises.get(name, {}).get("told", "")
        if explanation and result.state(name) == "broken" and not result.trouble:
            lines += ["", f"## `{name}`", "", *(f"    {visible(line)}" for line in explanation.splitlines())]
    lines += ["", f"`make check-{lesson} FILE=lesson_{lesson}.py` checks the same laws on your machine.", ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text with Markdown's special characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", visible(text))
