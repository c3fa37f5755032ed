"""Grading a class, from files to the table: `python -m minimaskgit.grade`."""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import Left, error_line
from wcwidth import wcswidth

from minimaskgit import grade
from minimaskgit.common.errors import UserError
from minimaskgit.grading import laws, report
from minimaskgit.grading.report import Result

ROOT = Path(__file__).parents[1]
RIGHT = {path.stem: path.read_text("utf-8") for path in (ROOT / "tests" / "right_answers").glob("lesson_1_*.py")}
HALF = RIGHT["lesson_1_numpy"] + "\n\ndef vq_losses(z, z_q, beta):\n    raise NotImplementedError\n"
WRONG = RIGHT["lesson_1_loops"] + "\n\ndef code_perplexity(codes, num_codes):\n    return codes.float().mean()\n"
ATTACK = RIGHT["lesson_1_numpy"] + "\n\ndef code_perplexity(codes, num_codes):\n"
EXERCISES = ["nearest_codes", "straight_through", "vq_losses", "code_perplexity"]


def a_class(folder: Path) -> dict[str, int]:
    """Twelve students' files, some as Moodle and Canvas name them, and the points that each should get."""
    folder.mkdir()
    names = ("Ada_ANSWER", "Ben 🎓 with spaces", "cem_12345_678901_lesson_1-1")
    for name, source in zip(names, RIGHT.values()):
        (folder / f"{name}.py").write_text(source, "utf-8")
    (folder / "Ada_ANSWER.py").rename(folder / "Ada.PY")
    (folder / "Dora_12345_assignsubmission_file_").mkdir()
    (folder / "Dora_12345_assignsubmission_file_" / "lesson_1.py").write_text(HALF, "utf-8")
    (folder / "Emil.py").write_text(WRONG, "utf-8")
    (folder / "Fay.py").write_text(ATTACK + "    import os\n    os._exit(0)\n", "utf-8")
    (folder / "Gus.py").write_text(ATTACK + "    while True:\n        pass\n", "utf-8")
    (folder / "Hal.py").write_text(ATTACK + "    return type('Yes', (), {'__eq__': lambda *args: True})()\n", "utf-8")
    (folder / "Ida.py").write_text("import sys\nsys.exit(0)\n", "utf-8")
    (folder / "Jon.py").write_text("def nearest_codes(:\n", "utf-8")
    (folder / "Kim").mkdir()
    with zipfile.ZipFile(folder / "Lea.zip", "w") as archive:
        archive.writestr("../lesson_1.py", RIGHT["lesson_1_loops"])
    points = {"Ada": 4, "Ben 🎓 with spaces": 4, "cem": 4, "Dora": 3, "Emil": 3, "Fay": 3, "Gus": 3, "Hal": 3}
    return points | {"Ida": 0, "Jon": 0, "Kim": 0, "Lea": 0}


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def command(folder: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    arguments = [str(folder), "--lesson", "1", "--csv", str(out / "grades.csv"), "--json", str(out / "grades.json")]
    arguments += ["--feedback", str(out / "feedback"), "--work", str(out / "work"), "--timeout", "120", *options]
    line = [sys.executable, "-m", "minimaskgit.grade", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_class_gets_the_right_points_every_time(linux, tmp_path):
    points = a_class(tmp_path / "class")
    done = command(tmp_path / "class", tmp_path / "first", "--jobs", "2", "--junit", str(tmp_path / "junit"))
    assert done.returncode == 0, done.stderr
    assert "protection: " in done.stderr or "warning: no namespaces" in done.stderr
    rows = read(tmp_path / "first" / "grades.csv")
    assert {row["student"]: int(row["total"]) for row in rows} == points
    for name in ("Fay", "Gus", "Hal", "Emil"):
        row = next(row for row in rows if row["student"] == name)
        assert [row[exercise] for exercise in EXERCISES] == ["1", "1", "1", "0"]
    assert command(tmp_path / "class", tmp_path / "second", "--jobs", "1").returncode == 0
    assert (tmp_path / "first/grades.csv").read_bytes() == (tmp_path / "second/grades.csv").read_bytes()
    pages = {path.name: path.read_text("utf-8") for path in (tmp_path / "first" / "feedback").iterdir()}
    assert len(pages) == 12 and "breaks at" in pages["Emil.md"] and "no answer after 5 seconds" in pages["Gus.md"]
    assert (
        "SyntaxError: invalid syntax, in line 1" in pages["Jon.md"] and "no lesson\\_1.py" in pages["Lea.md"]
    )  # Markdown
    reports = list((tmp_path / "junit").glob("*.xml"))
    assert len(reports) == 12 and not any("hostname" in path.read_text("utf-8") for path in reports)
    assert all(int(ElementTree.parse(path).find("testsuite").get("tests")) for path in reports)


# --- With a stand-in for the judge ---


class NoJudge:
    """Stands in for judging: counts its calls, and reports that everything is right."""

    def __init__(self, exercises=EXERCISES):
        self.asked, self.exercises = [], exercises

    def __call__(self, one, exercises, options, judges):
        self.asked.append(one.student)
        if one.student == "Stop":
            raise KeyboardInterrupt
        done = {name: {"state": "done", "told": "", "seconds": 1.0, "laws": 2, "held": 2} for name in exercises}
        return Result(one.student, done, trouble=one.trouble)


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr(grade, "grade", NoJudge())
    monkeypatch.setattr(grade, "protection", lambda memory: {"namespaces": True})
    return grade.grade


def run(folder: Path, *options: str) -> None:
    grade.main([str(folder), "--lesson", "1", "--work", str(folder.parent / "work"), *options])


def test_an_interrupted_run_resumes_with_the_remaining_students(judge, tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for name in ("Ada", "Ben", "Stop"):
        (folder / f"{name}.py").write_text(f"# {name}", "utf-8")
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    (folder / "Stop.py").rename(folder / "Go.py")
    (folder / "Ben.py").write_text("# changed since", "utf-8")
    judge.asked.clear()
    run(folder, "--resume")
    assert sorted(judge.asked) == ["Ben", "Go"]
    judge.asked.clear()
    run(folder, "--resume", "--seed", "1")
    assert sorted(judge.asked) == ["Ada", "Ben", "Go"]
    judge.asked.clear()
    run(folder)
    assert sorted(judge.asked) == ["Ada", "Ben", "Go"]


def test_grades_are_written_though_their_reader_has_left(judge, tmp_path):
    with contextlib.redirect_stdout(Left()), pytest.raises(BrokenPipeError):
        run(students(tmp_path / "class", "Ada.py"), "--csv", str(tmp_path / "grades.csv"))
    assert [row["student"] for row in read(tmp_path / "grades.csv")] == ["Ada"]


def test_grades_are_shown_though_they_cannot_be_written(judge, monkeypatch, tmp_path, capsys):
    def store(*_) -> None:
        raise UserError("grades.csv cannot be written")

    monkeypatch.setattr(grade, "store", store)
    with pytest.raises(UserError):
        run(students(tmp_path / "class", "Ada.py"))
    assert "Ada" in capsys.readouterr().out


def test_a_student_whose_file_name_is_not_utf_8_is_graded_and_written_everywhere(linux, judge, tmp_path, capsys):
    (tmp_path / "class").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "class") + b"/caf\xe9.py")).write_text("a = 1", "utf-8")
    (tmp_path / "class" / "Ada.py").write_text("a = 1", "utf-8")
    files = [f"--{name}={tmp_path / name}" for name in ("csv", "json", "feedback")]
    run(tmp_path / "class", *files)
    assert len(judge.asked) == 2 and len(list((tmp_path / "feedback").iterdir())) == 2
    assert len(read(tmp_path / "csv")) == 2 and len(json.loads((tmp_path / "json").read_text("utf-8"))["students"]) == 2


