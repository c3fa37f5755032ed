"""The lessons: notebooks agree with their sources and have real outputs; the runner reports what happens."""

import ast
import inspect
import json
import os
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat", reason="the lessons extra is not installed: make lab")
pytest.importorskip("nbconvert", reason="the lessons extra is not installed: make lab")
pytest.importorskip("nbclient", reason="the lessons extra is not installed: make lab")

from lawbook import judged  # noqa: E402

from minimaskgit import notebook  # noqa: E402
from minimaskgit.grading.texts import read_answer  # noqa: E402
from minimaskgit.runs.run import open_run  # noqa: E402
from minimaskgit.web import build  # noqa: E402

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "lessons" / "source").glob("*.py"))

sys.path.insert(0, str(ROOT / "lessons"))  # where run.py finds way_in.py and solutions.py
import run as runner  # noqa: E402
import solutions  # noqa: E402

PICTURES = ("show", *(f"notebook.{name}" for name in ("road_map", "knob", "film", "playground")))

each_lesson = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def notebook_of(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "lessons" / f"{source.stem}.ipynb", as_version=4)


@each_lesson
def test_a_notebook_matches_its_source(source):
    number = runner.number_of(source)
    written, expected = notebook_of(source), runner.from_source(source.read_text("utf-8"), number)
    assert [parts(cell) for cell in written.cells] == [parts(cell) for cell in expected.cells]


def parts(cell: nbformat.NotebookNode) -> tuple:
    return cell.cell_type, cell.metadata.get("tags", []), cell.source


@each_lesson
def test_a_notebook_is_executed_in_order_without_error_and_small(source):
    path = ROOT / "lessons" / f"{source.stem}.ipynb"
    assert path.stat().st_size < 400_000
    notebook = notebook_of(source)
    nbformat.validate(notebook)
    assert 15 <= len(notebook.cells) <= 62
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


@each_lesson
def test_a_picture_comes_last_in_its_cell_because_otherwise_jupyter_drops_it(source):
    for cell in runner.from_source(source.read_text("utf-8")).cells:
        for statement in ast.parse(cell.source).body[:-1] if cell.cell_type == "code" else []:
            called = ast.unparse(statement.value.func) if is_call(statement) else ""
            assert called not in PICTURES, ast.unparse(statement)


def is_call(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)


@each_lesson
def test_every_figure_of_a_notebook_says_what_it_shows(source):
    outputs = [output for cell in notebook_of(source).cells for output in cell.get("outputs", ())]
    said = [alt for output in outputs for alt in alternatives(output)]
    assert said and not [alt for alt in said if len(alt) < 20]
    assert len(set(said)) == len(said)


def alternatives(output: nbformat.NotebookNode) -> list[str]:
    """The alternative texts of an output's pictures; "" for a picture without one."""
    data = output.get("data", {})
    images = [output.metadata.get(kind, {}).get("alt", "") for kind in data if kind.startswith("image/")]
    tags = re.findall(r'<img\b(?: alt="([^"]*)")?', data.get("text/html", ""))
    return images + tags


@each_lesson
def test_a_lesson_has_all_required_parts(source):
    text = source.read_text("utf-8")
    number = source.stem.split("_")[0]
    for part in ("The idea", "Predict", "Break it", "What the paper did", "What to read next"):
        assert part in text, part
    assert f"notebook.road_map({number})" in text
    if number == "0":
        return  # lesson 0 has no exercises
    assert "\n# ## Exercises\n" in text  # the build adds how to write and check them (way_in.py)
    stubs = (ROOT / "lessons" / "exercises" / f"lesson_{number}.py").read_text("utf-8")
    named = set(re.findall(r"<summary><b>(\w+)</b>: the idea", text))
    assert named <= set(re.findall(r"^def (\w+)", stubs, re.MULTILINE)) and len(named) >= 2


# --- Exercises in the notebook ---

each_built = pytest.mark.parametrize(
    "source", [path for path in SOURCES if 'tags=["answer"]' in path.read_text("utf-8")], ids=lambda path: path.stem
)


