"""Exercises in a notebook: whose function is used, and what a check says; predictions and what was measured."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from minimaskgit import building, decoding, predictions
from minimaskgit.common.errors import UserError

ROOT = Path(__file__).parents[1]
RIGHT = """
def remask(tokens, confidence, counts, mask_id):
    ranks = confidence.argsort(dim=1).argsort(dim=1)
    return tokens.masked_fill(ranks < counts[:, None], mask_id)
"""
WRONG = RIGHT.replace("<", ">=")
STUB = "def remask(tokens, confidence, counts, mask_id):\n    raise NotImplementedError\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an answer in the notebook or in the exercise file, neither of which has one at first."""
    there = tmp_path / "exercises"
    there.mkdir()
    text = (ROOT / "lessons/exercises/lesson_5.py").read_text("utf-8")
    (there / "lesson_5.py").write_text(text, "utf-8")
    main = ModuleType("__main__")
    monkeypatch.setattr(building, "EXERCISES", there)
    monkeypatch.setitem(sys.modules, "__main__", main)

    def write(answer: str, where: str) -> None:
        if where == "notebook":
            exec(answer, vars(main))
        else:
            (there / "lesson_5.py").write_text(text + answer, "utf-8")

    return write


def test_an_exercise_that_is_not_written_leaves_the_package_s_and_no_error(write, capsys):
    write(STUB, "notebook")
    write("from minimaskgit.decoding import confidence", "notebook")  # the package's is nobody's answer
    for answer in (decoding.remask, decoding.confidence):
        assert building.mine(answer) is answer
        assert capsys.readouterr().out == f"using the package's {answer.__name__}: yours is not written yet\n"
        building.check(answer.__name__)
        out = capsys.readouterr().out
        assert out.startswith(f"{answer.__name__} is not written yet.") and out.count("\n") == 1


def test_a_student_s_own_function_is_used_the_notebook_s_before_the_file_s(write, capsys):
    write(RIGHT, "file")
    write(STUB, "notebook")
    assert building.mine(decoding.remask).__module__ == "lesson_5"
    assert capsys.readouterr().out == "using your remask, from lessons/exercises/lesson_5.py\n"
    write(RIGHT, "notebook")
    assert building.mine(decoding.remask).__module__ == "__main__"
    assert capsys.readouterr().out == "using your remask, from this notebook\n"
    building.check("remask")
    assert capsys.readouterr().out == "remask, from this notebook:\n  done (4 laws hold)\n"


def test_a_decorated_function_is_a_student_s_own_and_a_decorated_stub_is_not(write, capsys):
    cached = "from functools import cache\n@cache"
    write(cached + STUB.replace("def", "\ndef", 1), "notebook")
    assert building.mine(decoding.remask) is decoding.remask
    assert "yours is not written yet" in capsys.readouterr().out
    write(cached + RIGHT, "notebook")
    assert building.mine(decoding.remask).__module__ == "__main__"
    assert capsys.readouterr().out == "using your remask, from this notebook\n"


def test_a_function_that_breaks_its_law_is_not_used(write, capsys):
    write(RIGHT, "file")
    write(WRONG, "notebook")
    assert building.mine(decoding.remask) is decoding.remask
    line = 'using the package\'s remask: yours, from this notebook, breaks a law; check("remask") says which\n'
    assert capsys.readouterr().out == line


USES_VARIABLES = """
import torch
from math import sin
ONE, table, weight = 1, torch.arange(9), torch.nn.Linear(1, 1)
def rank(x):
    return x.argsort(dim=ONE).argsort(dim=ONE)
def remask(tokens, confidence, counts, mask_id):
    assert sin(0) == 0 and confidence.table and [weight for _ in tokens] and table is not None
    return tokens.masked_fill(rank(confidence) < counts[:, None], mask_id)
"""


