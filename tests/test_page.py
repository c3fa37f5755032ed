"""The playground's page in a real browser: it plays, scrubs, races, edits, draws, looks inside, and breaks nowhere.
The search of the lessons' site, which only a browser runs, is tried here too.

run ──build──> page ──file://──> headless Chromium, driven by Selenium; skipped where there is none
"""

import base64
import html
import io
import json
import random
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import torch
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from minimaskgit.runs.choices import decoding_loop
from minimaskgit.runs.run import PRETRAINED, open_run
from minimaskgit.web.build import ENGINE, HERE, PAGE, build

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60  # seconds to wait for the page, on a busy machine


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium, which downloads into `browser.downloads`."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no Chromium with its chromedriver here, which shows the playground's page")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service(driver))
    browser.downloads = tmp_path_factory.mktemp("downloads")
    where = {"behavior": "allow", "downloadPath": str(browser.downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def page(run_folder, tmp_path_factory) -> Path:
    """The playground of the tiny run, in a folder whose name needs care in an address."""
    return page_of(run_folder, tmp_path_factory.mktemp("a page #1"))


def page_of(run_folder: Path, folder: Path) -> Path:
    path = folder / "playground.html"
    path.write_text(build(open_run(run_folder, "cpu", "fp32")).html, "utf-8")
    return path


class Page:
    """A page in the browser."""

    def __init__(self, browser):
        self.browser = browser

    def js(self, code: str, *arguments):
        return self.browser.execute_script(f"return {code}", *arguments)

    def until(self, code: str) -> None:
        WebDriverWait(self.browser, PATIENCE, 0.05).until(lambda _: self.js(code), code)

    def element(self, name: str):
        return self.browser.find_element("id", name)

    def text(self, name: str) -> str:
        return self.element(name).get_attribute("textContent")

    def reason(self, name: str) -> str:
        """Why a control is off."""
        assert not self.element(name).is_enabled()
        return self.js("arguments[0].closest('.field').querySelector('.unused').textContent", self.element(name))

    def click(self, name: str) -> None:
        self.until(f"!document.getElementById('{name}').disabled")
        self.js("arguments[0].click()", self.element(name))

    def set(self, name: str, value: object) -> None:
        code = "arguments[0].value = arguments[1], arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.js(code, self.element(name), str(value))

    def decoded(self) -> None:
        """Until what the controls say is decoded and played to the end."""
        played = "film.steps.length && film.shown === film.total && film.steps.length === film.total && !film.playing"
        chosen = "JSON.stringify(film.settings) === JSON.stringify(used_settings())"
        self.until(f"{played} && {chosen}")

    def changed(self, name: str, value: object) -> None:
        """Set a control and wait for the new picture."""
        self.js("window.old = film.steps, 1")
        self.set(name, value)
        self.until("film.steps !== window.old")
        self.decoded()

    def drag(self, name: str, *places: tuple[float, float]) -> None:
        """From place to place, given as shares of an element's width and height."""
        element = self.element(name)
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        box = element.rect
        points = [((x - 0.5) * box["width"], (y - 0.5) * box["height"]) for x, y in places]
        chain = ActionChains(self.browser, duration=20).move_to_element_with_offset(element, *map(round, points[0]))
        chain.click_and_hold()
        for before, after in pairwise(points):
            chain.move_by_offset(*(round(b) - round(a) for a, b in zip(before, after)))
        chain.release().perform()

    def errors(self) -> list[str]:
        """What the console holds since the last call."""
        return [line["message"] for line in self.browser.get_log("browser") if line["level"] == "SEVERE"]


def open_page(browser, path: Path, hash: str = "", width: int = 1280, scheme="light", motion="reduce") -> Page:
    """Opened anew; with motion "no-preference" the film plays by itself."""
    browser.switch_to.default_content()
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri() + hash)
    return Page(browser)


@pytest.fixture
def shown(browser, page) -> Page:
    """The tiny run's page, ready; afterwards its console holds no error."""
    shown = open_page(browser, page)
    shown.until("!document.getElementById('draw-edit').disabled && easel.picture")
    shown.decoded()
    yield shown
    assert not shown.errors()


def test_no_name_is_given_twice_because_the_engine_and_the_page_share_theirs():
    names = [
        name
        for file in (*ENGINE, *PAGE)
        for line in (HERE / f"{file}.js").read_text("utf-8").splitlines()
        if (found := re.match(r"(?:async )?(?:function\*? |class )(\w+)|(?:const|let) (.*)", line))
        for name in ([found[1]] if found[1] else re.findall(r"\w+", found[2].split("=")[0]))
    ]
    assert len(names) > 200 and [name for name in names if names.count(name) > 1] == []


# --- Decode ---


def test_the_page_opens_from_a_file_and_never_uses_the_network(browser, shown):
    assert re.match(
        r"Step (\d+) of \1: (\d+) of \2 tokens kept, after \1 passes and \d+\.\d\d s\.$", shown.text("status")
    )
    shown.click("race-button")  # a second worker
    shown.until("document.getElementById('race-status').textContent.startsWith('MaskGIT:')")
    urls = [url for log in browser.get_log("performance") for url in re.findall(r'"url":"([^"]+)"', log["message"])]
    assert urls and all(url.startswith(("file:///", "blob:", "data:", "about:")) for url in urls), urls


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 2.5, "schedule": "cubic", "steps": 5},
        {"steps": 6, "sampling_temperature": 1.4, "top_p": 0.85, "guidance": 0.5, "guidance_start": 0.4},
    ],
    ids=["the paper's", "after it"],
)
def test_a_picture_has_the_tokens_of_the_same_settings_in_python(shown, run_folder, settings):
    run = open_run(run_folder, "cpu", "fp32")
    for name, value in {"label": 1, "seed": 12, **settings}.items():
        shown.set(name, value)
    shown.until(f"film.total === {settings['steps']} && film.settings.seed === 12")
    shown.decoded()
    decode = decoding_loop(replace(run.config.decoding, **settings), run)
    *_, wanted = decode(run.transformer(), torch.tensor([1]), generator=torch.Generator().manual_seed(12))
    assert shown.js("Array.from(film.steps.at(-1).tokens)") == wanted.tokens[0].tolist()


