"""What every lesson's notebook gets at its top and in its text, so that no source repeats it.

    "# Lesson 3: masking"   ──> the same, and a line of links: all lessons, words, bugs, Open in Colab, download
    the first code cell     ──> before it, a cell that fetches the project where it is missing
    "(bug 4) ... codebook"  ──> "([bug 4](bugs.md#bug-4)) ... [codebook](glossary.md#codebook)", once for each word
    "## Exercises"          ──> the same, and where to write an answer, how to check it and when to open a hint

The project's address is the setting `repository` in pyproject.toml. While it is empty, no link asks for it.
"""

import re
import tomllib
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

LESSONS = Path(__file__).parent
# Text that a link must not touch: code, links, HTML tags, headings, whole folded hints.
CLOSED = r"```.*?```|`[^`]*`|!?\[[^\]]*\](?:\([^)]*\))?|<details>.*</details>|<[^>]*>|^#.*?$|https?://\S+"
FETCH = """\
# @title Fetch the project, where it is not installed (as in Colab)
import importlib.util
import os
import subprocess
import sys

REPOSITORY = "{repository}"
if importlib.util.find_spec("minimaskgit") is None:
    if not REPOSITORY:
        raise ModuleNotFoundError("minimaskgit is not installed: clone the project and run `make lab` there")
    if not os.path.exists("minimaskgit-clone"):
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", REPOSITORY, "minimaskgit-clone"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", "minimaskgit-clone"], check=True)
    sys.path.insert(0, os.path.abspath("minimaskgit-clone"))
    os.chdir("minimaskgit-clone/lessons")"""
EXERCISES = """\
## Exercises

Write each exercise in its cell above or in `lessons/exercises/lesson_{lesson}.py`. If you write one in both, the
notebook uses the one in its cell. `check` names the law that your function breaks and the smallest input that breaks
it; `make check-{lesson}` does the same for the file. Hand in the file or the notebook. In a notebook, only the cells
tagged `answer` count.

Open one hint, try again, then open the next. Inside the third is the package's answer, in a box of its own. Open that
box when your own version passes, or when you have been stuck for a quarter of an hour."""
HIDDEN = {"tags": ["fetch"], "jupyter": {"source_hidden": True}, "cellView": "form"}  # folded in JupyterLab and Colab


def repository() -> str:
    """The project's address, such as https://github.com/NAME/minimaskgit, or "" if pyproject.toml names none."""
    settings = tomllib.loads((LESSONS.parent / "pyproject.toml").read_text("utf-8"))
    return settings["tool"]["minimaskgit"]["repository"].rstrip("/")


def open_up(notebook: NotebookNode, stem: str, address: str) -> None:
    """Add the links, the words, what all exercises share and the cell that fetches the project to a notebook."""
    words, used, exercises = glossary(), set(), EXERCISES.format(lesson=stem.partition("_")[0])
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(re.sub(r"^## Exercises$", exercises, cell.source, flags=re.MULTILINE), words, used)
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{top_line(stem, address)}"
    notebook.cells[1:1] = [
        new_code_cell(FETCH.format(repository=address), metadata=HIDDEN),
        new_markdown_cell(rest.lstrip("\n")),
    ]


def top_line(stem: str, address: str) -> str:
    """The links below a lesson's title."""
    links = ["[All lessons](README.md)", "[words](glossary.md)", "[known bugs](bugs.md)"]
    if address:
        name = address.removeprefix("https://github.com/")
        colab = f"https://colab.research.google.com/github/{name}/blob/main/lessons/{stem}.ipynb"
        links += [f"[Open in Colab]({colab})", f"[download]({address}/raw/main/lessons/{stem}.ipynb)"]
    return " · ".join(links)


def glossary() -> dict[str, str]:
    """The anchor of each word of the glossary, and of the other names after its "Also:"."""
    found = {}
    text = (LESSONS / "glossary.md").read_text("utf-8")
    for heading, body in re.findall(r"^### (.+?)\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL):
        also = re.search(r"\*Also: ([^.]*)\.", body)
        for word in (heading, *(also[1].split(", ") if also else ())):
            found[word] = anchor(heading)
    return found


def anchor(heading: str) -> str:
    """The name that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def linked(text: str, words: dict[str, str], used: set[str]) -> str:
    """Link every "bug N", and each entry of the glossary where it is used first.

    words: the entries by their names. used: entries that are linked already, to which new ones are added. A longer name
    goes first even then, or the "mask" in a second "mask schedule" would be linked.
    """

    def link(found: re.Match) -> str:
        if found["closed"] or found["bug"]:
            return found["closed"] or f"[{found['bug']}](bugs.md#bug-{found['number']})"
        word = " ".join(found["word"].lower().split())
        place = next(place for name, place in words.items() if name.lower() in (word, word[:-1]))
        if place in used:
            return found["word"]
        used.add(place)
        return f"[{found['word']}](glossary.md#{place})"

    names = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True)) or r"(?!)"
    pattern = rf"(?P<closed>{CLOSED})|(?P<bug>\b[Bb]ug (?P<number>\d+))|(?<![\w-])(?P<word>(?i:{names})s?)(?![\w-])"
    return re.sub(pattern, link, text, flags=re.MULTILINE | re.DOTALL)