@each_built
def test_a_notebook_has_the_stub_of_every_exercise_to_write_to_check_and_to_use(source):
    number, cells = runner.number_of(source), notebook_of(source).cells
    stubs = "\n".join(cell.source for cell in cells if "answer" in cell.metadata.get("tags", ()))
    asked = (ROOT / "lessons" / "exercises" / f"lesson_{number}.py").read_text("utf-8")
    assert signatures(stubs) == signatures(asked)
    assert stubs.count("raise NotImplementedError") == asked.count("    raise NotImplementedError")
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for name in signatures(asked):
        assert f'check("{name}")' in code and re.search(rf"mine\(\w+\.{name}\)", code), name
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        assert re.search(rf"`{name}`[^\n]*\*(Easy|Medium|Hard), about \d+ minutes", text.replace("\n", " ")), name


def signatures(text: str) -> dict[str, list[str]]:
    """The parameters of every function in a text, and the methods of every class."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = [one.arg for one in node.args.args]
        elif isinstance(node, ast.ClassDef):
            found[node.name] = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
    return found


@each_built
def test_no_code_cell_has_or_prints_the_answer_to_an_exercise(source):
    shown = "\n".join(
        cell.source + "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook_of(source).cells
        if cell.cell_type == "code"
    )
    for name, answer in solutions.answers(runner.number_of(source)).items():
        body = solutions.without_docstring(inspect.getsource(answer)).splitlines()[1:]
        assert not [line for line in body if len(line.strip()) > 30 and line.strip() in shown], name


@each_built
def test_the_teacher_s_notebook_holds_every_law(source, tmp_path):
    number = runner.number_of(source)
    path = runner.solved(ROOT / "lessons" / f"{source.stem}.ipynb", tmp_path)
    names: dict = {"__name__": "solved"}
    exec(read_answer(path), names)
    for name in solutions.answers(number):
        assert names[name].__module__ == "solved"
        holds, said = judged(name, number, names, path)
        assert holds, said
    assert not [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.get("outputs")]


def test_all_lessons_can_be_written_with_their_exercises_solved(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "OUT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "--solutions"])
    assert runner.main() == 0
    written = capsys.readouterr().out.split()
    assert len(written) == 11 and all(Path(path).exists() for path in written)


@pytest.mark.parametrize("numbers", [[], ["4", "8"]])
def test_only_a_run_of_all_lessons_replaces_the_table_of_their_times(numbers, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "OUT", tmp_path)
    monkeypatch.setattr(runner, "run", lambda path, out: 1.0)
    monkeypatch.setattr(sys, "argv", ["run.py", *numbers])
    assert runner.main() == 0 and (tmp_path / "times.json").exists() == (not numbers)


@each_lesson
def test_the_laws_name_headings_that_the_lesson_has(source):
    laws = ROOT / "tests" / "laws" / f"test_lesson_{source.stem.split('_')[0]}.py"
    for heading in re.findall(r"\"lesson \d+, '(.+?)'(?=:)", laws.read_text("utf-8") if laws.exists() else ""):
        assert re.search(rf"^# ## {re.escape(heading)}$", source.read_text("utf-8"), re.MULTILINE), heading


@pytest.mark.parametrize("number", range(11))
def test_the_map_has_a_place_for_every_lesson_and_says_it_in_words(number):
    shown = notebook.road_map(number)
    assert len(shown.data) > 1000
    assert shown.alt.endswith(f" You are at {number}.") == (number > 0)


def test_a_picture_hands_its_alternative_text_on(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    picture = Image.new("RGB", (4, 4))
    about = lambda *said, **how: notebook.show(picture, *said, **how)._repr_mimebundle_()[1]
    assert about("1 < 2", width=8) == {"image/png": {"width": 8, "alt": "1 < 2"}}
    assert about("1 < 2", photo=True) == {"image/jpeg": {"alt": "1 < 2"}} and not about()
    assert '<img alt="1 &lt; 2" src="data:image/gif' in notebook.film([picture, picture], "1 < 2").data
    monkeypatch.setenv("JPY_SESSION_NAME", "3.ipynb")
    assert '<img alt="1 &lt; 2" width="8" src="data:image/png' in notebook.show(picture, "1 < 2", width=8).data


def test_a_page_without_sliders_says_which_values_its_picture_shows(monkeypatch, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    drawn = []
    picture = Image.new("RGB", (4, 4))
    draw = lambda **values: drawn.append(values) or picture
    assert notebook.knob(draw, "A grey square", share=[0.1, 0.64, 1.0], T=[8]).alt == "A grey square"
    assert drawn == [{"share": 0.64, "T": 8}]
    assert capsys.readouterr().out == "share = 0.64, T = 8; sliders in JupyterLab\n"


# --- The playground ---


@pytest.mark.parametrize("number", [0, 3, 5, 6, 7])
def test_a_lesson_asks_for_a_prediction_before_it_shows_the_playground(number):
    source = next(path for path in SOURCES if path.stem.startswith(f"{number}_"))
    cells = runner.from_source(source.read_text("utf-8")).cells
    asked = [before.source for before, cell in pairwise(cells) if "notebook.playground(" in cell.source]
    assert asked and all("**Predict, then try.**" in text for text in asked)


def test_the_playground_is_written_once_and_again_when_the_run_or_the_page_changes(run_folder, tmp_path, monkeypatch):
    run = tmp_path / "my run #1"
    shutil.copytree(run_folder, run, ignore=shutil.ignore_patterns("tensorboard", "gan", "diffusion", "*.png"))
    shutil.copytree(build.HERE, tmp_path / "web")
    monkeypatch.setattr(build, "HERE", tmp_path / "web")
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "playground-my run #1.html"

    def written() -> bool:
        if page.exists():
            os.utime(page, (0, 0))
        shown = notebook.playground(open_run(run, "cpu"), "race", steps=3, schedule="1,0.4,0").data
        assert len(shown) < 1000
        assert 'src="playground-my%20run%20%231.html#show=race&amp;steps=3&amp;schedule=1,0.4,0"' in shown
        return page.stat().st_mtime != 0

    assert [written(), written()] == [True, False]
    names = run / "labels.json"
    names.write_text(names.read_text("utf-8").replace('"', '"another ', 1), "utf-8")
    assert [written(), written()] == [True, False] and "another " in page.read_text("utf-8")
    (tmp_path / "web" / "page.css").write_text("body { color: navy; }", "utf-8")
    assert [written(), written()] == [True, False] and "navy" in page.read_text("utf-8")


def test_the_playground_says_what_it_lacks_of_a_run(run_folder, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run, ignore=shutil.ignore_patterns("autoregressive", "critic"))
    monkeypatch.chdir(tmp_path)
    notebook.playground(open_run(run, "cpu"))
    assert capsys.readouterr().out == "left out, not trained in this run: autoregressive, critic\n"


# --- The runner ---


def test_text_becomes_cells():
    notebook = runner.from_source("# %% [markdown]\n# # Title\n#\n# - a\n\n# %%\nx = 1\n\n# %%\nx\n")
    assert [cell.source for cell in notebook.cells] == ["# Title\n\n- a", "x = 1", "x"]
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code"]


def test_progress_bars_and_warnings_leave_no_trace_in_a_notebook():
    notebook = runner.from_source("# %%\nx\n")
    bar, picture = ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%"}, {"image/png": ""})
    notebook.cells[0].outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="50%"),
        *(nbformat.v4.new_output("display_data", data) for data in (bar, picture)),
    ]
    runner.tidy(notebook)
    assert [output.data for output in notebook.cells[0].outputs] == [picture]


def test_the_page_of_a_lesson_says_what_its_figures_show():
    shown = runner.from_source("# %%\nx\n")
    metadata = {"image/png": {"alt": "1 < 2", "width": 8}}
    shown.cells[0].outputs = [
        nbformat.v4.new_output("display_data", {"image/png": "iVBO"}, metadata=metadata),
        nbformat.v4.new_output("display_data", {"image/jpeg": "/9j/"}),
    ]
    tags = re.findall(r"<img[^>]*>", runner.to_html(shown, "x"))
    assert ['alt="1 &lt; 2"' in tag and "iVBO" in tag for tag in tags] == [True, False]
    assert "No description" in tags[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of lessons."""
    monkeypatch.setattr(runner, "LESSONS", tmp_path)
    monkeypatch.setattr(runner, "OUT", tmp_path / "runs")
    return tmp_path