def test_kept_grades_are_not_taken_over_when_the_package_or_weights_change(judge, monkeypatch, tmp_path):
    package, weights = tmp_path / "package", tmp_path / "weights.toml"
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "Ada.py").write_text("# Ada", "utf-8")
    shutil.copytree(ROOT / "minimaskgit", package, ignore=lambda _, names: [n for n in names if n.endswith(".pyc")])
    weights.write_text(laws.WEIGHTS.read_text("utf-8"), "utf-8")
    monkeypatch.setattr("minimaskgit.grading.lent.PACKAGE", package)
    monkeypatch.setattr(laws, "WEIGHTS", weights)

    def asked(*options: str) -> list[str]:
        judge.asked.clear()
        work = str(tmp_path / "work")
        grade.main([str(tmp_path / "class"), "--lesson", "5", "--work", work, "--resume", *options])
        return judge.asked

    def edit(path: Path, old: str, new: str) -> None:
        before = path.read_text("utf-8")
        assert old in before
        path.write_text(before.replace(old, new), "utf-8")

    assert asked() == ["Ada"] and asked() == []
    edit(weights, "may_be_infinite = [", 'may_be_infinite = ["remask", ')
    assert asked() == ["Ada"] and asked() == []
    edit(package / "decoding.py", "def gumbel_noise(", "@torch.no_grad()\ndef gumbel_noise(")
    assert asked() == ["Ada"] and asked() == []
    assert asked("--lend-everything") == ["Ada"] and asked("--lend-everything") == []


