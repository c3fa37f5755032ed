"""Variants, from the teacher's number to the grade. Their laws judge right and wrong answers in tests/laws."""

import csv
import doctest
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import messages
import pytest
import torch
from command_line import error_line
from lawbook import law_file

from minimaskgit import assignment, grade
from minimaskgit.grading import variants

ROOT = Path(__file__).parents[1]
LESSONS = sorted(int(path.stem.removeprefix("lesson_")) for path in (ROOT / "lessons/variants").glob("*.py"))
sys.path.append(str(ROOT / "tests" / "laws"))  # where the answers find what their laws draw


def answers(lesson: int) -> ModuleType:
    return messages.load(ROOT / "tests" / "variant_answers" / f"lesson_{lesson}.py")


def namespace(lesson: int, number: int) -> dict:
    """The handed-out file, as Python runs it."""
    names: dict = {"__name__": f"lesson_{lesson}"}
    exec(compile(variants.handed_out(lesson, number), f"lesson_{lesson}.py", "exec"), names)
    return names


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_number_always_draws_the_same_file_and_others_draw_others(lesson):
    files = [variants.handed_out(lesson, number) for number in range(10)]
    assert files == [variants.handed_out(lesson, number) for number in range(10)]
    without_mark = {re.sub(rf"{variants.MARK}\d+", "", text) for text in files}
    assert len(without_mark) >= 4, "classes hardly differ"
    assert max(len(line) for text in files for line in text.splitlines()) <= variants.WIDTH
    assert [variants.number_of(text) for text in files] == list(range(10))
    assert variants.number_of((ROOT / f"lessons/exercises/lesson_{lesson}.py").read_text("utf-8")) is None


@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.parametrize("number", range(3))
def test_the_examples_of_variants_match_right_answers_and_stubs_hold_no_law(lesson, number):
    laws, names = law_file(lesson, "variants"), namespace(lesson, number)
    right = answers(lesson).right(variants.drawn(lesson, number))
    assert len(laws.LESSON) >= 2 and laws.LESSON.keys() == right.keys()
    for name in laws.LESSON:
        assert re.search(r"\(Difficulty [1-3] of 3, \d+ minutes\.\)", " ".join(names[name].__doc__.split())), name
        (test,) = doctest.DocTestFinder().find(names[name], name, globs={**names, "torch": torch})
        test.globs.update(right)
        result = doctest.DocTestRunner(verbose=False).run(test)
        assert result.attempted > 0 and result.failed == 0, name


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_mistake_that_is_planted_breaks_a_law_and_is_among_the_named_reasons(lesson):
    template = variants._template(lesson)
    drawn = [variants.drawn(lesson, number) for number in range(200)]
    assert {one["bug"] for one in drawn if "bug" in one} == set(template.get("BROKEN", ()))
    assert template.get("BROKEN", {}).keys() == template.get("REASONS", {}).keys()
    laws = law_file(lesson, "variants")
    name = next((name.removesuffix("_reason") for name in laws.LESSON if name.endswith("_reason")), None)
    about = [law for law in vars(laws).values() if any(mark.args == (name,) for mark in getattr(law, "pytestmark", ()))]
    for bug in template.get("BROKEN", ()):
        number = next(number for number, one in enumerate(drawn) if one["bug"] == bug)
        impl = messages.answers("as handed out", namespace(lesson, number))
        assert any(breaks(law, impl, drawn[number]) for law in about), bug


def breaks(law, impl, drawn: dict) -> bool:
    try:
        law(impl=impl, drawn=drawn)
    except Exception:
        return True
    return False


# --- The command ---


def test_a_file_is_written_and_never_written_over(tmp_path, capsys):
    arguments = ["--lesson", "5", "--variants", "7", "--out", str(tmp_path / "out")]
    assignment.main(arguments)
    printed, path = capsys.readouterr().out, tmp_path / "out" / "lesson_5.py"
    assert "grade SUBMISSIONS --lesson 5 --variants 7" in printed
    assert path.read_text("utf-8") == variants.handed_out(5, 7)
    assignment.main(arguments)  # the same again
    path.write_text("answers", "utf-8")
    assert "perhaps with answers; choose a folder" in error_line(capsys, assignment, *arguments)
    assert path.read_text("utf-8") == "answers"


