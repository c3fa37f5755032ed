"""Build the static site of the lessons: `make site`, in runs/site. Nothing is executed.

    lessons/*.ipynb ──nbconvert──┐
    *.md ───────────Markdown─────┼──> one page each, search.js with the text of every section, playground-glyphs.html
    run, the playground ─────────┘

Links are relative and the search is a script, so the site works from a folder on disk and below any address. nbconvert
and Markdown are installed for the lessons anyway, so the site needs no generator of its own and no other packages.
"""

import base64
import html
import io
import json
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
from markdown import Markdown
from nbconvert import HTMLExporter
from PIL import Image
from pygments.formatters import HtmlFormatter
from way_in import LESSONS, anchor, repository  # beside this file

from minimaskgit.common import cli
from minimaskgit.runs.run import PRETRAINED, open_run
from minimaskgit.web.build import build

ROOT = LESSONS.parent
OUT = ROOT / "runs" / "site"
PAGES = {  # the pages beside the notebooks, by their place in the project
    "lessons/README.md": "Lessons",
    "lessons/pretest.md": "Pre-test",
    "lessons/glossary.md": "Words",
    "lessons/bugs.md": "Bugs",
    "data/results/README.md": "Results",
    "lessons/grading.md": "Grading",
}
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · minimaskgit</title><link rel="stylesheet" href="site.css">
<script>let kept; try {{ kept = localStorage.theme }} catch {{}} // forbidden without cookies
document.documentElement.dataset.theme = kept
  || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")</script></head><body>
<header><nav>{links}</nav><div><input id="search" type="search" placeholder="Search" aria-label="Search">
<ol id="found" aria-label="Search results"></ol><span id="count" class="unseen" role="status"></span>
<button id="theme" title="Light or dark" aria-label="Switch between light and dark">◐</button></div></header>
<main>
"""
TAIL = """
</main><footer>{footer}</footer><script src="search.js"></script><script src="site.js"></script></body></html>
"""


def main() -> int:
    """Write the site into OUT, anew."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    notebooks = sorted(LESSONS.glob("[0-9]*_*.ipynb"), key=lambda path: int(path.stem.split("_")[0]))
    bodies = {ROOT / page: of_markdown((ROOT / page).read_text("utf-8")) for page in PAGES}
    bodies |= {path: of_notebook(path) for path in notebooks}
    names = {path: name_of(path) for path in bodies}
    index = []
    for number, (path, body) in enumerate(bodies.items()):
        body = with_stills(relinked(body, path, names), Path(names[path]).stem)
        title = html.unescape(re.sub(r"<[^>]*>", "", re.search(r"<h1.*?</h1>", body, re.DOTALL)[0])).strip("¶ \n")
        index += sections(body, names[path], title)
        footer = neighbours(notebooks, path, names)
        page = HEAD.format(title=html.escape(title), links=navigation(names, path)) + body + TAIL.format(footer=footer)
        (OUT / names[path]).write_text(page, "utf-8")
        print(f"[{number + 1:2}/{len(bodies)}] {names[path]}")
    (OUT / "search.js").write_text(f"const SECTIONS = {json.dumps(index, ensure_ascii=False)}", "utf-8")
    (OUT / "site.js").write_text((LESSONS / "pages.js").read_text("utf-8"), "utf-8")
    (OUT / "site.css").write_text(colours() + (LESSONS / "pages.css").read_text("utf-8"), "utf-8")
    (OUT / "playground-glyphs.html").write_text(build(open_run(PRETRAINED / "glyphs", "cpu")).html, "utf-8")
    print(OUT / "index.html")
    return 0


def name_of(path: Path) -> str:
    """The page's file in the site."""
    if path.suffix == ".ipynb":
        return f"{path.stem}.html"
    return {"Lessons": "index.html"}.get(label := PAGES[path.relative_to(ROOT).as_posix()], f"{label.lower()}.html")


def of_markdown(text: str) -> str:
    text = re.sub(r"<details>", '<details markdown="1">', text)
    slugs = {"toc": {"slugify": lambda heading, _: anchor(heading)}}
    return Markdown(extensions=["tables", "fenced_code", "toc", "md_in_html"], extension_configs=slugs).convert(text)