def test_missing_protection_is_reported_before_any_student_s_code_runs(judge, monkeypatch, tmp_path, capsys):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "Stop.py").write_text("a = 1", "utf-8")
    monkeypatch.setattr(grade, "protection", lambda memory: {"namespaces": False, "user": False, "why": "refused"})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "class")
    warned = capsys.readouterr().err
    assert judge.asked == ["Stop"] and "no namespaces here (refused)" in warned and "it runs as you" in warned


def test_a_system_without_fork_is_reported_in_one_line_and_nobody_is_graded(monkeypatch, tmp_path, capsys):
    monkeypatch.delattr("os.fork", raising=False)  # as on Windows
    (tmp_path / "Ada.py").write_text("a = 1", "utf-8")
    arguments = [str(tmp_path / "Ada.py"), "--lesson", "1", "--work", str(tmp_path / "work")]
    printed = error_line(capsys, grade, *arguments)
    assert "nobody can be graded on this system" in printed and "WSL" in printed
    assert not (tmp_path / "work").exists()


def test_if_even_a_right_answer_cannot_run_nobody_gets_a_zero(linux, tmp_path, capsys):
    (tmp_path / "Ada.py").write_text("a = 1", "utf-8")
    arguments = [str(tmp_path / "Ada.py"), "--lesson", "1", "--work", str(tmp_path / "work"), "--memory", "1"]
    assert "nobody can be graded: the sandbox failed to run a test function: " in error_line(capsys, grade, *arguments)
    assert not (tmp_path / "work").exists()


def test_a_file_that_is_not_python_earns_nothing_and_is_told_why(linux, tmp_path, capsys):
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / "Jon.py").write_text("def f(:\n", "utf-8")
    (folder / "Kim").mkdir()
    run(folder, "--csv", str(tmp_path / "grades.csv"), "--feedback", str(tmp_path / "pages"))
    rows = {row["student"]: row for row in read(tmp_path / "grades.csv")}
    assert {row["total"] for row in rows.values()} == {"0"} and len(rows) == 2
    assert (
        "SyntaxError: invalid syntax, in line 1" in rows["Jon"]["remark"] and rows["Kim"]["remark"] == "no lesson_1.py"
    )
    assert "no lesson\\_1.py" in (tmp_path / "pages" / "Kim.md").read_text("utf-8")
    assert "0/4" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["feedback", "work"])
def test_nothing_is_written_into_the_folder_of_the_class_where_it_would_become_a_student(option, tmp_path, capsys):
    (tmp_path / "Ada.py").write_text("a = 1", "utf-8")
    line = error_line(capsys, grade, str(tmp_path), "--lesson", "1", f"--{option}", str(tmp_path / "sub" / "x"))
    assert f"--{option}" in line and "choose a folder elsewhere" in line
    assert [path.name for path in tmp_path.iterdir()] == ["Ada.py"]


