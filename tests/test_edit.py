"""The edit command end to end on a tiny run, and its errors for invalid input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import error_line
from PIL import Image

from minimaskgit import edit, figures, generate
from minimaskgit.classifier import Classifier
from minimaskgit.common.errors import UserError
from minimaskgit.data import region
from minimaskgit.data.glyphs import GLYPH_NAMES
from minimaskgit.data.images import square, to_float
from minimaskgit.data.sources import load_data
from minimaskgit.measuring import class_edits
from minimaskgit.runs.models import load_model
from minimaskgit.runs.run import PRETRAINED, open_run


@pytest.fixture
def edit_here(run_folder, tmp_path, capsys):
    """Run the command on the tiny run; returns the before/after picture and the printed text."""

    def call(*arguments: str) -> tuple[Image.Image, str]:
        edit.main(["--run", str(run_folder), "--out", str(tmp_path / "edit.png"), *arguments])
        with Image.open(tmp_path / "edit.png") as picture:  # closed, because Windows cannot replace an open file
            return picture.copy(), capsys.readouterr().out

    return call


@pytest.fixture
def photograph(tmp_path) -> Path:
    """A picture that is not square and does not have the run's size."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


# --- End to end ---


def test_without_a_picture_one_from_the_validation_set_is_edited_and_named(edit_here, tmp_path):
    picture, printed = edit_here("--box", "8,8,20,20", "--label", "heart", "--gif", str(tmp_path / "edit.gif"))
    assert picture.width > 6 * 128  # before, the model's input, four edits
    assert printed.startswith("picture: number 0 of the validation set, class ") and "edit.gif" in printed
    assert Image.open(tmp_path / "edit.gif").n_frames == 1 + 1 + 10  # before, masked, ten of twelve steps


def test_the_same_seed_gives_the_same_picture_and_another_another(edit_here):
    same, again, other = (
        edit_here("--box", "8,8,20,20", "--inpaint", "--seed", seed)[0].tobytes() for seed in ("1", "1", "2")
    )
    assert same == again != other


@pytest.mark.parametrize("label", ["heart", None])
def test_the_asked_class_is_painted_or_else_the_picture_s_own(edit_here, monkeypatch, label):
    labels, paint = [], edit.edit
    monkeypatch.setattr(edit, "edit", lambda *given, **how: labels.append(given[4].tolist()) or paint(*given, **how))
    _, printed = edit_here("--box", "8,8,20,20", "--count", "2", *(["--label", label] if label else ["--inpaint"]))
    expected = label or printed.splitlines()[0].rpartition(" ")[2]
    assert labels == [2 * [GLYPH_NAMES.index(expected)]]


def test_an_animation_that_would_exhaust_the_memory_is_refused_before_the_work(run_folder, tmp_path, capsys):
    canvas = ["--generated", "heart", "--outpaint", "48,48,48,48", "--count", "64", "--gif", str(tmp_path / "a.gif")]
    line = error_line(capsys, edit, "--run", str(run_folder), *canvas)
    assert "--gif: 490 frames of 64 pictures have" in line and "a smaller --count" in line


def test_a_heading_keeps_the_capitals_of_names(run_folder, tmp_path):
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    names = ["French Bulldog", "BMW", *map(str, range(8))]
    (folder / "labels.json").write_text(json.dumps(names), "utf-8")
    options = ["--generated", "French Bulldog", "--label", "BMW", "--box", "8,8,20,20"]
    options = edit.checked(edit.cli.parse(edit.Options, "edit", argv=options))
    assert edit.prepare(open_run(folder, "cpu"), options).heading == "French Bulldog to BMW"


@pytest.mark.parametrize("region", [["--box", "8,8,20,20"], ["--outpaint", "8,0,0,0"]])
def test_a_picture_of_another_size_is_resized_and_cropped_with_a_note(edit_here, photograph, region):
    _, printed = edit_here("--image", str(photograph), "--label", "star", "--count", "1", *region)
    assert f"{photograph}: 90x60, resized and centre-cropped to 32x32" in printed


def test_the_region_is_resized_and_cropped_with_the_picture(photograph):
    box = "15,0,45,30"  # left half of the middle 60 pixels, upper half
    mask = region.resized_mask(region.region_of(Image.open(photograph), box, None), 32)
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[:16, :16] = True
    assert mask.equal(expected)


