"""The tables of grades that learning platforms read.

results, roster ──> a grading worksheet (Moodle) or a gradebook (Canvas) to import, with the roster's own columns
"""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minimaskgit.common.errors import UserError
from minimaskgit.grading.report import Result, written_csv
from minimaskgit.grading.submissions import Owner, Submission, named

# The columns that the platforms ask for, and the column of the platform's number for a student.
WORKSHEET = ["Identifier", "Full name", "Email address", "Grade", "Maximum Grade", "Last modified (grade)"]
WORKSHEET += ["Feedback comments"]
GRADEBOOK = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
EMAIL = ("Email address", "SIS Login ID", "Email")


@dataclass(frozen=True)
class Roster:
    """A platform's list of students: a row of cells by column for each, by platform and number."""

    columns: list[str]
    rows: dict[tuple[str, str], dict[str, str]]

    def email(self, one: Owner) -> str:
        row = self.rows.get((one.platform, one.id), {})
        return next((row[column] for column in EMAIL if "@" in (row.get(column) or "")), "")


def read_roster(path: Path | None) -> Roster:
    """Read a grading worksheet of Moodle or a gradebook of Canvas; UserError for anything else."""
    if path is None:
        return Roster([], {})
    columns, rows = read_csv("--roster", path)
    for platform, column in (("Moodle", WORKSHEET[0]), ("Canvas", GRADEBOOK[1])):
        if column in columns:
            numbered = ((re.search(r"\d+$", row[column] or ""), row) for row in rows)
            return Roster(columns, {(platform, found[0]): row for found, row in numbered if found})
    raise UserError(f"--roster {path} has neither a column Identifier (Moodle's worksheet) nor ID (Canvas' gradebook)")


def read_csv(option: str, path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a CSV file; UserError if it is none."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""))
        return list(reader.fieldnames or ()), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{option} {path} cannot be read as CSV in UTF-8: {error}") from None


def read_comments(path: Path | None, found: list[Submission]) -> dict[str, str]:
    """The teacher's comments by student; UserError for a student who is not in the class."""
    if path is None:
        return {}
    columns, rows = read_csv("--comments", path)
    if not {"student", "comment"} <= set(columns):
        raise UserError(f"--comments {path} has the columns {', '.join(columns)}; expected student and comment")
    comments: dict[str, list[str]] = {}
    for row in rows:
        if not (row["student"] or row["comment"]):  # an empty line
            continue
        comments.setdefault(named(found, row["student"] or "").student, []).append(row["comment"] or "")
    return {student: "\n".join(lines) for student, lines in comments.items()}


def moodle_table(results: Iterable[Result], weights: dict[str, float], roster: Roster) -> str:
    """Moodle's grading worksheet for those who have a grade, so that an import changes nobody else."""
    rows = []
    for result in _of("Moodle", results):
        row = {"Identifier": f"Participant {result.owner.id}", "Full name": result.owner.name}
        row |= {"Maximum Grade": f"{sum(weights.values()):g}", "Last modified (grade)": "-"}
        row |= roster.rows.get(("Moodle", result.owner.id), {})
        rows.append(row | {"Grade": f"{result.total(weights):g}", "Feedback comments": result.said})
    return written_csv([*roster.columns, *(name for name in WORKSHEET if name not in roster.columns)], rows)


def canvas_table(results: Iterable[Result], weights: dict[str, float], roster: Roster, lesson: int) -> str:
    """Canvas' gradebook with one assignment: the roster's column that begins with "Lesson N", or a new one."""
    named = (column for column in roster.columns if re.match(rf"lesson[ _]?{lesson}\b", column, re.IGNORECASE))
    grade = next(named, f"Lesson {lesson}")
    rows = [{"Student": "    Points Possible", grade: f"{sum(weights.values()):g}"}]
    for result in _of("Canvas", results):
        row = {"Student": result.owner.name, "ID": result.owner.id}
        row |= roster.rows.get(("Canvas", result.owner.id), {})
        rows.append(row | {grade: f"{result.total(weights):g}"})
    return written_csv([*GRADEBOOK, grade], rows)


def _of(platform: str, results: Iterable[Result]) -> list[Result]:
    return [one for one in results if one.owner.platform == platform and not one.failure]
