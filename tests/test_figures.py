"""Figures: every pixel has the right place and value, and files are complete or absent."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageColor, ImageSequence

from minimaskgit import figures
from minimaskgit.figures import fonts, sheets, style
from minimaskgit.figures.sheets import CELL, GAP, MARGIN
from minimaskgit.figures.style import MASKED
from minimaskgit.measuring import race
from minimaskgit.schedules import cosine, linear


def some_images(*shape: int, size: int = 32) -> torch.Tensor:
    return torch.rand(*shape, 3, size, size, generator=torch.Generator().manual_seed(0))


def raster_masks(grid_size: int, samples: int = 1) -> torch.Tensor:
    """The tokens still masked after each pass of raster order: (N, S, N)."""
    num_tokens = grid_size**2
    masks = torch.arange(num_tokens) > torch.arange(num_tokens)[:, None]
    return masks[:, None].expand(-1, samples, -1)


def enlarged(image: torch.Tensor, scale: int) -> np.ndarray:
    return figures.to_uint8(image[None])[0].repeat(scale, axis=0).repeat(scale, axis=1)


def some_frames(count: int = 5) -> list[Image.Image]:
    return [figures.grid(images) for images in some_images(count, 2, size=8)]


# --- Pixels ---


def test_floats_are_clipped_and_rounded():
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]).expand(1, 3, 1, 5)
    assert figures.to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_float_and_uint8_input_agree():
    whole = (some_images(4) * 255).byte()
    assert np.array_equal(figures.to_uint8(whole), figures.to_uint8(whole / 255))
    assert figures.grid(whole).tobytes() == figures.grid(whole / 255).tobytes()


@pytest.mark.parametrize("bad", [torch.rand(3, 8, 8), torch.rand(2, 1, 8, 8), torch.rand(0, 3, 8, 8)])
def test_a_wrong_shape_of_images_is_named(bad):
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        figures.to_uint8(bad)


def test_integers_other_than_uint8_are_refused():
    with pytest.raises(ValueError, match="int64"):
        figures.to_uint8(torch.zeros(1, 3, 8, 8, dtype=torch.long))


@pytest.mark.parametrize(("size", "scale"), [(32, 3), (64, 2), (128, 1), (256, 1)])
def test_grid_cells_are_the_enlarged_images(size, scale):
    images = some_images(6, size=size)
    sheet = np.asarray(figures.grid(images, columns=3))
    cell = size * scale
    assert cell >= CELL
    assert sheet.shape == (2 * cell + GAP + 2 * MARGIN, 3 * cell + 2 * GAP + 2 * MARGIN, 3)
    for i, image in enumerate(images):
        top, left = (MARGIN + k * (cell + GAP) for k in divmod(i, 3))
        assert np.array_equal(sheet[top : top + cell, left : left + cell], enlarged(image, scale))


@pytest.mark.parametrize("count", range(1, 40))
def test_the_default_grid_is_at_least_as_wide_as_high_and_full_if_possible(count):
    columns = sheets._default_columns(count)
    assert columns >= -(-count // columns)
    if count in (4, 6, 8, 9, 10, 12, 16, 20, 32):
        assert count % columns == 0


def test_titles_and_heading_add_space_and_long_titles_stay_in_their_column():
    images = some_images(4)
    plain = figures.grid(images)
    titled = figures.grid(images, titles=["heart", "European fire salamander", "x" * 90, ""], heading="Four")
    assert titled.height > plain.height
    assert titled.width - 2 * MARGIN <= max(plain.width - 2 * MARGIN, 4 * CELL)
    with pytest.raises(ValueError, match="3 titles for 4 images"):
        figures.grid(images, titles=["a", "b", "c"])


# --- Fonts ---


@pytest.fixture
def fonts_here(monkeypatch, tmp_path):
    """Set the characters that the system's only font can draw, as black squares."""

    def install(characters: str) -> Path:
        pen = TTGlyphPen(None)
        for point, draw in zip([(0, 0), (0, 700), (700, 700), (700, 0)], [pen.moveTo, *[pen.lineTo] * 3]):
            draw(point)
        pen.closePath()
        names = {ord(character): f"u{ord(character):X}" for character in characters}
        font = FontBuilder(1000, isTTF=True)
        font.setupGlyphOrder([".notdef", *names.values()])
        font.setupCharacterMap(names)
        font.setupGlyf(dict.fromkeys([".notdef", *names.values()], pen.glyph()))
        font.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (800, 0)))
        font.setupHorizontalHeader(ascent=800, descent=-200)
        font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
        font.setupOS2()
        font.setupPost()
        font.save(tmp_path / "squares.ttf")
        monkeypatch.setattr(fonts, "system_fonts", lambda: [tmp_path / "gone.ttf", tmp_path / "squares.ttf"])
        fonts.font_for.cache_clear()
        return tmp_path / "squares.ttf"

    yield install
    fonts.font_for.cache_clear()


