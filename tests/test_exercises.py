"""The exercises: examples are right, answers are not given away, and the student's report is complete."""

import doctest
import importlib
import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minimaskgit.grading.local import refused

ROOT = Path(__file__).parents[1]
EXERCISES = sorted((ROOT / "lessons" / "exercises").glob("lesson_*.py"))

# The modules with the package's answers.
PACKAGE = ("tokenizer", "adversary", "schedules", "masking", "transformer", "decoding", "autoregressive", "editing")
PACKAGE += ("metrics", "training.estimate", "training.optimizers")
PACKAGE += ("decoders.orders", "decoders.correction", "decoders.critic")


def answer(name: str):
    modules = [importlib.import_module(f"minimaskgit.{module}") for module in PACKAGE]
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def exercise(path: Path) -> dict:
    names: dict = {"__name__": path.stem}
    exec(compile(path.read_text("utf-8"), path, "exec"), names)
    return names


def functions(names: dict) -> dict:
    own = {name: thing for name, thing in names.items() if getattr(thing, "__module__", None) == names["__name__"]}
    return {name: thing for name, thing in own.items() if inspect.isfunction(thing) or inspect.isclass(thing)}


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_every_example_in_the_exercises_matches_the_package(path):
    names = exercise(path)
    tests = [test for thing in functions(names).values() for test in doctest.DocTestFinder().find(thing, globs=names)]
    tests = [test for test in tests if test.examples]
    assert len(tests) == len(functions(names))
    for test in tests:
        test.globs.update({name: answer(name) for name in functions(names)}, torch=torch)
        result = doctest.DocTestRunner(verbose=False).run(test)
        assert result.failed == 0 and result.attempted > 0, test.name


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_an_exercise_has_the_package_s_parameters_but_not_its_answer(path):
    for name, stub in functions(exercise(path)).items():
        if inspect.isclass(stub):
            continue
        parameters, package = inspect.signature(stub).parameters, inspect.signature(answer(name)).parameters
        if not any(p.kind == p.VAR_KEYWORD for p in package.values()):  # decode passes its options on
            assert list(parameters) == list(package)[: len(parameters)], name
        with pytest.raises(NotImplementedError):
            stub(*[None] * len(parameters))


# --- The report ---