SLOW = """const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (request) { setTimeout(() => post.call(this, request), 800); };
    addEventListener("DOMContentLoaded", () => { for (const wait of [0, 700]) setTimeout(changed, wait); });"""


def test_controls_may_be_changed_while_the_models_load(browser, page):
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SLOW})
    shown = open_page(browser, page)
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert not shown.element("draw-fill").is_enabled() and not shown.element("heat-kind").is_enabled()
    shown.until("easel.picture && sheet.tokens")
    assert shown.element("draw-fill").is_enabled() and not shown.errors()


def test_the_film_plays_by_itself_unless_motion_is_unwelcome(browser, page):
    moving = open_page(browser, page, motion="no-preference")
    moving.until("film.playing && film.shown < film.total")
    assert moving.text("play-button") == "Pause" and moving.element("status").get_attribute("aria-live") == "off"
    moving.decoded()
    assert moving.element("status").get_attribute("aria-live") == "polite"


def test_a_film_plays_and_is_scrubbed_by_mouse_and_by_keyboard(shown):
    shown.changed("steps", 6)
    frames = shown.browser.find_elements("css selector", "#film button")
    assert len(frames) == 6
    shown.js("arguments[0].click()", frames[1])
    kept = shown.js("kept_in(film.steps[1].tokens)")
    assert shown.text("status").startswith(f"Step 2 of 6: {kept} of ")
    assert frames[1].get_attribute("aria-current") == "step"
    picture = "document.getElementById('kept').toDataURL()"
    second = shown.js(picture)
    shown.element("scrub").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert shown.text("status") == "Step 0 of 6: every token is [MASK]." and shown.js(picture) != second
    shown.click("forward")
    shown.click("forward")
    assert shown.js(picture) == second
    shown.click("play-button")
    assert shown.text("play-button") == "Pause"
    shown.decoded()
    assert shown.text("play-button") == "Play" and shown.text("status").startswith("Step 6 of 6")


def test_the_bars_add_up_to_all_tokens_and_the_heat_map_has_two_kinds(shown):
    bars = [
        button.get_attribute("textContent") for button in shown.browser.find_elements("css selector", "#film button")
    ]
    assert sum(map(int, bars)) == shown.js("num_tokens")
    shown.click("back")
    heat = "document.getElementById('heat').toDataURL()"
    before = shown.js(heat)
    shown.js("arguments[0].value = 'confidence', arguments[0].onchange()", shown.element("heat-kind"))
    assert shown.js(heat) != before


