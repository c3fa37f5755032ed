"""Run lessons without a browser: `make lesson-3`, `make lessons` (or `python lessons/run.py 3`).

    lessons/3_*.ipynb ──fresh kernel, one line printed per cell──> runs/lessons/3_*.ipynb and a self-contained .html
                                                                   (but for the playground, which lies beside it)

Each notebook is written in lessons/source/3_*.py, where changes are easy to review, in cells that begin with `# %%`
(code) or `# %% [markdown]`. `python lessons/run.py --build 3` builds the notebook from it, with outputs; a test checks
that the two agree. `--sync 3` renews what changed in text cells alone, and keeps the outputs. `--solutions 3` writes it
with all exercises solved, for teachers.
"""

import argparse
import html
import re
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import jupytext
import nbformat
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from solutions import fill, folded  # beside this file
from way_in import open_up, repository  # beside this file

from minimaskgit.common import cli
from minimaskgit.common.files import write_json
from minimaskgit.common.machine import described, machine
from minimaskgit.common.tables import text_table

LESSONS = Path(__file__).parent
OUT = LESSONS.parent / "runs" / "lessons"
# Prints the kernel's peak memory in bytes.
PEAK = "import torch; from minimaskgit.common.machine import peak_memory; print(peak_memory(torch.device('cpu')))"
TIMEOUT = 300  # seconds per cell
STYLE = ".highlight pre { white-space: pre-wrap !important; }"  # wraps long lines of code on the pages


class Failed(Exception):
    """A cell raised an error; the message shows the cell, the line and the error."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Run lessons: notebook and HTML under runs/lessons.")
    parser.add_argument("numbers", nargs="*", help="numbers of the lessons; default all")
    parser.add_argument("--build", action="store_true", help="build lessons/*.ipynb from lessons/source")
    parser.add_argument("--solutions", action="store_true", help="write notebooks with all exercises solved, not run")
    parser.add_argument("--sync", action="store_true", help="renew the text of lessons/*.ipynb and keep the outputs")
    options = parser.parse_args()
    lessons = numbered(LESSONS.glob("[0-9]*_*.ipynb"))
    if options.build:
        lessons = numbered([*lessons.values(), *(LESSONS / "source").glob("[0-9]*_*.py")])
    for number in options.numbers:
        if number not in lessons:
            names = ", ".join(f"{key} ({path.stem.split('_', 1)[1]})" for key, path in lessons.items())
            print(f"error: no lesson {number}; expected one of {names}", file=sys.stderr)
            return 2
    if options.solutions:
        for number in options.numbers or lessons:
            print(solved(lessons[number], OUT / "solutions"))
        return 0
    if options.sync:
        try:
            print(*(sync(lessons[number]) for number in options.numbers or lessons), sep="\n")
        except Failed as failure:
            print(failure, file=sys.stderr)
            return 1
        return 0
    done, code = {}, 0
    for number in options.numbers or lessons:
        path, began = lessons[number], time.perf_counter()
        try:
            peak = run(path, LESSONS if options.build else OUT)
        except Failed as failure:
            print(failure, file=sys.stderr)
            peak, code = None, 1
        done[path.stem] = {"seconds": time.perf_counter() - began, "megabytes": peak}
    if len(done) > 1:
        times = {"machine": machine(torch.device("cpu")), "lessons": done}
        print("\n" + table(times))
        if code == 0 and len(done) == len(lessons):  # the documents show the table of all
            write_json(OUT / "times.json", times)
            print(OUT / "times.json")
    return code


def numbered(paths: Iterable[Path]) -> dict[str, Path]:
    """The lessons by number, in order; of two with one number, the later path."""
    found = {path.name.split("_")[0]: path for path in paths}
    return dict(sorted(found.items(), key=lambda lesson: int(lesson[0])))


def table(times: dict) -> str:
    """The time and memory of each lesson, as text."""
    rows = []
    for name, took in times["lessons"].items():
        memory = "FAILED" if took["megabytes"] is None else f"{took['megabytes']:.0f} MB"
        rows.append([name, f"{took['seconds']:.0f} s", memory])
    return text_table(["lesson", "seconds", "peak memory"], rows) + f"\non {described(times['machine'])}"


def run(path: Path, out: Path) -> float:
    """Execute a lesson, printing a line per cell, and write it to `out` and its HTML to runs/lessons.

    Returns the peak memory in MB. Raises Failed if a cell fails or takes too long.
    """
    if path.suffix == ".py":
        notebook = from_source(path.read_text("utf-8"), number_of(path))
    else:
        notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    title, done, began = path.stem, 0, time.perf_counter()
    options = {
        "timeout": TIMEOUT,
        "kernel_name": "python3",
        "extra_arguments": ["--log-level=50"],
        "resources": {"metadata": {"path": str(LESSONS)}},
    }
    client = NotebookClient(notebook, record_timing=False, **options)
    print(path.stem)
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "markdown":
                title = heading(cell.source) or title
                continue
            done, cell_began = done + 1, time.perf_counter()
            print(f"  [{done:2}/{len(code)}] {title[:60]:60}", end=" ", flush=True)
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                raise Failed(explanation(cell.source, error)) from None
            except CellTimeoutError:
                raise Failed(f"FAILED\nthe cell took longer than {TIMEOUT} s:\n{cell.source}") from None
            except DeadKernelError:
                raise Failed(f"FAILED\nthe kernel died, perhaps out of memory, in the cell\n{cell.source}") from None
            print(f"{time.perf_counter() - cell_began:6.1f} s", flush=True)
        notebook.cells.append(new_code_cell(PEAK))
        client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1, store_history=False)
        last = notebook.cells.pop()
    peak = int(last.outputs[0].text) / 2**20
    tidy(notebook)
    out.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    written, page = out / f"{path.stem}.ipynb", OUT / f"{path.stem}.html"
    nbformat.write(notebook, written)
    page.write_text(to_html(notebook, path.stem), "utf-8")
    for playground in LESSONS.glob("playground-*.html"):
        shutil.copy(playground, OUT)
    print(f"  {time.perf_counter() - began:.0f} s, at most {peak:.0f} MB\n  {written}\n  {page}")
    return peak


def solved(path: Path, out: Path) -> Path:
    """Write a lesson's notebook with the package's answers in the cells of the exercises, and without outputs."""
    notebook = nbformat.read(path, as_version=4)
    fill(notebook, number_of(path))
    out.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out / path.name)
    return out / path.name


def number_of(path: Path) -> int:
    """The lesson that a notebook or source is of."""
    return int(path.stem.split("_")[0])


def sync(path: Path) -> Path:
    """Write a notebook anew from its source, keeping the outputs of its code; Failed if the code changed."""
    source = LESSONS / "source" / f"{path.stem}.py"
    new, old = from_source(source.read_text("utf-8"), number_of(path)), nbformat.read(path, as_version=4)
    outputs = {cell.source: cell.outputs for cell in old.cells if cell.cell_type == "code"}
    code = [cell for cell in new.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        if cell.source not in outputs and "fetch" not in cell.metadata.get("tags", ()):
            raise Failed(f"error: the code of {path.stem} has changed: {cell.source.splitlines()[0]}; use --build")
        cell.outputs, cell.execution_count = outputs.get(cell.source, []), count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    nbformat.write(new, path)
    return path


def heading(markdown: str) -> str:
    """The first heading in a text cell, if any."""
    found = re.search(r"^#+ (.*)$", markdown, re.MULTILINE)
    return found[1] if found else ""


def explanation(source: str, error: CellExecutionError) -> str:
    """Show the cell with the failing line marked, and the error."""
    trace = re.sub(r"\x1b\[[0-9;]*m", "", error.traceback)
    lines = re.findall(r"^-+> *(\d+) ", trace, re.MULTILINE)
    number = int(lines[0]) if lines else 1
    shown = [f"{'-->' if i == number else '   '} {i:3} {line}" for i, line in enumerate(source.splitlines(), 1)]
    return "FAILED\n" + "\n".join([*shown, f"line {number}: {error.ename}: {error.evalue}"])


def tidy(notebook: NotebookNode) -> None:
    """Remove outputs that differ meaninglessly from run to run: standard error and progress bars."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" and not is_bar(output)]
    notebook.metadata.pop("widgets", None)