def test_a_class_is_named_if_a_font_has_its_glyphs_and_numbered_otherwise(fonts_here):
    fonts_here("日本 猫")
    names = ["star", "café", "cafe\u0301", "日本 猫", "日本 cat", "犬", "Ωμέγα", "broken \udcff"]
    expected = ["star", "café", "cafe\u0301", "日本 猫", "class 4", "class 5", "Ωμέγα", "class 7"]
    assert figures.class_titles(names) == expected


def test_a_text_is_drawn_in_the_font_that_has_its_glyphs(fonts_here):
    squares = fonts_here("日本 猫…")
    assert fonts.font_for("star") == fonts.font_for("café") == fonts.REGULAR
    assert fonts.font_for("日本 猫") == squares
    drawn = np.asarray(sheets.draw_text("日本", size=20).convert("L"))
    black = drawn[:, 2:10]  # inside the first square
    assert (black.min(1) == black.max(1)).all() and drawn.min() < 60


def test_a_text_without_a_font_is_spelled_in_sheets_and_plots_and_warns_of_nothing(fonts_here, recwarn):
    fonts_here("日")
    assert fonts.spelled("猫 é") == "\\u732b é" and fonts.spelled("日") == "日"
    for text, drawn in {"猫": "\\u732b", "e\u0301": "é"}.items():
        assert sheets.draw_text(text).tobytes() == sheets.draw_text(drawn).tobytes()
        plots = [figures.scatter({label: (1, 2)}, label, "日", heading=label) for label in (text, drawn)]
        assert plots[0].tobytes() == plots[1].tobytes()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_latin_names_never_look_at_the_system_s_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "system_fonts", lambda: pytest.fail("looked at"))
    fonts.font_for.cache_clear()
    assert figures.class_titles(["golden retriever", "naïve façade", "Łódź", "кошка"])[3] == "кошка"


def test_without_a_shaping_library_letters_that_join_are_not_drawn(monkeypatch):
    monkeypatch.setattr(fonts.features, "check", lambda name: False)
    fonts.font_for.cache_clear()
    assert (
        figures.class_titles(["قطة", "cat", "é"]) == ["class 0", "cat", "é"] and fonts.spelled("قط") == "\\u0642\\u0637"
    )
    fonts.font_for.cache_clear()


def test_the_system_s_fonts_do_not_include_the_one_that_draws_a_box_for_everything():
    assert not [font for font in fonts.system_fonts() if "LastResort" in font.name or font.parent == fonts.OWN]


# --- Masked canvases and strips ---


def test_masked_cells_are_grey_and_the_others_show_the_picture():
    images, masks = some_images(3), torch.rand(3, 64) < 0.5
    canvas = figures.masked_canvas(images, masks, grid_size=8).permute(0, 2, 3, 1).numpy()
    cell = 12  # 32 pixels, enlarged 3 times, divided into 8 tokens
    for image, mask, drawn in zip(images, masks, canvas):
        picture = enlarged(image, 3)
        for token, hidden in enumerate(mask.tolist()):
            top, left = (cell * k for k in divmod(token, 8))
            here = np.s_[top : top + cell, left : left + cell]
            if hidden:
                assert np.array_equal(np.ptp(drawn[here], axis=-1), np.zeros((cell, cell)))  # grey
                assert (drawn[here][:-1, :-1] == MASKED).all()
            else:
                assert np.array_equal(drawn[here], picture[here])


def test_masks_that_do_not_match_the_picture_are_named():
    with pytest.raises(ValueError, match=r"expected \(1, 64\)"):
        figures.masked_canvas(some_images(1), torch.ones(1, 16, dtype=torch.bool), grid_size=8)
    with pytest.raises(ValueError, match="do not divide"):
        figures.masked_canvas(some_images(1), torch.ones(1, 25, dtype=torch.bool), grid_size=5)