@pytest.mark.slow
def test_every_decoder_of_the_run_decodes(shown):
    names = shown.js(
        "[...document.getElementById('decoder').options].filter((one) => !one.disabled).map((one) => one.value)"
    )
    assert "critic" in names and len(names) >= 12
    for name in names:
        if name != "maskgit":
            shown.changed("decoder", name)
        assert shown.text("status").startswith("Step ") and shown.text("decoder-hint")


def test_a_setting_that_a_decoder_has_no_use_for_is_off_and_says_why(shown):
    shown.changed("decoder", "halton")
    assert not shown.element("schedule").is_enabled() and not shown.element("temperature").is_enabled()
    assert shown.reason("schedule") == "The decoder halton does not use this."
    shown.drag("curve", (0.5, 0.4), (0.5, 0.8))
    assert shown.js("read_settings().schedule") != "own"
    shown.changed("decoder", "moment")
    assert shown.element("schedule").is_enabled() and shown.reason("top_p") == "The decoder moment does not use this."
    shown.changed("decoder", "maskgit")
    assert shown.reason("guidance_start") == "Off while guidance is 0." and shown.element("top_p").is_enabled()
    shown.changed("guidance", 1)
    assert shown.element("guidance_start").is_enabled()


# --- The schedule and the link ---


def test_a_schedule_is_drawn_with_the_mouse_or_the_keyboard(shown):
    shown.drag("curve", (0.5, 0.35), (0.5, 0.75))
    drawn = shown.js("read_settings().schedule")
    assert len(drawn) == 9 and (drawn[0], drawn[-1]) == (1, 0) and min(drawn[3:6]) < 0.4
    handle = shown.browser.find_element("css selector", "#handles circle")
    shown.js("window.old = film.steps, 1")  # before the keys, or a slow browser could have begun the new film by then
    handle.send_keys(Keys.HOME, Keys.ARROW_UP)
    assert shown.js("read_settings().schedule")[1] == pytest.approx(0.05)
    assert handle.get_attribute("aria-valuenow") == "0.05"
    shown.until("film.steps !== window.old")
    shown.decoded()


SETTINGS = {
    "label": 2,
    "steps": 4,
    "decoder": "remdm-cap",
    "temperature": 7.5,
    "sampling_temperature": 0.8,
    "top_p": 0.35,
    "guidance": 0.5,
    "guidance_start": 0.25,
    "seed": 9007199254740991,
}


def test_a_link_brings_back_all_settings_and_the_same_picture(browser, shown, page):
    shown.js("bend(3, 0.25), 1")
    for name, value in SETTINGS.items():
        shown.set(name, value)
    shown.until("film.total === 4")
    shown.decoded()
    tokens, hash = shown.js("Array.from(film.steps.at(-1).tokens)"), shown.js("location.hash")
    wanted = shown.js("read_settings()")
    assert {name: wanted[name] for name in SETTINGS} == SETTINGS
    again = open_page(browser, page, hash)
    again.until("film.total === 4")
    again.decoded()
    assert again.js("read_settings()") == wanted and again.js("Array.from(film.steps.at(-1).tokens)") == tokens
    again.js("location.hash = '#label=0&steps=3', 1")  # another link in the same page
    again.until("film.total === 3")
    again.js("history.back(), 1")
    again.until("film.total === 4")
    again.decoded()
    assert again.js("read_settings()") == wanted


ABSURD = ("steps=0", "steps=9999", "steps=abc", "steps=", "steps=2.5", "seed=-1", "seed=1e99", "label=999", "label=-1")
ABSURD += ("schedule=kosine", "schedule=1,2", "schedule=1,x,0", "decoder=vae", "temperature=NaN", "guidance=-3")
ABSURD += ("show=nothing", "<script>=1", "constructor=1", "%E0%A4%A=1")


def test_a_link_may_hold_any_number_that_a_slider_reaches(browser, page):
    shown = open_page(browser, page, "#temperature=3.14159&guidance=0.123&sampling_temperature=1")
    shown.decoded()
    chosen = shown.js("read_settings()")
    assert (chosen["temperature"], chosen["guidance"], chosen["sampling_temperature"]) == (3.14159, 0.123, 1)
    assert shown.text("status").startswith("Step ")


