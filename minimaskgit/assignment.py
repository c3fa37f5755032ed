"""Write the file that a class gets: a lesson's exercises, and variants drawn by a number of the teacher's.

    python -m minimaskgit.assignment --lesson 5 --variants 7 ──> runs/assignments/lesson_5.py

Grade it with the same number (lessons/grading.md). Another number asks for something else, so that answers cannot be
handed down from one class to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_text
from minimaskgit.grading import variants
from minimaskgit.runs.checks import check_output_folder, checked
from minimaskgit.runs.config import between


@dataclass(frozen=True)
class Options:
    """Which lesson, which variants, and where to write the file."""

    lesson: int  # number of the lesson
    variants: between(0, 2**32 - 1)  # a number that chooses the variants; grade with the same one
    out: Path = Path("runs/assignments")  # folder for the file that students get, lesson_N.py


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file; UserError for a lesson without variants, or where a file with other content would be lost."""
    options = checked(cli.parse(Options, "assignment", argv=argv))
    if not variants.file_of(options.lesson).exists():
        lessons = sorted(int(path.stem.removeprefix("lesson_")) for path in variants.file_of(0).parent.glob("*.py"))
        if not lessons:
            raise UserError("an installed minimaskgit comes without the exercises; run this in a clone of the project")
        expected = ", ".join(map(str, lessons))
        raise UserError(f"--lesson {options.lesson}: there are no variants of it; expected one of {expected}")
    check_output_folder("--out", options.out)
    path, text = options.out / f"lesson_{options.lesson}.py", variants.handed_out(options.lesson, options.variants)
    if path.exists() and (not path.is_file() or path.read_bytes() != text.encode()):
        raise UserError(f"--out {options.out}: its {path.name} is another file, perhaps with answers; choose a folder")
    write_text(path, text)
    print(f"{path}: the file to hand out; students check theirs with make check-{options.lesson} FILE={path.name}")
    print(f"to grade: {cli.typed('grade', 'SUBMISSIONS', '--lesson', options.lesson, '--variants', options.variants)}")


if __name__ == "__main__":
    cli.run(main)