def test_if_the_grader_itself_fails_nobody_gets_a_zero(linux, monkeypatch, tmp_path, capsys):
    failed = lambda one, *rest: Result(one.student, {}, failure="the judge ended with 3")
    monkeypatch.setattr(grade, "grade", failed)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "Ada.py").write_text("a = 1", "utf-8")
    with pytest.raises(SystemExit) as stop:
        files = ["--csv", str(tmp_path / "grades.csv"), "--json", str(tmp_path / "grades.json")]
        run(tmp_path / "class", *files, "--resume")
    (details,) = json.loads((tmp_path / "grades.json").read_text("utf-8"))["students"]
    assert details["total"] is None and details["points"] is None
    assert stop.value.code == 3 and "NOT GRADED" in capsys.readouterr().out
    (row,) = read(tmp_path / "grades.csv")
    assert row["total"] == "" and "not graded" in row["remark"]
    assert not list((tmp_path / "work").rglob("*.json"))


def test_the_exit_code_reports_a_single_file_with_mistakes(judge, monkeypatch, tmp_path):
    (tmp_path / "lesson_1.py").write_text("a = 1", "utf-8")
    run(tmp_path / "lesson_1.py")
    monkeypatch.setattr(grade, "grade", lambda one, *rest: Result(one.student, {}, trouble="wrong"))
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "lesson_1.py", "--seed", "2")
    assert stop.value.code == 1


def test_the_teacher_s_mistakes_are_reported_in_one_line(tmp_path, capsys):
    complaint = error_line(capsys, grade, str(tmp_path), "--lesson", "77")
    assert "--lesson 77: there are no laws for it; expected one of 1, 2, 3" in complaint
    assert "contains no submissions" in error_line(capsys, grade, str(tmp_path), "--lesson", "1")
    (tmp_path / "Ada.py").write_text("a = 1", "utf-8")
    for option in ("--jobs", "--timeout", "--call-timeout", "--memory"):
        assert f"{option} 0" in error_line(capsys, grade, str(tmp_path), "--lesson", "1", option, "0")
    assert "--timeout nan" in error_line(capsys, grade, str(tmp_path), "--lesson", "1", "--timeout", "nan")
    assert "--seed -1" in error_line(capsys, grade, str(tmp_path), "--lesson", "1", "--seed", "-1")


def test_weights_are_points_and_an_exercise_without_one_is_worth_1():
    weights = grade.exercise_weights(5)
    assert weights == {"confidence": 2, "num_to_mask": 2, "remask": 2, "decode": 4}
    assert grade.exercise_weights(1) == dict.fromkeys(EXERCISES, 1)