def test_a_mask_of_the_box_s_shape_gives_the_same_edit(edit_here, photograph, tmp_path):
    mask = Image.new("L", (90, 60))
    mask.paste(255, (20, 10, 50, 40))
    mask.save(tmp_path / "mask.png")
    by_box, by_mask = (
        edit_here("--image", str(photograph), "--label", "2", *region)[0].tobytes()
        for region in (["--box", "20,10,50,40"], ["--mask", str(tmp_path / "mask.png")])
    )
    assert by_box == by_mask


def test_the_rival_s_edits_are_shown_below(edit_here):
    alone, _ = edit_here("--box", "8,8,20,20", "--label", "sun")
    both, _ = edit_here("--box", "8,8,20,20", "--label", "sun", "--rival")
    assert both.width == alone.width and both.height > 1.5 * alone.height


def test_outpainting_shows_the_larger_canvas_and_a_frame_for_every_step_of_every_window(edit_here, tmp_path):
    gif = tmp_path / "out.gif"
    picture, _ = edit_here("--outpaint", "6,0,3,0", "--inpaint", "--gif", str(gif), "--count", "2", "--dilate", "0")
    assert picture.width > 4 * 4 * (32 + 9)
    assert Image.open(gif).n_frames == 1 + 1 + 2 * 10  # a window for each side


def test_notes_are_printed_for_a_region_that_covers_everything_and_for_a_model_without_class_dropout(
    edit_here, photograph
):
    _, printed = edit_here("--box", "2,2,30,30", "--label", "sun", "--count", "1")
    assert "covers all 64 tokens" in printed and "a smaller --dilate shrinks it" in printed
    _, printed = edit_here("--image", str(photograph), "--box", "0,0,30,30", "--inpaint", "--count", "1")
    assert "always trained with a class" not in printed  # the tiny run has class dropout


def test_pictures_show_the_number_of_a_class_whose_name_no_font_can_draw(run_folder, tmp_path, monkeypatch):
    folder, drawn = shutil.copytree(run_folder, tmp_path / "run"), []
    names = json.loads((folder / "labels.json").read_text("utf-8"))
    (folder / "labels.json").write_text(json.dumps([names[0], "\ue0ff\ue0fe", *names[2:]]), "utf-8")
    grid = figures.grid
    monkeypatch.setattr(figures, "grid", lambda *args, **kwargs: drawn.append(kwargs) or grid(*args, **kwargs))
    common = ["--run", str(folder), "--out", str(tmp_path / "x.png"), "--label", "\ue0ff\ue0fe", "--count", "1"]
    generate.main(common)
    edit.main([*common, "--box", "8,8,20,20"])
    assert drawn[0]["titles"] == ["class 1"] and drawn[1]["heading"].endswith("to class 1")


# --- Invalid input ---