def is_bar(output: NotebookNode) -> bool:
    """Whether an output is a progress bar; the lessons' sliders are not widgets when run without a browser."""
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def to_html(notebook: NotebookNode, title: str) -> str:
    """Convert a notebook to a self-contained page; formulas stay plain text, so no script has to be downloaded."""
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook, {"metadata": {"name": title}})
    page = with_alternatives(page, notebook)
    page = page.replace("</head>", f"<style>{STYLE}</style>\n</head>", 1)
    page = re.sub(r'<script[^>]*src="https?://[^>]*>\s*</script>', "", page)
    page = re.sub(r'href="([\w./]+\.md\b)', r'href="../../lessons/\1', page)  # the page lies in runs/lessons
    return re.sub(r"<script[^>]*>(?:(?!</script>).)*https?://.*?</script>", "", page, flags=re.DOTALL)


def with_alternatives(page: str, notebook: NotebookNode) -> str:
    """Put the alternative texts of the figures into a page, because nbconvert's template "lab" leaves them out."""
    said = {}
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        for kind, data in output.get("data", {}).items():
            if alt := output.get("metadata", {}).get(kind, {}).get("alt"):
                said[data] = f'<img alt="{html.escape(alt)}"'
    tag = lambda found: said.get(found[3], found[1]) + found[2]
    return re.sub(r'(<img alt="No description[^"]*")([^>]*;base64,([^"]*)")', tag, page)


# --- Notebooks from plain text ---


def from_source(text: str, lesson: int | None = None) -> NotebookNode:
    """Make a notebook without outputs from percent format, as jupytext has it.

    A lesson's has its answers folded in, and what way_in.py adds.
    """
    notebook = jupytext.reads(text, fmt="py:percent")
    if lesson is not None:
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = folded(cell.source, lesson)
        open_up(notebook, next((LESSONS / "source").glob(f"{lesson}_*.py")).stem, repository())
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02}"  # the same on every build
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = NotebookNode(kernelspec=kernel, language_info={"name": "python"})
    return notebook


if __name__ == "__main__":
    cli.run(lambda: sys.exit(main()))  # ends without a traceback on Ctrl-C