def students(folder: Path, *names: str) -> Path:
    """A folder of files, each with other content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}", "utf-8")
    return folder


MOODLE = "Kim Lee_{}_assignsubmission_file_/lesson_1.py"


def test_students_of_one_name_keep_their_grades_apart(judge, tmp_path, capsys):
    files = ["Ada.py", "Ada/lesson_1.py", "Ada (2).py", MOODLE.format(111), MOODLE.format(222)]
    folder = students(tmp_path / "class", *files, "leekim_33_4444_lesson_1.py", "leekim_LATE_44_4445_lesson_1-2.py")
    pages = tmp_path / "pages"
    run(folder, "--csv", str(tmp_path / "grades.csv"), "--feedback", str(pages), "--junit", str(tmp_path / "junit"))
    rows = read(tmp_path / "grades.csv")
    names = {"Ada", "Ada.py", "Ada (2)", "Kim Lee (111)", "Kim Lee (222)", "leekim (33)", "leekim (44)"}
    assert {row["student"] for row in rows} == names and len(rows) == len(list(pages.iterdir())) == 7
    assert {row["id"] for row in rows} == {"Ada", "Ada.py", "Ada (2).py", "111", "222", "33", "44"}


def test_what_a_platform_imports_has_its_numbers_and_the_roster_s_columns(judge, tmp_path, capsys):
    folder = students(tmp_path / "class", MOODLE.format(111), "leekim_33_4444_lesson_1.py", "Ada.py")
    roster, worksheet, gradebook = (tmp_path / name for name in ("roster.csv", "worksheet.csv", "gradebook.csv"))
    run(folder, "--moodle", str(worksheet), "--canvas", str(gradebook))
    assert "worksheet.csv, without a Moodle number: Ada, leekim" in capsys.readouterr().out
    (row,) = read(worksheet)
    assert (row["Identifier"], row["Grade"], row["Maximum Grade"]) == ("Participant 111", "4", "4")
    possible, row = read(gradebook)
    assert possible["Student"].strip() == "Points Possible" and possible["Lesson 1"] == "4"
    assert (row["ID"], row["Lesson 1"]) == ("33", "4")
    roster.write_text(
        "Identifier,Full name,Email address,Status,Grade,Last modified (grade),Feedback comments\n"
        "Participant 111,Lee Kim,kim@example.org,Submitted,,-,\nParticipant 9,Not Here,no@example.org,,7,-,\n",
        "utf-8-sig",
    )
    comments = tmp_path / "comments.csv"
    comments.write_text("student,comment\n111,Well done\n111,=again\n", "utf-8")
    options = ["--roster", str(roster), "--comments", str(comments), "--feedback", str(tmp_path / "pages")]
    run(folder, "--moodle", str(worksheet), "--csv", str(tmp_path / "grades.csv"), *options)
    (row,) = read(worksheet)
    assert (row["Email address"], row["Status"], row["Grade"]) == ("kim@example.org", "Submitted", "4")
    assert row["Feedback comments"] == "Well done =again"
    assert {row["email"] for row in read(tmp_path / "grades.csv")} == {"", "kim@example.org"}
    assert "> Well done\n> =again" in (tmp_path / "pages" / "Kim Lee.md").read_text("utf-8")
    roster.write_text("Student,ID,Section,Lesson 1 (77)\nKim,33,A,\n", "utf-8")
    run(folder, "--canvas", str(gradebook), "--roster", str(roster))
    assert read(gradebook)[1]["Lesson 1 (77)"] == "4" and read(gradebook)[1]["Section"] == "A"


def test_everything_in_the_folder_is_in_the_table_or_said_to_be_ignored(linux, judge, tmp_path, capsys):
    folder = students(
        tmp_path / "class", "UP.PY", "__Eve.py", "x.rar", "notes.txt", ".DS_Store", "__MACOSX/._x", "D.7z/a.py"
    )
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe.py")
    os.mkfifo(folder / "pipe")
    (folder / "a\x1b[2J\n＝.py").write_text("a = 1", "utf-8")
    run(folder, "--csv", str(tmp_path / "grades.csv"), "--json", str(tmp_path / "grades.json"))
    rows = {row["student"]: row["remark"] for row in read(tmp_path / "grades.csv")}
    assert set(rows) == {"UP", "__Eve", "D.7z", "empty", "pipe", "a?[2J?＝"}
    assert "neither a file nor a folder" in rows["pipe"] and rows["empty"] == "no lesson_1.py"
    ignored = json.loads((tmp_path / "grades.json").read_text("utf-8"))["ignored"]
    assert (
        set(ignored) == {"x.rar", "notes.txt", ".DS_Store", "__MACOSX", "pipe"} and "ask for a .zip" in ignored["x.rar"]
    )
    printed = capsys.readouterr().out
    assert all(f"ignored: {name}: {why}" in printed for name, why in ignored.items()) and "\x1b" not in printed


def test_one_student_is_graded_anew_and_the_others_keep_their_grades(judge, tmp_path, capsys):
    folder = students(tmp_path / "class", "Ada.py", "Ben.py", MOODLE.format(111))
    run(folder)
    for name in ("111", "Kim Lee"):
        judge.asked.clear()
        run(folder, "--only", name, "--csv", str(tmp_path / "grades.csv"))
        assert judge.asked == ["Kim Lee"] and len(read(tmp_path / "grades.csv")) == 3
    (folder / "Ben.py").write_text("changed = 1", "utf-8")
    capsys.readouterr()
    run(folder, "--only", "Ada")
    assert "ignored: Ben: has no finished result" in capsys.readouterr().out
    before = (tmp_path / "grades.csv").read_bytes()
    judge.asked.clear()
    options = ["--only", "Ada", "--timeout", "90", "--csv", str(tmp_path / "grades.csv")]
    said = error_line(capsys, grade, str(folder), "--lesson", "1", "--work", str(tmp_path / "work"), *options)
    assert "--csv would lack Ben, Kim Lee, without a finished result" in said and not judge.asked
    assert (tmp_path / "grades.csv").read_bytes() == before
    said = error_line(capsys, grade, str(folder), "--lesson", "1", "--only", "Zoe", "--work", str(tmp_path / "work"))
    assert "'Zoe' is no student; expected one of Ada, Ben, Kim Lee" in said


def test_a_name_is_found_however_its_accents_are_stored(judge, tmp_path):
    folder = students(tmp_path / "class", "Zoe\u0308.py", "Ada.py")
    run(folder)
    judge.asked.clear()
    run(folder, "--only", "Zo\u00eb")
    assert judge.asked == ["Zoe\u0308"]


def test_what_is_late_or_not_graded_is_said_to_the_teacher(judge, tmp_path, capsys):
    folder = students(tmp_path / "class", "Ben/lesson_1.py", "Ben/lesson_2.py", "kim_LATE_44_4445_lesson_1.py")
    (folder / "Ben" / "1_images_to_tokens.ipynb").write_text("{}", "utf-8")
    run(folder, "--csv", str(tmp_path / "csv"), "--json", str(tmp_path / "json"), "--feedback", str(tmp_path / "pages"))
    note = "lesson_1.py is graded, not 1_images_to_tokens.ipynb"
    assert {row["student"]: row["remark"] for row in read(tmp_path / "csv")} == {"Ben": note, "kim": "late"}
    assert note in capsys.readouterr().out and note in (tmp_path / "json").read_text("utf-8")
    assert "Note: late." in (tmp_path / "pages" / "kim.md").read_text("utf-8")


def test_an_anonymous_class_has_no_name_in_anything_that_is_printed_or_written(judge, tmp_path, capsys):
    folder = students(tmp_path / "class", "Ada.py", "Ben/Ben.txt", MOODLE.format(111), "Cem.rar")
    (folder / "Dora.py").write_text("", "utf-8")
    files = [f"--{name}={tmp_path / 'out' / name}" for name in ("csv", "json", "feedback", "junit", "similarity")]
    run(folder, "--anonymous", *files)
    written = capsys.readouterr()
    texts = [path.read_text("utf-8") for path in (tmp_path / "out").rglob("*") if path.is_file()]
    names = [path.name for path in (tmp_path / "out").rglob("*")]
    for text in (written.out, written.err, *texts, *names):
        assert not re.search("Ada|Ben|Kim|Cem|Dora|111", text)
    assert {row["student"] for row in read(tmp_path / "out" / "csv")} == {f"student {n}" for n in (1, 2, 3, 4)}
    judge.asked.clear()
    run(folder, "--resume")  # tells the teacher who they are, without judging again
    assert judge.asked == ["Ben"]  # of whom there is nothing to judge


def test_files_that_share_code_are_listed_whatever_their_names_and_comments(judge, tmp_path):
    folder = students(tmp_path / "class", "Zoe.py")
    source = RIGHT["lesson_1_numpy"]
    (folder / "Ada.py").write_text(source, "utf-8")
    (folder / "Ben.py").write_text(
        "# mine\n" + source.replace("codebook", "entries").replace("\n\n", "\n# x\n"), "utf-8"
    )
    (folder / "Cem.py").write_text(RIGHT["lesson_1_loops"], "utf-8")
    run(folder, "--similarity", str(tmp_path / "pairs.csv"), "--csv", str(tmp_path / "grades.csv"))
    first, *others = read(tmp_path / "pairs.csv")
    assert first == {"student": "Ada", "and": "Ben", "in common": "100%"}
    assert all(int(row["in common"][:-1]) < 60 for row in others)
    assert {row["total"] for row in read(tmp_path / "grades.csv")} == {"4"}


def test_the_class_is_summed_up_in_text_and_in_a_picture(judge, monkeypatch, tmp_path, capsys):
    states = {"Ada": "done", "Ben": "broken", "Cem": "broken", "Dora": "not written"}
    graded = lambda one, *rest: Result(
        one.student, {name: {"state": states[one.student], "law": "It holds.", "told": ""} for name in EXERCISES}
    )
    monkeypatch.setattr(grade, "grade", graded)
    folder = students(tmp_path / "class", *(f"{name}.py" for name in states))
    run(folder, "--plot", str(tmp_path / "plot.png"), "--json", str(tmp_path / "grades.json"))
    printed = capsys.readouterr().out
    assert re.search(r"nearest_codes +25% +1 +2 +1", printed)
    assert "broken 2 times: nearest_codes: It holds." in printed
    assert re.search(r"^Dora +- +- +- +- +0/4", printed, re.MULTILINE) and re.search(
        r"^Ben +0 +0", printed, re.MULTILINE
    )
    assert (
        json.loads((tmp_path / "grades.json").read_text("utf-8"))["summary"]["solved"]["nearest_codes"]["broken"] == 2
    )
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


# --- What is written ---


def example(student: str, told: str = "because   it is") -> Result:
    return Result(student, {"a": {"state": "done", "told": ""}, "b": {"state": "broken", "told": told}})


def test_names_cannot_inject_spreadsheet_formulas_or_terminal_codes(tmp_path):
    results = [example(name) for name in ("=1+1", "\x1b[2Jx", "a,b", "＝1+1", " \t@x", "=\n\x1b", "a\n=1", "\u202eb")]
    report.write_csv(tmp_path / "grades.csv", results, {"a": 1, "b": 2})
    names = ["'=1+1", "?[2Jx", "a,b", "'＝1+1", "' ?@x", "'=??", "a?=1", "?b"]
    assert [row["student"] for row in read(tmp_path / "grades.csv")] == names
    assert all(line.isprintable() for line in report.table(results, {"a": 1, "b": 2}))


def cells_of(line: str) -> list[tuple[str, int, int]]:
    """The cells of a table's line, each with the places on the screen where it begins and ends."""
    found = re.finditer(r"\S+(?: \S+)*", line)
    return [(cell[0], wcswidth(line[: cell.start()]), wcswidth(line[: cell.end()])) for cell in found]