def test_a_strip_ends_with_the_finished_picture_in_both_rows():
    images, masks = some_images(16), raster_masks(4)[:, 0]
    strip = np.asarray(figures.decoding_strip(images, masks, grid_size=4))
    last = enlarged(images[-1], 3)
    right = strip.shape[1] - MARGIN
    bottom = strip.shape[0] - MARGIN
    assert np.array_equal(strip[bottom - CELL : bottom, right - CELL : right], last)
    above = bottom - CELL - GAP
    assert np.array_equal(strip[above - CELL : above, right - CELL : right], last)


def test_a_strip_has_at_most_the_given_columns_and_a_pair_of_rows_per_sample():
    images, masks = some_images(3, 16), raster_masks(4, 3).transpose(0, 1)
    one = figures.decoding_strip(images[0], masks[0], 4)
    three = figures.decoding_strip(images, masks, 4)
    assert one.width == three.width == figures.decoding_strip(images[0, :8], masks[0, :8], 4).width
    assert three.height > one.height + 4 * CELL
    assert figures.decoding_strip(images[0], masks[0], 4, columns=16).width == one.width + 8 * (CELL + GAP)
    with pytest.raises(ValueError, match="2 captions"):
        figures.decoding_strip(images[0], masks[0], 4, captions=["a", "b"])


def test_step_captions_count_tokens_only_if_all_samples_agree():
    masks = raster_masks(2, 2).transpose(0, 1)  # (S, T, N)
    assert sheets._step_captions(masks)[1] == "step 2\n2 of 4"
    other = masks.clone()
    other[1, 1] = False
    assert sheets._step_captions(other)[1] == "step 2"


# --- Rows ---


def test_reconstructions_are_below_their_originals():
    before, after = some_images(2, 10)
    sheet = np.asarray(figures.reconstructions(before, after))
    bottom, left = sheet.shape[0] - MARGIN, sheet.shape[1] - MARGIN - 8 * CELL - 7 * GAP
    assert np.array_equal(sheet[bottom - CELL : bottom, left : left + CELL], enlarged(after[8], 3))
    above = bottom - CELL - GAP
    assert np.array_equal(sheet[above - CELL : above, left : left + CELL], enlarged(before[8], 3))
    with pytest.raises(ValueError, match="originals"):
        figures.reconstructions(before, after[:1])


def test_rows_may_differ_in_length_and_in_size():
    rows = {"star\nreal": some_images(5), "heart": some_images(2, size=64)}
    assert figures.labelled_rows(rows, "Two classes").width > 5 * CELL
    with pytest.raises(ValueError, match="no rows"):
        figures.labelled_rows({})


def test_a_decoder_has_the_same_colour_wherever_it_appears():
    colours = style.colours_of(["GAN", "autoregressive, cached", "MaskGIT", "diffusion"])
    assert colours["MaskGIT"] == figures.MASKGIT
    assert colours["autoregressive, cached"] == figures.AUTOREGRESSIVE
    assert len(set(colours.values())) == 4
    picture = figures.comparison({"MaskGIT, 8 passes": some_images(4), "GAN": some_images(4)})
    assert picture.getpixel((MARGIN, MARGIN + 60)) == ImageColor.getrgb(figures.MASKGIT)


# --- Animations and files ---


def test_a_race_has_a_frame_for_each_pass_and_the_last_one_whatever_the_stride():
    masked, raster = some_images(3, 2, size=8), some_images(16, 2, size=8)
    arguments = (masked, raster_masks(4, 2)[[3, 9, 15]], raster, raster_masks(4, 2), 4)
    frames = figures.race(*arguments)
    assert len(frames) == 16
    assert len({frame.size for frame in frames}) == 1
    sparse = figures.race(*arguments, stride=5)  # passes 5, 10, 15 and 16
    assert [frame.tobytes() for frame in sparse] == [frames[k - 1].tobytes() for k in (5, 10, 15, 16)]


def test_a_step_of_two_passes_is_seen_after_its_second():
    images, masks = torch.tensor([1.0, 2.0, 3.0])[:, None], torch.tensor([[True], [False], [False]])
    assert race.by_pass(images, [1, 2, 2], 0.0)[:, 0].tolist() == [1, 1, 2, 2, 3]
    assert race.by_pass(images, [2, 1, 1], 0.0)[:, 0].tolist() == [0, 1, 2, 3]
    assert race.by_pass(masks, [2, 1, 1], True)[:, 0].tolist() == [True, True, False, False]