def test_an_absurd_link_is_named_and_changes_nothing(browser, page):
    shown = open_page(browser, page, "#steps=9999&seed=5")
    shown.decoded()
    assert shown.text("status").startswith("In this link steps cannot be 9999. Step ")
    before = shown.js("read_settings()")
    assert before["seed"] == 5
    for absurd in ABSURD:
        assert shown.js("restore(arguments[0])", f"#{absurd}").startswith("In this link "), absurd
        assert shown.js("read_settings()") == before, absurd
    assert not shown.errors()


def test_a_link_can_show_one_section_alone(browser, page):
    shown = open_page(browser, page, "#show=race&steps=3")
    shown.until("document.body.dataset.only === 'race' && film.steps.length")
    assert shown.element("race").is_displayed() and not shown.element("edit").is_displayed()


LESSONS = Path(__file__).parents[1] / "lessons"


def frames() -> dict[str, list[str]]:
    """By lesson, the links of the frames in its notebook that show the playground."""
    links = {}
    for path in sorted(LESSONS.glob("*.ipynb")):
        found = re.findall(r'<iframe src=\\"playground-glyphs\.html(.*?)\\"', path.read_text("utf-8"))
        links |= {path.stem.split("_")[0]: [html.unescape(link) for link in found]} if found else {}
    return links


def test_the_page_takes_the_links_of_the_lessons_frames(browser, tmp_path):
    shown = open_page(browser, page_of(PRETRAINED / "glyphs", tmp_path))
    fields, sections = shown.js("FIELDS"), shown.js("[...document.querySelectorAll('section')].map((each) => each.id)")
    assert list(frames()) == ["0", "3", "5", "6", "7"]
    for link in [link for links in frames().values() for link in links]:
        for name, value in parse_qsl(link[1:]):
            assert (value in sections) if name == "show" else (name in fields), f"{name}={value}"
        assert shown.js("restore(arguments[0])", link) == "", link
    assert not shown.errors()


# --- Race, edit, draw, look inside ---


def test_both_racers_run_with_their_own_passes_and_clocks(shown):
    shown.changed("steps", 4)
    shown.click("race-button")
    shown.until("document.getElementById('race-status').textContent.startsWith('MaskGIT:')")
    N = shown.js("num_tokens")
    assert re.match(r"4 passes, \d+\.\d\d s$", shown.text("clock-maskgit"))
    assert re.match(rf"{N} passes, \d+\.\d\d s$", shown.text("clock-twin"))
    assert f"The twin needed {N / 4:.1f} times as many passes" in shown.text("race-status")
    shown.js("arguments[0].click(), arguments[0].click()", shown.element("race-button"))
    assert shown.text("race-status") == "Stopped." and shown.text("race-button") == "Start the race"


def test_erased_tokens_are_repainted_others_stay_and_undo_brings_all_back(shown):
    shown.js("document.getElementById('rim').click()")
    N, grid = shown.js("num_tokens"), shown.js("grid")
    before = shown.js("Array.from(easel.tokens)")
    canvas = shown.element("edit-canvas")
    ActionChains(shown.browser).context_click(canvas).send_keys(Keys.ESCAPE).perform()
    shown.js(
        "arguments[0].dispatchEvent(new PointerEvent('pointerdown', { isPrimary: false }))", canvas
    )  # a 2nd finger
    assert not any(shown.js("easel.erased"))
    shown.drag("edit-canvas", (0.5 / grid, 0.5 / grid), (1 - 0.5 / grid, 0.5 / grid))
    assert shown.js("easel.erased") == [i < grid for i in range(N)]
    shown.element("edit-canvas").send_keys(Keys.ARROW_DOWN, Keys.SPACE)
    assert shown.text("edit-status") == f"Row 2, column {grid} erased; {grid + 1} of {N} tokens erased."
    shown.click("repaint")
    shown.until("document.getElementById('edit-status').textContent.includes('repainted as')")
    after = shown.js("Array.from(easel.tokens)")
    assert [i for i in range(N) if after[i] != before[i] and i >= grid and i != 2 * grid - 1] == []
    assert not any(shown.js("easel.erased"))
    shown.click("undo")
    assert shown.js("Array.from(easel.tokens)") == before and sum(shown.js("easel.erased")) == grid + 1
    shown.click("repaint")  # after an undo everything still works
    shown.until("!easel.working && easel.past.length === 1")