def lesson(folder: Path, number: int, text: str) -> None:
    nbformat.write(runner.from_source(text), folder / f"{number}_tried.ipynb")


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["run.py", *arguments])
    return runner.main()


def test_new_text_keeps_the_outputs_and_new_code_is_refused(folder, monkeypatch, capsys):
    (folder / "source").mkdir()
    source, text = folder / "source" / "3_tried.py", "# %% [markdown]\n# # Old\n# Text.\n\n# %%\n40 + 2\n"
    source.write_text(text, "utf-8")
    notebook = runner.from_source(text, 3)
    result = nbformat.v4.new_output("execute_result", {"text/plain": "42"}, execution_count=1)
    notebook.cells[-1].outputs = [result]
    nbformat.write(notebook, folder / "3_tried.ipynb")
    source.write_text(text.replace("Old", "New"), "utf-8")
    assert run(monkeypatch, "--sync") == 0
    synced = nbformat.read(folder / "3_tried.ipynb", as_version=4)
    assert synced.cells[0].source.startswith("# New") and synced.cells[-1].outputs[0].data == result.data
    assert [cell.execution_count for cell in synced.cells if cell.cell_type == "code"] == [1, 2]
    source.write_text(text.replace("40", "41"), "utf-8")
    assert run(monkeypatch, "--sync") == 1
    assert "the code of 3_tried has changed: 41 + 2; use --build" in capsys.readouterr().err


