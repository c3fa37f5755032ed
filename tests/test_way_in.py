"""The way into the lessons: links of words and bugs, the cell that fetches the project, the pages they lead to."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the lessons extra is not installed: make lab")

ROOT = Path(__file__).parents[1]
LESSONS = ROOT / "lessons"
sys.path.insert(0, str(LESSONS))
import way_in  # noqa: E402

PAGES = sorted([*LESSONS.glob("*.md"), *LESSONS.glob("*.ipynb")])
ADDRESS = "https://github.com/someone/minimaskgit"


def text_of(path: Path) -> str:
    """A page's Markdown, a notebook's without its code."""
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def anchors(path: Path) -> set[str]:
    return {way_in.anchor(heading) for heading in re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`\n]*`", "", text_of(page), flags=re.DOTALL)):
        if not target.startswith("https://"):
            name, _, place = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            assert there.exists(), target
            assert not place or place in anchors(there), target


@pytest.mark.parametrize("page", [path for path in PAGES if path.suffix == ".ipynb"], ids=lambda path: path.name)
def test_every_bug_that_a_lesson_mentions_is_in_the_list_and_links_to_it(page):
    text, listed = text_of(page), anchors(LESSONS / "bugs.md")
    assert {f"bug-{number}" for number in re.findall(r"\b[Bb]ug (\d+)", text)} <= listed
    linked = r"\[[Bb]ug (\d+)\]\(bugs\.md#bug-\1\)"
    assert len(re.findall(r"\b[Bb]ug \d", text)) == len(re.findall(linked, text))


def test_the_list_has_each_bug_that_the_tests_know_and_no_other():
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## The fourteen known bugs")[2]
    known = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert re.findall(r"^## Bug (\d+)$", text_of(LESSONS / "bugs.md"), re.MULTILINE) == known
    in_answers = {int(path.name.split("_bug_")[1][:2]) for path in (ROOT / "tests/wrong_answers").glob("*_bug_*.py")}
    assert in_answers == set(map(int, known))


def test_each_word_has_two_sentences_a_lesson_and_a_file_of_the_package():
    text = text_of(LESSONS / "glossary.md")
    entries = re.findall(r"^### (.+?)\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(entries) >= 30
    for word, body in entries:
        said, _, about = body.partition("\n*")
        assert len(re.findall(r"[.]\s", said + "\n")) == 2, word
        assert re.search(r"Lessons? \d+.*\]\(\.\./minimaskgit/\S+\.py\)", about, re.DOTALL), word


def test_a_word_is_linked_once_and_never_inside_code_links_tags_or_headings():
    words, used = {"mask": "mask", "mask schedule": "schedule", "schedule": "schedule", "token": "token"}, set()
    text = (
        "# A token\n\n`token` <b title='token'>[a token](x.md) [MASK] tokens and\nschedules, a token, a mask schedule"
    )
    expected = text.replace(" tokens and", " [tokens](glossary.md#token) and")
    expected = expected.replace("\nschedules", "\n[schedules](glossary.md#schedule)")
    assert way_in.linked(text, words, used) == expected and used == {"schedule", "token"}
    assert way_in.linked("Bug 4, [bug 4](x)", {}, set()) == "[Bug 4](bugs.md#bug-4), [bug 4](x)"


def opened(address: str) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Lesson 3: masks\n\nHide some.")])
    way_in.open_up(notebook, "3_masks", address)
    return notebook


def test_the_top_has_colab_and_download_if_the_project_has_an_address():
    title, fetch, rest = opened(ADDRESS).cells
    colab = "https://colab.research.google.com/github/someone/minimaskgit/blob/main/lessons/3_masks.ipynb"
    assert title.source.startswith("# Lesson 3: masks\n\n[All lessons]") and f"[Open in Colab]({colab})" in title.source
    assert f"[download]({ADDRESS}/raw/main/lessons/3_masks.ipynb)" in title.source
    assert f'"{ADDRESS}"' in fetch.source and "Hide some" in rest.source
    assert "Colab" not in opened("").cells[0].source


def test_exercises_are_explained_below_their_heading_with_the_lessons_own_number():
    cells = [nbformat.v4.new_markdown_cell(text) for text in ("# Lesson 3: masks", "Last.\n\n## Exercises\n\nHints.")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    way_in.open_up(notebook, "3_masks", "")
    text = notebook.cells[-1].source
    assert text.startswith("Last.\n\n## Exercises\n\nWrite each") and text.endswith("\n\nHints.")
    assert "exercises/lesson_3.py" in text and "make check-3" in text


def test_the_setting_is_empty_or_an_address_on_github():
    setting = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["minimaskgit"]["repository"]
    assert setting == "" or re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", setting)


def fetch(address: str, folder: Path, *lines: str) -> subprocess.CompletedProcess:
    """Run the cell in an empty folder, with git and pip replaced by a note of how they were called."""
    noted = "import subprocess\nsubprocess.run = lambda command, check: print(*command[1:])\nimport os\n"
    chdir = "os.chdir = lambda path: print('in', path)\n"
    code = noted + chdir + "\n".join(lines) + "\n" + opened(address).cells[1].source
    return subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)


MISSING = "import importlib.util\nimportlib.util.find_spec = lambda name: None"


def test_the_first_cell_fetches_the_project_only_where_it_is_missing(tmp_path):
    done = fetch(ADDRESS, tmp_path, MISSING)
    assert f"clone --quiet --depth 1 {ADDRESS} minimaskgit-clone" in done.stdout, done.stderr
    assert "pip install --quiet -e minimaskgit-clone" in done.stdout
    assert done.stdout.endswith("in minimaskgit-clone/lessons\n")
    found = fetch(ADDRESS, tmp_path, "import importlib.util\nimportlib.util.find_spec = lambda name: True")
    assert found.stdout == "" and found.returncode == 0
    assert "clone the project" in fetch("", tmp_path, MISSING).stderr
