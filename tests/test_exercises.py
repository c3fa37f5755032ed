"""The exercises: examples are right, answers are not given away, and the student's report is complete."""

import doctest
import importlib
import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import messages
import pytest
import torch
from hypothesis import given
from lawbook import law_file, parameters
from strategies import codes, small
from tiny import generator, tiny_transformer

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


# --- What a student reads ---


def message(number: int, law: str, **functions) -> tuple[str, str]:
    """The calls shown and the reason given where these functions break a law."""
    laws = law_file(number)
    package = {name: getattr(module, name) for name, (module, _) in laws.LESSON.items()}
    recorded = messages.Recorded(messages.answers("a student's", package | functions))
    law = getattr(laws, law)
    with pytest.raises(Exception) as caught, messages.told(recorded, law, laws):
        law(impl=recorded, **parameters(law)[0])
    return caught.value.__notes__[0], getattr(caught.value, "explanation", "")


SURE = "test_confidence_is_log_probability_plus_noise_and_infinite_where_known"


def test_the_smallest_call_that_breaks_a_law_can_be_pasted():
    def confidence(logits, tokens, known, temperature, noise):
        return answer("confidence")(logits, tokens, known, -temperature, noise)

    shown, why = message(5, SURE, confidence=confidence)
    assert shown.startswith("Failing test case:\nconfidence(") and shown.endswith("\n)")
    call = shown.removeprefix("Failing test case:\n").removesuffix("\n)")
    for function in (answer("confidence"), confidence):
        value = eval(call, {"torch": torch, "confidence": function})
        assert f" {[[round(x, 3) for x in row] for row in value.tolist()]}" in why


@pytest.mark.parametrize(
    "value",
    [torch.tensor([[True, False]]), torch.tensor(2), torch.zeros(0, 3), torch.full((20_000,), 2), -1.5, [1, (2,)]]
    + [torch.tensor([0.1, torch.inf, -torch.inf]), torch.tensor([0.1], dtype=torch.double), torch.ones(3, 5).half()],
    ids=str,
)
def test_arguments_are_written_as_python(value):
    again = eval(messages.written(value), {"torch": torch})
    assert again.equal(value) and again.dtype == value.dtype if isinstance(value, torch.Tensor) else again == value


def test_models_generators_and_schedules_are_written_by_their_names():
    assert messages.written(tiny_transformer(seed=3, causal=True)) == "tiny_transformer(seed=3, causal=True)"
    assert messages.written(generator(4)) == "torch.Generator().manual_seed(4)"
    assert messages.written(answer("square_root")) == "square_root"
    assert messages.written(torch.randn(30, 30)) == "<float32 of shape (30, 30)>"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda *args: None, "confidence returned None; is a `return` missing?"),
        (lambda *args: [1.0], "confidence returned a list; expected float32 of shape (1, 1)"),
        (lambda *args: answer("confidence")(*args).numpy(), "returned a numpy array; expected float32 of shape (1, 1)"),
        (lambda *args: answer("confidence")(*args).half() + 0.001, " (torch.float16); expected [["),
        (lambda *args: answer("confidence")(*args).bfloat16(), "returned bfloat16 of shape (1, 1); expected float32"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named(wrong, expected):
    assert expected in message(5, SURE, confidence=wrong)[1]


def test_a_none_is_named_where_the_law_asks_for_gradients_first():
    law = "test_the_discriminator_s_step_leaves_the_generator_without_gradient"
    why = message(2, law, discriminator_loss=lambda *args: None)[1]
    assert why == "discriminator_loss returned None; is a `return` missing?"


def test_a_wrong_dtype_is_named():
    why = message(3, "test_a_random_mask_has_exactly_the_asked_count_in_every_row", random_mask=soft_mask)[1]
    assert why == "returned float32; expected bool"


def soft_mask(*args) -> torch.Tensor:
    return answer("random_mask")(*args).float()


def test_a_size_that_is_written_in_is_reported_under_its_own_law():
    def remask(tokens, confidence, counts, mask_id):
        ranks = torch.empty(len(tokens), 64, dtype=torch.long)
        ranks.scatter_(1, confidence.argsort(1), torch.arange(64).expand(len(tokens), -1))
        return tokens.masked_fill(ranks < counts[:, None], mask_id)

    laws = law_file(5)
    impl = messages.answers("a student's", {"remask": remask})
    with pytest.raises(AssertionError, match=r"right with N = 64, K = 256, but wrong with N = 5, K = 8 \(RuntimeError"):
        laws.test_no_size_is_written_into_the_function(impl, "remask")


WRONG = sorted((ROOT / "tests" / "wrong_answers").glob("lesson_[35]_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_known_mistake_is_recognised_by_its_answers(path):
    wrong = runpy.run_path(path)
    why = message(int(path.stem.split("_")[1]), wrong["BREAKS"][0], **wrong)[1]
    assert f"looks like a known mistake: {' '.join(wrong['__doc__'].split())}" in why


def test_a_mistake_that_is_not_known_is_not_taken_for_one_that_is():
    for twist in (lambda x: x + 1, lambda x: -x, lambda x: 2 * x):
        why = message(5, SURE, confidence=lambda *args, twist=twist: twist(answer("confidence")(*args)))[1]
        assert "returned" in why and "known mistake" not in why


def test_of_many_calls_the_last_is_shown_and_what_hypothesis_drew():
    shown, _ = message(9, "test_the_trapezoid_rises_stays_and_falls", trapezoid=lambda *args: 0.5)
    assert "trapezoid(step=" in shown


def test_calls_are_those_of_the_latest_example():
    @given(x=small(3, 4), drawn=codes(5, 3))
    def law(impl, x, drawn):
        impl.nearest_codes(x, x)
        impl.code_perplexity(drawn, 5)
        raise AssertionError("always")

    recorded = messages.Recorded(messages.answers("the package", vars(importlib.import_module(TOKENIZER))))
    with pytest.raises(AssertionError), messages.told(recorded, law, law_file(1)):
        law(impl=recorded)
    assert [call.name for call in recorded.example] == ["nearest_codes", "code_perplexity"]


TOKENIZER = "minimaskgit.tokenizer"