@pytest.mark.slow
def test_running_a_lesson_writes_a_notebook_and_a_page_that_needs_no_network(folder, monkeypatch, capsys):
    lesson(folder, 3, "# %% [markdown]\n# ## Sums\n\n# %%\nx = 40 + 2\n\n# %%\nprint(x)\n")
    (folder / "playground-glyphs.html").write_text("a page that a frame shows", "utf-8")
    assert run(monkeypatch, "3") == 0
    assert (folder / "runs" / "playground-glyphs.html").exists()
    out = capsys.readouterr().out
    assert "[ 1/2] Sums" in out and "[ 2/2] Sums" in out and " MB" in out and "3_tried.html" in out
    written = json.loads((folder / "runs" / "3_tried.ipynb").read_text("utf-8"))
    assert written["cells"][-1]["outputs"][0]["text"] == ["42\n"]
    page = (folder / "runs" / "3_tried.html").read_text("utf-8")
    assert "42" in page and not re.search(r'(src|href)="https?://', page) and "cdn" not in page


@pytest.mark.slow
def test_a_failing_cell_is_shown_with_its_line_and_other_lessons_still_run(folder, monkeypatch, capsys):
    lesson(folder, 3, "# %%\nx = 1\ny = x / 0\n")
    lesson(folder, 4, "# %%\nimport os\n\nos._exit(1)\n")
    lesson(folder, 5, "# %%\nx = 1\n")
    assert run(monkeypatch) == 1
    shown = capsys.readouterr()
    assert "-->   2 y = x / 0" in shown.err and "line 2: ZeroDivisionError" in shown.err
    assert "the kernel died" in shown.err and "os._exit" in shown.err
    assert "5_tried.html" in shown.out and "FAILED" in shown.out and "peak memory" in shown.out


def test_the_error_for_a_missing_lesson_names_the_existing_ones_in_order(folder, monkeypatch, capsys):
    for number in (3, 10):
        lesson(folder, number, "# %%\nx = 1\n")
    assert run(monkeypatch, "12") == 2
    assert "no lesson 12; expected one of 3 (tried), 10 (tried)" in capsys.readouterr().err