def test_a_picture_is_extended_until_it_is_three_grids_long_and_parts_of_it_are_repainted(shown):
    shown.js("document.getElementById('rim').click()")
    button = shown.browser.find_element("css selector", "#extend [data-margins='0,0,1,0']")
    grid = shown.js("grid")
    for columns in range(grid + grid // 2, 3 * grid + 1, grid // 2):
        shown.js("arguments[0].click()", button)
        shown.until(f"!easel.working && easel.columns === {columns}")
        assert shown.js("easel.tokens.length") == grid * columns
    assert not button.is_enabled()
    before = shown.js("Array.from(easel.tokens)")
    shown.drag("edit-canvas", (0.02, 0.5), (0.98, 0.5))
    erased = shown.js("easel.erased")
    assert sum(erased) == 3 * grid
    shown.click("repaint")
    shown.until(f"document.getElementById('edit-status').textContent.startsWith('{3 * grid} tokens repainted as')")
    after = shown.js("Array.from(easel.tokens)")
    assert after != before and [a for a, b, gone in zip(after, before, erased) if a != b and not gone] == []
    shown.click("undo")
    assert shown.js("Array.from(easel.tokens)") == before and shown.js("easel.erased") == erased
    while shown.js("easel.columns") > grid:
        shown.click("undo")
    shown.element("edit-canvas").send_keys(Keys.SPACE)  # the cursor was further to the right
    assert shown.js("easel.erased.length") == grid**2
    shown.click("erase-none")
    shown.drag("edit-canvas", (0.1, 0.1))
    shown.js("document.querySelector('#extend [data-margins=\"0,1,0,0\"]').click()")
    shown.until(f"!easel.working && easel.rows === {grid + grid // 2}")
    assert shown.js("easel.erased.indexOf(true)") == grid * (grid // 2)  # still erased, half a picture further down


def test_a_drawing_becomes_tokens_and_can_be_repainted(shown):
    before = shown.js("Array.from(sheet.tokens)")
    shown.drag("draw-canvas", (0.1, 0.1), (0.9, 0.9), (0.9, 0.1))
    shown.until(f"String(Array.from(sheet.tokens)) !== '{','.join(map(str, before))}'")
    assert re.match(r"Encoded\. The reconstruction is off by \d+\.\d of 255 levels", shown.text("draw-status"))
    shown.click("draw-edit")
    assert shown.js("String(easel.tokens) === String(sheet.tokens)")
    shown.click("erase-all")
    shown.click("repaint")
    shown.until("document.getElementById('edit-status').textContent.includes('repainted as')")


def test_a_drawing_goes_to_the_easel_only_with_tokens_of_its_own(shown):
    shown.until("!document.getElementById('draw-edit').disabled")
    assert shown.js("(ink(0), document.getElementById('draw-edit').disabled)")


def test_a_film_that_is_still_decoding_is_neither_saved_nor_edited(shown):
    shown.js("(film.total += 1, document.getElementById('save-gif').click(), from_play())")
    for status in ("saved", "edit-status"):
        shown.until(f"document.getElementById('{status}').textContent.startsWith('Still decoding.')")


def test_a_seed_that_is_no_number_is_marked_and_the_film_does_not_hide_the_complaint(shown):
    shown.click("play-button")
    shown.set("seed", "")
    shown.until("document.getElementById('status').classList.contains('wrong')")
    assert shown.element("seed").get_attribute("aria-invalid") == "true" and not shown.js("film.playing")
    assert shown.text("status").startswith("seed: expected a whole number")


def test_the_bars_under_the_curve_are_the_decoder_s_own_plan(shown):
    shown.changed("decoder", "remdm-loop")
    bars = shown.js("[...document.querySelectorAll('#plan rect')].map((bar) => bar.getAttribute('height') / HEIGHT)")
    masked = shown.js("film.steps.map((step) => 1 - kept_in(step.tokens) / num_tokens)")
    assert len(bars) == len(masked) and bars[0] == pytest.approx(masked[0])


def test_a_section_shown_alone_opens_the_one_that_a_click_leads_to(browser, page):
    shown = open_page(browser, page, "#show=play&steps=3")
    shown.decoded()
    assert not shown.element("inside").is_displayed()
    shown.drag("kept", (0.5, 0.5))
    assert shown.element("inside").is_displayed()


def test_a_picture_from_a_file_is_encoded_and_another_file_is_refused(shown, tmp_path):
    Image.new("RGB", (70, 40), "navy").save(tmp_path / "wide.png")
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    (tmp_path / "text.png").write_text("no picture", "utf-8")
    shown.element("file").send_keys(str(tmp_path / "text.png"))
    shown.until("document.getElementById('draw-status').textContent.includes('expected a picture')")
    shown.element("file").send_keys(str(tmp_path / "wide.png"))
    shown.until("document.getElementById('draw-status').textContent.startsWith('Encoded')")
    assert shown.js("Array.from(sheet_picture().data.slice(0, 4))") == [0, 0, 128, 255]
    shown.element("file").send_keys(str(tmp_path / "clear.png"))
    shown.until("sheet_picture().data.every((value) => value === 255)")  # transparent parts are white
    shown.browser.execute_script("""fill_sheet(), $("draw-canvas").toBlob((blob) => { // a file that is dropped anywhere
        const dataTransfer = new DataTransfer(), event = { bubbles: true, cancelable: true, dataTransfer };
        dataTransfer.items.add(new File([blob], "dropped.png", { type: "image/png" }));
        sheet.canvas.getContext("2d").clearRect(0, 0, 99, 99);
        window.refused = !document.body.dispatchEvent(new DragEvent("drop", event));
    })""")
    shown.until("window.refused && sheet_picture().data.every((value, i) => i % 4 < 3 || value === 255)")


def test_a_token_that_is_chosen_shows_its_codes_its_attention_and_its_history(shown):
    grid = shown.js("grid")
    shown.js("scrub_to(2), 1")
    shown.drag("kept", (1.5 / grid, 0.5 / grid))
    shown.until("document.getElementById('inside-status').textContent.startsWith('Row 1, column 2, step ')")
    assert len(shown.browser.find_elements("css selector", "#likeliest li")) == 5
    assert len(shown.browser.find_elements("css selector", "#history li")) == shown.js("film.total")
    picture = "document.getElementById('inside-canvas').toDataURL()"
    before = shown.js(picture)
    shown.js("arguments[0].value = 0, arguments[0].onchange()", shown.element("head"))
    assert shown.js(picture) != before
    shown.element("inside-canvas").send_keys(Keys.ARROW_DOWN)
    shown.until("document.getElementById('inside-status').textContent.startsWith('Row 2, column 2, step ')")
    assert shown.js(
        "lens.look.attention.flat().every((weights) => Math.abs(weights.reduce((a, b) => a + b) - 1) < 1e-3)"
    )
    shown.js("film.steps = [], show_attention(), 1")  # another film has just begun: nothing breaks


# --- Files ---


def test_what_is_saved_is_a_png_of_the_picture_and_a_gif_of_all_steps(shown):
    for button in ("save-png", "save-gif"):
        shown.click(button)
        shown.until("document.getElementById('saved').textContent.startsWith('Saved')")
    folder = shown.browser.downloads
    WebDriverWait(shown.browser, PATIENCE).until(lambda _: len([*folder.glob("*.[pg][ni][gf]")]) == 2)
    (png,), (gif,) = (list(folder.glob(f"*.{ending}")) for ending in ("png", "gif"))
    side = shown.js("settings.models.tokenizer.settings.image_size")
    small = Image.open(png).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
    wanted = shown.js("Array.from(film.steps.at(-1).picture.data)")
    assert list(small.convert("RGBA").tobytes()) == wanted
    with Image.open(gif) as film:
        assert film.n_frames == shown.js("film.total") + 1 and film.info["loop"] == 0
    again = shown.js("""(() => {
        const colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], width = 300, height = 200;
        const data = new Uint8ClampedArray(4 * width * height).fill(255);
        for (let i = 0; i < width * height; i++) data.set(colours[(i * i + (i >> 7)) % 4], 4 * i);
        return btoa(String.fromCharCode(...data.slice(0, 4000))) + " " +
            Array.from(gif_of([{ width, height, data }], [10]), (byte) => byte.toString(16).padStart(2, "0")).join("");
    })()""")
    start, gif = again.split()
    pixels = Image.open(io.BytesIO(bytes.fromhex(gif))).convert("RGBA").tobytes()
    assert pixels[:4000] == base64.b64decode(start) and len(pixels) == 4 * 300 * 200


# --- Every run, every screen ---


def test_what_a_run_lacks_is_left_out_with_a_reason(browser, run_folder, tmp_path):
    for name in ("tokenizer", "transformer", "config.json", "labels.json"):
        copy = shutil.copytree if (run_folder / name).is_dir() else shutil.copy
        copy(run_folder / name, tmp_path / name)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config["transformer_training"]["class_dropout"] = 0.0
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    shown = open_page(browser, page_of(tmp_path, tmp_path))
    shown.decoded()
    assert "no autoregressive twin" in shown.text("race") and not shown.element("race-button").is_displayed()
    assert shown.js("[...document.getElementById('decoder').options].find((one) => one.value === 'critic').disabled")
    reason = "Off: this run never trained without a class, which guidance needs."
    assert shown.reason("guidance") == shown.reason("guidance_start") == reason
    assert shown.js("restore('#guidance=1')") == "In this link guidance cannot be 1. "
    shown.until("document.getElementById('inside-status').textContent.startsWith('Row')")
    assert not shown.errors()


@pytest.mark.parametrize("width", [360, 640, 700, 768, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(browser, page, width, scheme):
    shown = open_page(browser, page, width=width, scheme=scheme)
    shown.until("!document.getElementById('draw-edit').disabled")
    assert shown.js("document.documentElement.scrollWidth <= innerWidth")
    over = """[...document.querySelectorAll('main *')]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"""
    assert shown.js(over) == []
    light = shown.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] > 128")
    assert light == (scheme == "light")


def test_pictures_follow_a_change_of_the_colour_scheme(browser, shown):
    pictures = "['#film canvas', '#inside-canvas'].map((one) => document.querySelector(one).toDataURL())"
    light = shown.js(pictures)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    shown.until(f"{pictures}.every((one, i) => one !== {json.dumps(light)}[i])")


def test_everything_that_takes_the_focus_has_a_name(browser, shown):
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    focusable = [
        node
        for node in nodes
        if not node["ignored"]
        and any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", []))
    ]
    nameless = [
        node["role"]
        for node in focusable
        if not node.get("name", {}).get("value") and node["role"]["value"] != "RootWebArea"
    ]
    assert len(focusable) > 40 and not nameless
    unlabelled = """[...document.querySelectorAll("input, select")].filter((one) => one.name !== "ink" &&
        ![...one.labels].some((label) => label.textContent.trim() && label.checkVisibility())).map((one) => one.id)"""
    assert shown.js(unlabelled) == []
    browser.execute_cdp_cmd("Accessibility.disable", {})


@pytest.mark.slow
def test_it_runs_in_a_frame_that_may_do_nothing_but_run_scripts(browser, page, tmp_path):
    shutil.copy(page, tmp_path / "inside.html")
    host = tmp_path / "course.html"
    host.write_text('<iframe sandbox="allow-scripts" src="inside.html" width="800" height="600"></iframe>', "utf-8")
    shown = open_page(browser, host)
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    shown.decoded()
    assert shown.text("status").startswith("Step ")
    assert not shown.errors()


NONSENSE = ("", "-1", "1e99", "abc", "999999", "NaN", "0", "\u0661", "<b>")

POKE = """((targets, nonsense, which, x, y) => { // write into one of the targets, or press it somewhere
    const all = document.querySelectorAll(targets), one = all[Math.floor(which * all.length)], bubbles = true;
    if (one.matches("input, select") && x < 0.7) {
        one.value = one.options ? one.options[Math.floor(y * one.options.length)].value : nonsense;
        for (const type of ["input", "change"]) one.dispatchEvent(new Event(type, { bubbles }));
        return;
    }
    const box = one.getBoundingClientRect(), [clientX, clientY] = [box.left + x * box.width, box.top + y * box.height];
    for (const type of ["pointerdown", "pointermove", "pointerup"])
        one.dispatchEvent(new PointerEvent(type, { bubbles, pointerId: 1, isPrimary: true, clientX, clientY }));
    const key = [" ", "ArrowUp", "End", "x"][Math.floor(4 * y)];
    one.dispatchEvent(new KeyboardEvent("keydown", { bubbles, key }));
    if (!one.disabled) one.dispatchEvent(new MouseEvent("click", { bubbles }));
})(...arguments)"""


def test_the_keyboard_stays_in_the_section_when_a_button_goes_off(shown):
    focused = "document.activeElement.id"
    shown.element("erase-all").send_keys(Keys.ENTER)
    shown.element("erase-none").send_keys(Keys.ENTER)  # nothing is left to restore, so the button goes off
    assert shown.js(focused) == "edit-canvas"
    shown.element("erase-all").send_keys(Keys.ENTER)
    shown.element("repaint").send_keys(Keys.ENTER)
    shown.until("!easel.working && easel.past.length")
    assert shown.js(focused) == "edit-canvas"


def test_a_screen_reader_is_not_told_of_sections_that_the_user_is_not_in(shown):
    live = "document.getElementById('edit-status').getAttribute('aria-live')"
    shown.js("document.getElementById('race-button').focus(), say('edit-status', 'Something.'), 1")
    assert shown.js(live) == "off"
    shown.js("say('edit-status', 'An error.', true), 1")
    assert shown.js(live) == "polite"
    shown.js("document.getElementById('erase-all').focus(), say('edit-status', 'Something.'), 1")
    assert shown.js(live) == "polite"


def test_a_finger_scrolls_over_the_picture_until_the_picture_is_tapped(shown):
    touch = """((canvas) => {
        const { left, top } = canvas.getBoundingClientRect(), fields = { bubbles: true, pointerId: 1, isPrimary: true };
        for (const type of ["pointerdown", "pointerup"])
            canvas.dispatchEvent(new PointerEvent(type, {
                ...fields, pointerType: "touch", clientX: left + 5, clientY: top + 5,
            }));
        return easel.erased.some(Boolean);
    })(document.getElementById("edit-canvas"))"""
    shown.js("document.activeElement.blur(), easel.erased.fill(false), 1")
    assert not shown.js(touch)
    shown.js("document.getElementById('edit-canvas').focus(), 1")
    assert shown.js(touch)


def test_the_site_s_search_needs_no_mouse(browser, tmp_path):
    pytest.importorskip("nbconvert", reason="the lessons extra is not installed: make lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "lessons"))
        import pages
    page = pages.HEAD.format(title="A page", links="") + '<h1 id="two">Two</h1>' + pages.TAIL.format(footer="")
    sections = [["page.html#one", "A codebook", "vectors"], ["page.html#two", "Masks", "a codebook and masks"]]
    for name, text in {
        "page.html": page,
        "search.js": f"const SECTIONS = {json.dumps(sections)}",
        "site.js": (ROOT / "lessons/pages.js").read_text("utf-8"),
        "site.css": (ROOT / "lessons/pages.css").read_text("utf-8"),
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    browser.get((tmp_path / "page.html").as_uri())
    box = browser.find_element("id", "search")
    box.send_keys("codebook")
    found = [link.text for link in browser.find_elements("css selector", "#found a")]
    assert found == ["A codebook", "Masks"]
    assert browser.find_element("id", "count").get_attribute("textContent") == "2 results"
    box.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "A codebook"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert browser.switch_to.active_element == box and not browser.find_elements("css selector", "#found a")
    box.send_keys("s", Keys.BACKSPACE, Keys.ENTER)
    assert browser.current_url.endswith("#one")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_survives_two_hundred_random_clicks_and_absurd_inputs(shown, seed):
    draw = random.Random(seed)
    shown.js("document.querySelectorAll('[type=file]').forEach((one) => one.remove())")  # its window is the system's
    for _ in range(200):
        where = [draw.random() for _ in range(3)]
        shown.js(POKE, "button, input, select, canvas, circle, a[href^='#'], #curve", draw.choice(NONSENSE), *where)
    assert not shown.errors()
    shown.click("defaults")
    shown.js("set_field('seed', '1'), changed(), 1")
    shown.until("!document.getElementById('status').classList.contains('wrong')")
    shown.decoded()
    shown.until("!easel.working")
    shown.changed("seed", 2)
    assert shown.text("status").startswith("Step ")