def test_a_lesson_without_variants_is_refused_in_one_line(tmp_path, capsys):
    wrong = error_line(capsys, assignment, "--lesson", "77", "--variants", "1", "--out", str(tmp_path))
    assert "--lesson 77: there are no variants of it; expected one of" in wrong
    (tmp_path / "Ada.py").write_text("a = 1", "utf-8")
    assert "--variants x: expected" in error_line(capsys, grade, str(tmp_path), "--lesson", "5", "--variants", "x")


def test_points_are_those_of_exercises_and_variants():
    plain, both = grade.exercise_weights(5), grade.exercise_weights(5, with_variants=True)
    assert list(both)[: len(plain)] == list(plain) and len(both) > len(plain)
    assert all(name in both for name in law_file(5, "variants").LESSON)


# --- A student, at home and graded ---


SOLVED = """

def masks_left(unknown_at_start, unknown_now, step, steps):
    rows = zip(unknown_at_start.tolist(), unknown_now.tolist(), steps.tolist())
    return torch.tensor([keep(u, n, (step + 1) / t) for u, n, t in rows])


def keep(u, n, r):
    for (a, high), (b, low) in zip(GRAPH, GRAPH[1:]):
        if a <= r < b:
            return max(0, min(max(1, int(u * (high + (low - high) * (r - a) / (b - a)))), n - 1))
    return 0


def fix_best_reason():
    return "{reason}"
"""


def solved(number: int, reason: str) -> str:
    """A handed-out file, of which one variant and the reason are answered."""
    return variants.handed_out(5, number) + SOLVED.replace("{reason}", reason)


@pytest.mark.slow
def test_a_check_at_home_goes_by_the_file_s_number_and_gives_no_reason_away(tmp_path):
    other = next(name for name in variants._template(5)["BROKEN"] if name != variants.drawn(5, 7)["bug"])
    path = tmp_path / "lesson_5.py"
    path.write_text(solved(7, other), "utf-8")
    laws = [f"tests/laws/test_{kind}_5.py" for kind in ("lesson", "variants")]
    command = [sys.executable, "-m", "pytest", *laws, "--submission", str(path)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert "2 of 8 done. Next: confidence." in out
    assert "done         masks_left" in out and "done         fix_best_reason" in out
    assert "not written  decode_allowed" in out
    shown = out.partition("BROKEN       fix_best")[2]
    assert "fix_best(" in shown and "canvas=torch.tensor([[" in shown and "package's answer" not in shown
    path.write_text(variants.handed_out(5, 7).partition("# --- Variants")[0], "utf-8")
    assert "0 of 4 done." in subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_the_teacher_s_number_decides_in_the_sandbox_and_grades_are_repeated(linux, tmp_path):
    bug = variants.drawn(5, 7)["bug"]
    other = next(name for name in variants._template(5)["BROKEN"] if name != bug)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "Ada.py").write_text(solved(7, bug), "utf-8")
    (tmp_path / "class" / "Ben.py").write_text(solved(7, other), "utf-8")
    stolen = solved(8, bug).replace(f"{variants.MARK}8", f"{variants.MARK}7")  # another class's graph
    (tmp_path / "class" / "Cem.py").write_text(stolen, "utf-8")
    rows = grades(tmp_path / "class", tmp_path / "grades.csv", "--jobs", "2")
    earned = {
        name: [float(row[exercise]) > 0 for exercise in ("masks_left", "fix_best_reason")] for name, row in rows.items()
    }
    assert earned == {"Ada": [True, True], "Ben": [True, False], "Cem": [False, True]}
    assert all(float(row["decode_allowed"]) == 0 == float(row["fix_best"]) for row in rows.values())
    again = grades(tmp_path / "class" / "Ada.py", tmp_path / "again.csv")
    assert again == {"Ada": rows["Ada"]}


def grades(submissions: Path, out: Path, *options: str) -> dict[str, dict]:
    """Rows of the table by student, graded by the number 7."""
    command = [str(submissions), "--lesson", "5", "--variants", "7", "--csv", str(out), "--timeout", "240", *options]
    command += ["--work", str(out.with_suffix(""))]
    run = subprocess.run(
        [sys.executable, "-m", "minimaskgit.grade", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode in (0, 1), run.stderr  # 1: a single file lacks points
    with out.open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}