def test_a_check_warns_of_variables_that_grading_would_not_have(write, capsys):
    write(USES_VARIABLES, "notebook")
    building.check("remask")
    warned = re.findall(r"uses the notebook's variable (\w+);", capsys.readouterr().out)
    assert warned == ["table", "weight"]


@pytest.mark.slow
def test_a_check_in_the_notebook_says_what_make_check_says(write, capsys, tmp_path):
    write(WRONG, "notebook")
    building.check("remask")
    first, state, *said = capsys.readouterr().out.splitlines()
    assert (first, state.strip()) == ("remask, from this notebook:", "BROKEN") and len(said) > 4
    path = tmp_path / "lesson_5.py"
    path.write_text(WRONG, "utf-8")
    command = [sys.executable, "-m", "pytest", "tests/laws/test_lesson_5.py", "--submission", str(path)]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert "\n".join(line.strip() for line in said) in "\n".join(line.strip() for line in report.splitlines())


def test_a_check_shows_the_line_that_failed_and_leaves_the_notebook_as_it_was(write, capsys):
    write("def remask(tokens, confidence, counts, mask_id):\n    return tokens[99]\n", "file")
    before, threads, path = torch.get_rng_state(), torch.get_num_threads(), list(sys.path)
    building.check("remask")
    assert "IndexError" in (out := capsys.readouterr().out) and ": return tokens[99]" in out
    assert torch.get_rng_state().equal(before) and torch.get_num_threads() == threads and sys.path == path


def test_a_file_that_cannot_be_imported_is_named_with_its_line_and_the_notebook_goes_on(write, capsys):
    write("\nx = 1 / 0\n", "file")
    assert building.mine(decoding.remask) is decoding.remask
    assert "lessons/exercises/lesson_5.py cannot be imported; line " in (out := capsys.readouterr().out)
    assert "ZeroDivisionError" in out and out.count("\n") == 1
    write(RIGHT, "notebook")
    assert building.mine(decoding.remask).__module__ == "__main__"


def test_a_helper_that_is_not_written_is_not_taken_for_a_broken_law(write, capsys):
    write("def helper(x):\n    raise NotImplementedError\ndef remask(*args):\n    return helper(args)\n", "notebook")
    building.check("remask")
    assert capsys.readouterr().out.endswith("  not written: it, or a function that it calls\n")


def test_an_exercise_that_nobody_knows_is_refused_and_away_from_the_clone_the_package_s_is_used(
    write, tmp_path, monkeypatch, capsys
):
    with pytest.raises(UserError, match=r"no exercise 'remsk'; expected one of confidence, num_to_mask, remask"):
        building.check("remsk")
    monkeypatch.setattr(building, "EXERCISES", tmp_path / "nothing")
    assert building.mine(decoding.remask) is decoding.remask
    assert "are in a clone of the project" in capsys.readouterr().out
    with pytest.raises(UserError, match="check needs a clone of the project"):
        building.check("remask")


# --- Predictions ---


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(predictions, "KEPT", tmp_path / "lessons" / "predictions.json")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return predictions.KEPT


def test_a_guess_is_kept_and_shown_beside_what_was_measured(kept, capsys):
    predictions.predict("5 steps", "Which T?", [1, 2, 4], guess=2)
    predictions.predict("5 share", "Which share?", guess=0.5)
    predictions.predict("5 half", "Which half?", guess=0.5)
    assert kept.exists()
    capsys.readouterr()
    predictions.outcome("5 steps", 4)
    predictions.outcome("5 share", 0.55)
    predictions.outcome("5 half", 0.7)
    said = ["2; measured: 4; not foreseen", "0.5; measured: 0.55; right", "0.5; measured: 0.7; not foreseen"]
    assert capsys.readouterr().out.splitlines() == [f"your guess: {line}" for line in said]
    predictions.summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["5 steps", "  Which T?", "  your guess: 2; measured: 4; not foreseen"]
    assert len(lines) == 10 and lines[-1] == "foreseen: 1 of 3"