def test_wide_characters_and_emoji_do_not_shift_the_columns_of_the_table():
    names = ["Ada", "\u6797\u00e9\U0001f600", "e\u0301 \u6797\u6797\u6797", "007", "\u2764\ufe0f"]
    results = [replace(example(name), seconds=12.0, trouble="no file") for name in names]
    results.append(Result("\U0001f600", {}, failure="no memory"))
    _, _, head, *students, failed = map(cells_of, report.table(results, {"a": 1.5, "b": 20}))
    assert [text for text, *_ in head] == ["student", "1", "2", "total", "time"]
    for name, cells in zip(names, students, strict=True):
        assert [text for text, *_ in cells] == [name, "1.5", "0", "1.5/21.5", "12 s", "no file"]
        assert cells[0][1] == 0 and [end for *_, end in cells[1:5]] == [end for *_, end in head[1:]]
        assert cells[5][1] == students[0][5][1] == head[4][2] + 2
    assert failed == [("\U0001f600", 0, 2), ("NOT GRADED: no memory", *failed[1][1:])]
    assert failed[1][1] == students[0][5][1]


def test_every_student_s_page_has_a_unique_name_and_stays_in_its_folder():
    names = ["../../up", "..", "", "a/b", "a_b", "🎓", "🎉", "x" * 300, "Zoë Müller"]
    files = [report.file_name(name, ".md") for name in names]
    assert len(set(files)) == len(names) and not any("/" in name or name.startswith(".") for name in files)
    assert files[-1] == "Zoë Müller.md" and all(len(name) < 120 for name in files)


def test_feedback_shows_broken_laws_as_literal_text():
    page = report.feedback(example("<b>*Ada*", "the law   x\n<script>"), {"a": 1, "b": 2}, 5)
    assert "**1 of 3 points.**" in page and "\n    <script>" in page
    assert "\\<b\\>\\*Ada\\*" in page and "| `b` | 0 of 2 | BROKEN |" in page


def test_the_details_have_everything(tmp_path):
    report.write_details(tmp_path / "grades.json", [example("Ada")], {"a": 1, "b": 2}, {"lesson": 5})
    details = json.loads((tmp_path / "grades.json").read_text("utf-8"))
    assert details["lesson"] == 5 and details["students"][0]["total"] == 1
    assert details["students"][0]["exercises"]["b"]["told"] == "because   it is"