def of_notebook(path: Path) -> str:
    """A notebook's cells and their outputs, without the cell that fetches the project."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "fetch" not in cell.metadata.get("tags", ())]
    shutil.copy(path, OUT)
    if not repository():  # with an address, the notebook has the link already
        notebook.cells[0].source += f" · [download]({path.name})"
    prompts = {"exclude_input_prompt": True, "exclude_output_prompt": True}
    body, _ = HTMLExporter(template_name="basic", **prompts).from_notebook_node(notebook)
    ours = lambda found: f'{found[1]}{anchor(unquote(found[2]))}"'  # nbconvert keeps capitals in the names of headings
    return re.sub(r'(<h\d id="|<a class="anchor-link" href="#)([^"]*)"', ours, body)


def relinked(body: str, path: Path, names: dict[Path, str]) -> str:
    """Make the links of a page right in the site: to pages, to pictures (copied), and to files (in the repository)."""

    def moved(found: re.Match) -> str:
        attribute, target = found[1], html.unescape(found[2])
        name, _, place = target.partition("#")
        if not name or re.match(r"[a-z]+:|playground-", name) or name == path.name:  # a download
            return found[0]
        file = (path.parent / name).resolve()
        if file in names:
            return f'{attribute}="{names[file]}{"#" * bool(place)}{place}"'
        if file.suffix in (".png", ".gif", ".jpg") and file.exists():
            picture = OUT / "pictures" / file.relative_to(ROOT).as_posix().replace("/", "-")
            picture.parent.mkdir(exist_ok=True)
            shutil.copy(file, picture)
            return f'{attribute}="pictures/{picture.name}"'
        inside = file.relative_to(ROOT).as_posix()
        if repository():
            return f'{attribute}="{repository()}/blob/main/{inside}{"#" * bool(place)}{place}"'
        return f'title="in the project: {inside}"'

    return re.sub(r'\b(href|src)="([^"]*)"', moved, body)


def with_stills(body: str, page: str) -> str:
    """Give each animated GIF its last picture as well, which site.js shows while the GIF does not move."""

    def stilled(found: re.Match) -> str:
        name, _, data = found[1].partition("base64,")
        film = io.BytesIO(base64.b64decode(data)) if data else OUT / name
        still = f"pictures/{page}-{found.start()}.png"
        (OUT / still).parent.mkdir(exist_ok=True)
        with Image.open(film) as picture:
            picture.seek(picture.n_frames - 1)
            picture.save(OUT / still)
        return f'{found[0]} data-still="{still}"'

    return re.sub(r'\bsrc="(data:image/gif;base64,[^"]*|[^"]*\.gif)"', stilled, body)


def navigation(names: dict[Path, str], here: Path) -> str:
    links = [(names[ROOT / page], label) for page, label in PAGES.items() if label != "Grading"]
    links.insert(1, ("playground-glyphs.html", "Playground"))
    return "".join(
        f'<a href="{name}"{" aria-current=page" * (name == names[here])}>{label}</a>' for name, label in links
    )


def neighbours(notebooks: list[Path], path: Path, names: dict[Path, str]) -> str:
    """Links to the lessons before and after a lesson."""
    if path not in notebooks:
        return ""
    at = notebooks.index(path)
    before, after = notebooks[at - 1 : at], notebooks[at + 1 : at + 2]
    links = [f'<a href="{names[other]}">← lesson {at - 1}</a>' for other in before]
    return "".join(links + [f'<a href="{names[other]}">lesson {at + 1} →</a>' for other in after])


def sections(body: str, name: str, title: str) -> list[tuple[str, str, str]]:
    """What the search knows: the address, the heading and the words of each section; no pictures."""
    body = re.sub(r"<(style|script)\b.*?</\1>", "", body, flags=re.DOTALL)
    found = []
    for part in re.split(r"(?=<h[1-4] id=)", body):
        heading = re.match(r'<h\d id="([^"]*)"[^>]*>(.*?)</h\d>', part, re.DOTALL)
        plain = lambda text: " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).replace("¶", "").split())
        if heading:
            below = plain(heading[2])
            shown = title if below == title else f"{title} · {below}"
            found.append((f"{name}#{heading[1]}", shown, plain(part[heading.end() :])))
    return found


def colours() -> str:
    """The colours of code, light and dark."""
    styles = {"light": "default", "dark": "github-dark"}
    return "\n".join(
        HtmlFormatter(style=style).get_style_defs(f'[data-theme="{theme}"] .highlight')
        for theme, style in styles.items()
    )


if __name__ == "__main__":
    cli.run(lambda: sys.exit(main()))