BOX = ["--box", "8,8,20,20"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([*BOX, "--label", "star", "--image", "nowhere.png"], "nowhere.png: no such file"),
        ([*BOX, "--label", "star", "--image", __file__], "cannot be read as a picture"),
        (["--box", "8,8,40,20", "--label", "star"], "is not inside the picture, which is 32x32"),
        (["--box=-1,8,4,20", "--label", "star"], "is not inside the picture"),
        (["--box", "8,8,8,20", "--label", "star"], "is empty"),
        (["--box", "8,8,20", "--label", "star"], "four whole numbers"),
        (["--box", "a,b,c,d", "--label", "star"], "four whole numbers"),
        ([*BOX, "--label", "spade"], "no class 'spade'"),
        (
            [*BOX, "--label", "star", "--generated", "star", "--sample", "7"],
            "--generated and --sample are both given",
        ),
        ([*BOX, "--label", "star", "--stride", "4"], "only --outpaint paints window by window"),
        ([*BOX, "--mask", "mask.png", "--label", "star"], "--box and --mask are both given; expected exactly one of"),
        (
            [*BOX, "--outpaint", "4,0,0,0", "--label", "star"],
            "--box and --outpaint are both given; expected exactly one of",
        ),
        (["--label", "star"], "expected exactly one of --box, --mask and --outpaint"),
        ([*BOX, "--label", "star", "--generated", "sun", "--image", "x.png"], "--image and --generated are both given"),
        ([*BOX, "--label", "star", "--generated", "spade"], "no class 'spade'"),
        ([*BOX], "expected --label NAME"),
        ([*BOX, "--label", "star", "--steps", "0"], "--steps 0: expected 1 or more"),
        ([*BOX, "--label", "star", "--steps", "65"], "--steps 65: expected 1 to 64"),
        ([*BOX, "--label", "star", "--steps", "4", "--start-step", "4"], "--steps 4: expected more than --start-step"),
        ([*BOX, "--label", "star", "--start-step", "-1"], "--start-step -1: expected 0 or more"),
        ([*BOX, "--label", "star", "--count", "0"], "--count 0: expected 1 or more"),
        ([*BOX, "--label", "star", "--dilate", "-1"], "--dilate -1: expected 0 or more"),
        ([*BOX, "--label", "star", "--temperature", "-1"], "--temperature -1.0: expected 0 or more"),
        (["--outpaint", "0,0,0,0", "--label", "star"], "more than 0 on one"),
        (["--outpaint=-4,0,0,0", "--label", "star"], "more than 0 on one"),
        (["--outpaint", "4,0,0,0", "--label", "star", "--rival"], "--rival"),
        (["--outpaint", "4,0,0,0", "--label", "star", "--stride", "0"], "--stride 0: expected 1 or more"),
        (["--mask", "nowhere.png", "--label", "star"], "nowhere.png: no such file"),
    ],
)
def test_invalid_input_is_refused_in_one_line(run_folder, tmp_path, capsys, arguments, complaint):
    out = tmp_path / "edit.png"
    assert complaint in error_line(capsys, edit, "--run", str(run_folder), "--out", str(out), *arguments)
    assert not out.exists()


@pytest.mark.parametrize(
    ("size", "colour", "complaint"),
    [((32, 32), 0, "all black, so the region is empty"), ((16, 16), 255, "16x16; expected 32x32")],
)
def test_an_invalid_mask_is_refused_in_one_line(run_folder, tmp_path, capsys, size, colour, complaint):
    Image.new("L", size, colour).save(tmp_path / "mask.png")
    arguments = ["--run", str(run_folder), "--mask", str(tmp_path / "mask.png"), "--label", "star"]
    assert complaint in error_line(capsys, edit, *arguments)


def saved_mask(values: np.ndarray, path: Path, opacity: np.ndarray | None = None) -> Path:
    mask = Image.fromarray(values)
    if opacity is not None:
        mask.putalpha(Image.fromarray(opacity))
    mask.save(path)
    return path


BLOCK = np.kron(np.array([[0, 0], [0, 1]], np.uint8), np.ones((30, 45), np.uint8))  # 1 in the lower right quarter


@pytest.mark.parametrize(
    ("values", "suffix", "note"),
    [
        (BLOCK.astype(bool), "png", ""),
        (BLOCK.astype(np.uint16) * 65535, "png", "1 picture has more than 8 bits (up to 65535): read as 0..65535"),
        (BLOCK.astype(np.uint16) * 65000 + 500, "png", "read as 0..65535"),
        (BLOCK.astype(np.uint16) * 4000, "tif", "read as 0..4095"),
        (BLOCK.astype(np.int32) * 255, "tif", "read as 0..255"),
        (BLOCK.astype(np.float32), "tif", "1 picture has floating-point values (up to 1): read as 0..1"),
    ],
)
def test_a_mask_of_any_depth_marks_the_same_region(photograph, tmp_path, capsys, values, suffix, note):
    mask = saved_mask(values, tmp_path / f"mask.{suffix}")
    marked = region.region_of(Image.open(photograph), None, mask)
    assert (np.asarray(marked) == 255 * BLOCK).all()
    assert note in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "opacity", "suffix", "cure"),
    [
        (BLOCK, None, "png", ": its values are 0 and 1; multiply them by 255"),
        (BLOCK.astype(np.int32), None, "tif", ": its values are 0 and 1; multiply them by 255"),
        (BLOCK + BLOCK[::-1] * 2, None, "png", ": its values are 0 to 2; make those to paint 255"),
        (np.zeros_like(BLOCK), 255 - 255 * BLOCK, "png", ": its transparent part is not painted"),
        (BLOCK * 255, 255 - 255 * BLOCK, "png", ": its transparent part is not painted; save it without transparency"),
        (BLOCK.astype(np.int32) - 5, None, "tif", "its values are -5 to -4; expected 0 to 255"),
    ],
)
def test_a_mask_that_marks_nothing_is_refused_with_the_cure(photograph, tmp_path, values, opacity, suffix, cure):
    mask = saved_mask(values, tmp_path / f"mask.{suffix}", opacity)
    with pytest.raises(UserError) as error:
        region.region_of(Image.open(photograph), None, mask)
    assert cure in str(error.value) and str(mask) in str(error.value)