def test_the_summary_is_as_narrow_as_a_phone(kept, capsys):
    choices = ["ReMDM, by ten points or more", "nobody, it is closer"]
    predictions.predict("10 back", "Who wins in 16 steps, the best ReMDM or MaskGIT?", choices, guess=choices[0])
    predictions.outcome("10 back", choices[1])
    capsys.readouterr()
    predictions.summary()
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= predictions.WIDTH
    assert "your guess: ReMDM, by ten points or more; measured: nobody, it is closer; not foreseen" in " ".join(
        said.split()
    )


def test_a_guess_can_change_until_it_has_met_its_measurement(kept, capsys):
    for guess in (1, 2):
        predictions.predict("5 steps", "Which T?", [1, 2, 4], guess=guess)
    predictions.outcome("5 steps", 4)
    predictions.predict("5 steps", "Which T?", [1, 2, 4], guess=4)
    assert capsys.readouterr().out.endswith("your guess, before you measured: 2\n")


def test_in_jupyter_a_guess_can_be_withdrawn_and_one_of_older_choices_is_not_shown(kept, monkeypatch):
    pytest.importorskip("ipywidgets", reason="the lessons extra is not installed: make lab")
    monkeypatch.setenv("JPY_SESSION_NAME", "5.ipynb")
    field = predictions.predict("5 steps", "Which T?", [1, 2, 4])
    field.value = 4
    assert json.loads(kept.read_text("utf-8"))["5 steps"]["guess"] == 4
    assert predictions.predict("5 steps", "Which T?", [1, 2]).value is None
    field.value = None
    assert json.loads(kept.read_text("utf-8")) == {}


def test_where_nobody_guesses_everything_still_runs_and_nothing_is_written(kept, capsys):
    assert predictions.predict("5 steps", "Which T?", [1, 2, 4]) is None
    predictions.outcome("5 steps", 4)
    predictions.summary()
    assert "measured: 4 (you made no guess)" in capsys.readouterr().out and not kept.exists()


@pytest.mark.parametrize(("choices", "guess"), [(["yes", "no"], "perhaps"), (None, "many")])
def test_a_guess_that_is_no_answer_is_refused(kept, choices, guess):
    with pytest.raises(UserError, match=f"'{guess}' is no answer to 'Which\\?'; expected "):
        predictions.predict("5 which", "Which?", choices, guess)


def test_in_jupyter_a_field_takes_the_guess(kept, monkeypatch, capsys):
    pytest.importorskip("ipywidgets", reason="the lessons extra is not installed: make lab")
    monkeypatch.setenv("JPY_SESSION_NAME", "5.ipynb")
    predictions.predict("5 steps", "Which T?", [1, 2, 4]).value = 4
    predictions.predict("5 share", "Which share?").value = "0.25"
    predictions.outcome("5 steps", 4)
    predictions.outcome("5 share", 1.0)
    said = capsys.readouterr().out
    assert "your guess: 4; measured: 4; right" in said and "your guess: 0.25; measured: 1; not foreseen" in said


def test_a_guess_of_0_is_kept_and_what_is_no_number_is_not(kept, monkeypatch, capsys):
    pytest.importorskip("ipywidgets", reason="the lessons extra is not installed: make lab")
    monkeypatch.setenv("JPY_SESSION_NAME", "7.ipynb")
    field = predictions.predict("7 known", "How many?")
    for text in ("many", "nan"):
        field.value = text
        assert field.value == "" and not kept.exists()
    field.value = "0"
    predictions.outcome("7 known", 0)
    assert "your guess: 0; measured: 0; right" in capsys.readouterr().out


def test_without_the_lessons_extra_a_field_says_what_to_install(kept, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "5.ipynb")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(UserError, match="ipywidgets is not installed; notebooks need the lessons extra: in a clone"):
        predictions.predict("5 share", "Which share?")