def check(path: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "--submission", str(path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_an_empty_exercise_says_what_is_next():
    code, out = check(ROOT / "lessons" / "exercises" / "lesson_3.py", "tests/laws")
    assert code == 1 and "0 of 10 done. Next: cosine." in out and out.count("not written") == 10


@pytest.mark.slow
def test_the_report_on_a_wrong_answer_has_the_law_the_smallest_input_the_reason_and_what_to_read():
    code, out = check(ROOT / "tests" / "wrong_answers" / "lesson_3_bug_10_one_ratio_a_batch.py", "tests/laws")
    assert code == 1 and "9 of 10 done. Next: mask_counts." in out
    assert "Each sample masks the ceiling of gamma n of its own ratio." in out
    for words in (
        "breaks at",
        "r=torch.tensor([",
        "because",
        "gamma N is",
        "known mistake: Bug 10",
        "re-read",
        "section 3.1",
    ):
        assert words in out


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_every_function_of_an_exercise_has_laws_and_every_law_is_about_one(path):
    laws = runpy.run_path(ROOT / "tests" / "laws" / f"test_{path.stem}.py")
    marks = [mark for name, law in laws.items() if name.startswith("test_") for mark in getattr(law, "pytestmark", ())]
    judged = {mark.args[0] for mark in marks if mark.name == "law"}
    judged |= {name for mark in marks if mark.args[:1] == ("name",) for name in mark.args[1]}
    assert list(laws["LESSON"]) == list(functions(exercise(path)))
    assert judged == set(laws["LESSON"])


@pytest.mark.parametrize("number", range(1, 11))
def test_every_lesson_has_three_right_answers_and_wrong_ones_that_break_its_laws(number):
    laws = runpy.run_path(ROOT / "tests" / "laws" / f"test_lesson_{number}.py")
    right = sorted((ROOT / "tests" / "right_answers").glob(f"lesson_{number}_*.py"))
    wrong = sorted((ROOT / "tests" / "wrong_answers").glob(f"lesson_{number}_*.py"))
    assert len(right) == 3 and wrong
    for path in right + wrong:
        answers = runpy.run_path(path)
        assert laws["LESSON"].keys() <= answers.keys(), path.name
        assert set(answers.get("BREAKS", ())) <= laws.keys(), path.name
        assert bool(answers.get("BREAKS")) is (path in wrong), path.name


def test_each_of_the_fourteen_known_bugs_is_among_the_wrong_answers():
    names = " ".join(path.name for path in (ROOT / "tests" / "wrong_answers").iterdir())
    assert [bug for bug in range(1, 15) if f"_bug_{bug:02}_" not in names] == []


@pytest.mark.slow
def test_a_right_answer_is_reported_as_done_without_other_lessons_laws():
    code, out = check(ROOT / "tests" / "right_answers" / "lesson_5_thresholds.py")
    assert code == 0 and "4 of 4 done. All laws hold." in out and "cosine" not in out


@pytest.mark.slow
def test_an_error_in_the_student_s_own_code_is_shown_with_its_line(tmp_path):
    path = tmp_path / "lesson_5.py"
    path.write_text("def remask(tokens, confidence, counts, mask_id):\n    return tokens[counts]\n", "utf-8")
    code, out = check(path, "tests/laws")
    assert code == 1 and "in line 2: return tokens[counts]" in out
    path.write_text("def remask(:\n", "utf-8")
    code, out = check(path, "tests/laws")
    assert code != 0 and "line 1: SyntaxError" in out


@pytest.mark.slow
def test_a_check_warns_of_what_grading_would_refuse_and_counts_as_grading_does(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    path = tmp_path / "lesson_5.py"
    source = (ROOT / "tests" / "right_answers" / "lesson_5_thresholds.py").read_text("utf-8")
    source += "\nimport oracles\nfrom minimaskgit.decoding import confidence as theirs\n"
    source += f"def remask(*args):\n    open({str(tmp_path / 'notes.txt')!r}).read()\n    return theirs\n"
    source += "def num_to_mask(*args):\n    return torch.tensor([float('nan')])\n"
    path.write_bytes(source.encode("utf-16"))
    code, out = check(path, "tests/laws")
    assert code == 1 and "num_to_mask returns NaN" in out and "NotPlain: a function" in out
    for words in (
        "uses minimaskgit.decoding.confidence",
        "imports oracles",
        "reads ",
        "which the grader does not have",
    ):
        assert words in out
    assert ".py, which the grader" not in out  # Python reads source to show an error; that is nobody's data


def test_only_what_is_used_and_not_lent_is_warned_of():
    exercise = ROOT / "lessons" / "exercises" / "lesson_5.py"
    honest = "import torch, json\nfrom minimaskgit.decoding import gumbel_noise as noise, remask\n"
    honest += "from minimaskgit.transformer import Transformer\nimport minimaskgit.training.loop\n"
    honest += "def f(x: Transformer, y: remask) -> remask:\n    return noise(x).a.b + torch.remask\n"
    assert list(refused(honest, exercise)) == []
    wrong = "import minimaskgit.decoding as d\nimport minimaskgit.masking\nfrom minimaskgit.metrics import *\n"
    wrong += "def f():\n    return d.remask(1), d.gumbel_noise, minimaskgit.masking.random_mask(2)\n"
    said = " ".join(refused(wrong, exercise))
    assert all(f"uses minimaskgit.{name}," in said for name in ("decoding.remask", "masking.random_mask", "metrics.*"))
    assert "gumbel" not in said