def test_the_side_that_finishes_first_stays_unchanged_for_the_rest_of_the_race():
    raster = some_images(16, 2, size=8)
    frames = figures.race(raster[:3], raster_masks(4, 2)[[3, 9, 15]], raster, raster_masks(4, 2), 4)
    left = [frame.crop((0, 0, frame.width // 2, frame.height)).tobytes() for frame in frames]
    assert len(set(left[:3])) == 3
    assert len(set(left[2:])) == 1


def test_a_gif_has_all_frames_at_their_durations_and_loops(tmp_path):
    path = figures.animation(some_frames(5), tmp_path / "new" / "a.gif", seconds_per_frame=0.2, hold_last=1.0)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (5, 0)
        durations = []
        for k in range(gif.n_frames):
            gif.seek(k)
            durations.append(gif.info["duration"])
    assert durations == [200, 200, 200, 200, 1000]


def read_gif(path) -> np.ndarray:
    with Image.open(path) as gif:
        return np.stack([np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(gif)])


def test_a_gif_shows_gradients_nearly_unchanged(tmp_path):
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    frames = [figures.grid(picture) for picture in (ramp, ramp.flip(-1), ramp.mT)]
    shown = read_gif(figures.animation(frames, tmp_path / "a.gif"))
    assert np.abs(shown - np.stack(frames)).max() <= 2


def test_a_gif_keeps_paper_white_and_masked_cells_grey_however_many_colours_it_has(tmp_path):
    masks = torch.arange(64)[None] < 32
    images = some_images(2, 1, size=128)
    frames = [figures.grid(figures.masked_canvas(image, masks, 8)) for image in images]
    shown, wanted = read_gif(figures.animation(frames, tmp_path / "a.gif")), np.stack(frames)
    for grey in (255, MASKED, figures.MASKED_EDGE):
        assert (shown[(wanted == grey).all(-1)] == grey).all()


def test_frames_must_exist_and_have_the_same_size(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        figures.animation([], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="all of the same size"):
        figures.animation([Image.new("RGB", (4, 4)), Image.new("RGB", (5, 4))], tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_png_is_written_completely_without_leftover_files(tmp_path):
    picture = some_frames(1)[0]
    path = figures.save_png(picture, tmp_path / "deep" / "er" / "grid.png")
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]
    with Image.open(path) as again:
        assert again.tobytes() == picture.tobytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = figures.save_png(some_frames(1)[0], tmp_path / "grid.png")
    before = path.read_bytes()

    def crash(image, file, *arguments, **options):
        file.write_bytes(b"half a pic")
        raise RuntimeError("no such encoder")

    monkeypatch.setattr(Image.Image, "save", crash)
    with pytest.raises(RuntimeError, match="encoder"):
        figures.save_png(some_frames(1)[0], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- Plots ---


def test_plots_are_images_and_leave_no_global_state():
    from matplotlib import pyplot

    lines = {"MaskGIT": [(0, 2.0), (10, 1.0)], "autoregressive": [(0, 3.0), (10, 1.5)]}
    plots = [
        figures.curves(lines, "step", "loss"),
        figures.curves({}, "step", "loss"),
        figures.schedule_plot({"cosine": cosine, "linear": linear}, num_tokens=64, steps=8),
    ]
    for plot in plots:
        assert plot.mode == "RGB"
        assert plot.size == (900, 380)
    pixels = np.asarray(plots[0]).reshape(-1, 3)
    assert (pixels == ImageColor.getrgb(figures.MASKGIT)).all(-1).any()
    assert pyplot.get_fignums() == []


def test_clouds_have_their_colours_and_balls_appear_only_in_their_panel():
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    panels = {"left": {"MaskGIT": points}, "right": {"real": points}}
    plain = np.asarray(figures.clouds(panels))
    balls = np.asarray(figures.clouds(panels, {"right": (points, torch.tensor([0.2, 0.2]))}))
    left, right = (plain != balls).any(-1)[:, :450], (plain != balls).any(-1)[:, 450:]
    assert not left.any() and right.any()
    assert (plain.reshape(-1, 3) == ImageColor.getrgb(figures.MASKGIT)).all(-1).any()
