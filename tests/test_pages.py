"""The site of the lessons: every link leads somewhere inside it, and it asks no other server for anything."""

import json
import re
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

pytest.importorskip("nbconvert", reason="the lessons extra is not installed: make lab")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "lessons"))  # where pages.py finds way_in.py
import pages  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "OUT", out)
        assert pages.main() == 0
    return out


def texts(site: Path) -> dict[str, str]:
    """The site's pages by name, but for the playground."""
    return {path.name: path.read_text("utf-8") for path in site.glob("*.html") if "playground" not in path.name}


def test_all_lessons_and_pages_are_there(site):
    lessons = {f"{path.stem}.html" for path in (ROOT / "lessons").glob("[0-9]*.ipynb")}
    others = {"index.html", "words.html", "bugs.html", "pre-test.html", "results.html", "grading.html"}
    assert set(texts(site)) == lessons | others
    assert len(lessons) == 11


def test_every_link_leads_to_a_page_and_a_place_of_the_site(site):
    ids = {name: set(re.findall(r'\bid="([^"]*)"', text)) for name, text in texts(site).items()}
    for page, text in texts(site).items():
        for target in map(unescape, re.findall(r'\b(?:href|src)="([^"]*)"', text)):
            name, _, place = target.partition("#")
            if re.match(r"https://|data:", target):
                continue
            assert not name or (site / unquote(name)).exists(), (page, target)
            if place and name != "playground-glyphs.html":
                assert unquote(place) in ids[name or page], (page, target)


def test_no_page_loads_anything_from_another_server(site):
    for page, text in texts(site).items():
        assert not re.search(r'<(script|img|iframe|link)[^>]*(src|href)="(https?:)?//', text), page


def test_every_picture_says_what_it_shows(site):
    for page, text in texts(site).items():
        described = re.findall(r'<img\b[^>]*\balt="([^"]+)"', text)
        assert len(described) == len(re.findall(r"<img\b", text)), page
        assert not any("No description" in words for words in described), page


def test_every_animation_can_rest_on_its_last_picture(site):
    images = [image for text in texts(site).values() for image in re.findall(r"<img[^>]*>", text)]
    films = [image for image in images if "data:image/gif" in image or '.gif"' in image]
    stills = [re.search(r'data-still="([^"]*)"', film) for film in films]
    assert len(films) >= 3 and all(stills)
    assert all(Image.open(site / still[1]).format == "PNG" for still in stills)
    race, still = Image.open(ROOT / "data/results/demo/race.gif"), next(s for s in stills if "results" in s[1])
    race.seek(race.n_frames - 1)
    assert Image.open(site / still[1]).convert("RGB").tobytes() == race.convert("RGB").tobytes()


def test_the_search_knows_every_word_and_bug_by_its_place(site):
    text = (site / "search.js").read_text("utf-8").removeprefix("const SECTIONS = ")
    known = {address: heading for address, heading, _ in json.loads(text)}
    assert known["words.html#codebook"] == "The words · codebook" and known["bugs.html#bug-14"].endswith("Bug 14")
    assert sum(address.startswith("5_parallel_decoding.html#") for address in known) > 5


def test_static_pictures_of_sliders_say_what_they_show(site):
    assert "share = 0.64; a slider in JupyterLab" in texts(site)["3_masking_and_schedules.html"]


@pytest.mark.parametrize("address", ["", "https://github.com/someone/minimaskgit"])
def test_a_link_to_code_leads_into_the_repository_or_says_where_the_file_is(address, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "OUT", tmp_path)
    monkeypatch.setattr(pages, "repository", lambda: address)
    page = ROOT / "lessons" / "glossary.md"
    body = (
        '<a href="../minimaskgit/metrics.py#L3">x</a> <a href="bugs.md#bug-4">y</a> <a href="https://pytorch.org">z</a>'
    )
    code = (
        f'href="{address}/blob/main/minimaskgit/metrics.py#L3"'
        if address
        else 'title="in the project: minimaskgit/metrics.py"'
    )
    expected = f'<a {code}>x</a> <a href="bugs.html#bug-4">y</a> <a href="https://pytorch.org">z</a>'
    assert pages.relinked(body, page, {ROOT / "lessons" / "bugs.md": "bugs.html"}) == expected