def test_a_transparent_part_of_a_mask_is_not_painted_and_that_is_said(photograph, tmp_path, capsys):
    mask = saved_mask(np.full_like(BLOCK, 255), tmp_path / "mask.png", 255 * BLOCK)
    marked = region.region_of(Image.open(photograph), None, mask)
    assert (np.asarray(marked) == 255 * BLOCK).all()
    assert f"{mask}: its transparent part is not painted" in capsys.readouterr().out


def test_a_deep_picture_is_edited_as_what_it_shows(edit_here, tmp_path):
    ramp = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    for name, values in {"8.png": np.uint8(255 * ramp + 0.5), "12.png": np.uint16(4095 * ramp), "1.tif": ramp}.items():
        Image.fromarray(values).save(tmp_path / name)
    pictures = {
        name: edit_here("--image", str(tmp_path / name), "--box", "8,8,20,20", "--label", "sun", "--count", "1")
        for name in ("8.png", "12.png", "1.tif")
    }
    before = {name: np.asarray(picture, int)[40:140, 20:140] for name, (picture, _) in pictures.items()}
    assert abs(before["12.png"] - before["8.png"]).max() <= 1 and abs(before["1.tif"] - before["8.png"]).max() <= 1
    assert "12.png: 1 picture has more than 8 bits (up to 4095): read as 0..4095" in pictures["12.png"][1]


def test_a_region_outside_the_crop_is_refused_in_one_line(run_folder, photograph, capsys):
    arguments = ["--run", str(run_folder), "--image", str(photograph), "--box", "0,0,10,60", "--label", "star"]
    assert "empty once the picture is resized and centre-cropped" in error_line(capsys, edit, *arguments)


# --- Measuring ---


def test_class_edits_are_measured_for_both_decoders(run_folder):
    run = open_run(run_folder, "cpu")
    judge = load_model(Classifier, run_folder / "classifier")
    for box in (None, (0, 0, 32, 16)):
        found = class_edits.measure_class_edits(run, judge, count=12, seed=1, box=box)
        assert found.keys() == {"MaskGIT", "autoregressive"}
        for scores in found.values():
            assert scores.keys() == {"asked_class", "kept_palette"}
            assert all(0 <= score <= 1 for score in scores.values())
    assert found == class_edits.measure_class_edits(run, judge, count=12, seed=1, box=box)


def test_an_edit_counts_if_it_shows_the_other_class_and_keeps_the_palette(monkeypatch):
    run = open_run(PRETRAINED / "glyphs", "cpu")
    judge = load_model(Classifier, PRETRAINED / "glyphs/judge/classifier")
    tokenizer, asked = run.tokenizer(), []

    def untouched(model, tokens, region, labels, **_):
        asked.append(labels)
        return tokens

    def of_another_glyph(model, tokens, region, labels, generator):
        """Of the asked class, in any palette."""
        data = load_data("glyphs", "valid", 32, 400, seed=run.config.seed)
        chosen = [(data.labels == label).nonzero()[-1, 0] for label in labels]
        return tokenizer.encode(to_float(data.images[torch.stack(chosen)]))

    monkeypatch.setattr(class_edits, "edit_tokens", untouched)
    monkeypatch.setattr(class_edits, "autoregressive_edit", of_another_glyph)
    found = class_edits.measure_class_edits(run, judge, count=60, seed=1, box=(0, 0, 32, 32))
    shown = load_data("glyphs", "valid", 32, 60, seed=run.config.seed).labels
    assert (asked[0] != shown).all()
    assert found["MaskGIT"]["asked_class"] < 0.05 and found["MaskGIT"]["kept_palette"] > 0.95
    assert found["autoregressive"]["asked_class"] > 0.95 and found["autoregressive"]["kept_palette"] < 0.5


def test_a_picture_of_the_run_s_size_is_used_unchanged(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    assert (square(region.read_picture(tmp_path / "picture.png"), 32) == pixels.transpose(2, 0, 1)).all()
