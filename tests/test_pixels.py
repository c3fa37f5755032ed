"""No pixel is silently wrong: every form of picture loads as the picture it shows, or is refused by name.

A ramp from black to white is saved in each form, and must load as the same ramp.
"""

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from minimaskgit.data import reading
from minimaskgit.data.images import ImageData, square
from minimaskgit.data.pixels import FLOATS, INTEGERS, WHITES, Peak, White, to_rgb, white_of
from minimaskgit.data.sources import load_data

unhurried = settings(deadline=None, max_examples=60)
RAMP = np.tile(np.linspace(0, 1, 64), (8, 1))  # (H, W)
GREY = np.round(255 * RAMP)


def scaled(white: int, ramp: np.ndarray = RAMP) -> np.ndarray:
    return np.round(white * ramp).astype(np.uint16)


def coloured(grey: np.ndarray, opacity: int | None = None) -> np.ndarray:
    """Red as the ramp, green mirrored, blue half as bright, (H, W, 3); with an opacity (H, W, 4)."""
    channels = [grey, grey[:, ::-1], grey // 2]
    return np.stack(channels + ([] if opacity is None else [np.full_like(grey, opacity)]), -1)


# --- Writers of what Pillow reads and does not write ---


def png(samples: np.ndarray, transparent: tuple[int, ...] = (), bits: int = 16) -> bytes:
    """A PNG of samples (H, W[, C]) of 16 bits, or in grey of 1, 2 or 4 bits; transparent: the key colour."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        digits = ["".join(f"{value:0{bits}b}" for value in row) for row in samples]
        rows = [int(row, 2).to_bytes(len(row) // 8, "big") for row in digits]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if samples.ndim == 2 else samples.shape[2]]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    chunks += [(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))] if transparent else []
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def tiff(
    samples: np.ndarray,
    photometric: int,
    order: str = "<",
    extra: int | None = None,
    planes: int = 1,
    deflate: bool = False,
    orientation: int = 1,
) -> bytes:
    """A TIFF of samples (H, W[, C]) in byte order < or >; photometric: 0 grey with white as 0, 1 grey, 2 RGB, 5 CMYK.

    extra: what the last channel is, 0 nothing, 1 premultiplied opacity, 2 opacity. planes 2: channel after channel.
    """
    height, width, channels = *samples.shape[:2], 1 if samples.ndim == 2 else samples.shape[2]
    pixels = np.moveaxis(samples, -1, 0) if planes == 2 else samples
    data = pixels.astype(samples.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflate else data
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    bits = 8 * samples.dtype.itemsize
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels), (259, 3, [8 if deflate else 1])]
    entries += [(262, 3, [photometric])]
    strips, strip = (channels, len(data) // channels) if planes == 2 else (1, len(data))
    entries += [(273, 4, [8 + i * strip for i in range(strips)]), (274, 3, [orientation]), (277, 3, [channels])]
    entries += [(278, 4, [height]), (279, 4, [strip] * strips), (284, 3, [planes])]
    entries += ([(338, 3, [extra])] if extra is not None else []) + [(339, 3, [kind] * channels)]
    start = 8 + len(data) + len(data) % 2
    tail = b""
    directory = struct.pack(order + "H", len(entries))
    after = start + 2 + 12 * len(entries) + 4
    for tag, form, values in entries:
        packed = struct.pack(f"{order}{len(values)}{'HI'[form - 3]}", *values)
        if len(packed) > 4:
            packed, tail = struct.pack(order + "I", after + len(tail)), tail + packed
        directory += struct.pack(order + "HHI", tag, form, len(values)) + packed.ljust(4, b"\0")
    magic = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return magic + data.ljust(start - 8, b"\0") + directory + b"\0" * 4 + tail


def saved(image: Image.Image | np.ndarray, form: str, **options) -> bytes:
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def loaded(file: bytes, white: White | None = None) -> np.ndarray:
    """The picture as RGB, (H, W, 3)."""
    return np.asarray(to_rgb(Image.open(BytesIO(file)), white)).astype(int)


# --- A ramp is the same ramp in every form ---

COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate")
DEEP_GREY = {  # form -> file of grey samples, uint16
    "png": png,
    "png by Pillow": lambda grey: saved(grey, "PNG"),
    "tiff <": lambda grey: tiff(grey, 1, "<"),
    "tiff >": lambda grey: tiff(grey, 1, ">"),
    "tiff int16 <": lambda grey: tiff(grey.astype(np.int16), 1, "<") if grey.max() < 2**15 else tiff(grey, 1),
    "tiff int32 >": lambda grey: tiff(grey.astype(np.int32), 1, ">"),
    "tiff uint32": lambda grey: tiff(grey.astype(np.uint32), 1),
    "tiff float <": lambda grey: tiff(grey.astype(np.float32), 1, "<"),
    "tiff float >": lambda grey: tiff(grey.astype(np.float32), 1, ">"),
    "pgm": lambda grey: saved(grey, "PPM"),
    "pgm text": lambda grey: f"P2 {grey.shape[1]} {grey.shape[0]} 65535 {' '.join(map(str, grey.ravel()))}\n".encode(),
    "jpeg 2000": lambda grey: saved(grey, "JPEG2000"),
    **{f"tiff {name}": lambda grey, name=name: saved(grey, "TIFF", compression=name) for name in COMPRESSIONS[1:]},
}
DEEP_COLOUR = {  # form -> file of RGB samples, uint16
    "png": png,
    "png opaque": lambda rgb: png(np.concatenate([rgb, np.full_like(rgb[..., :1], 65535)], -1)),
    "png keyed": lambda rgb: png(rgb, transparent=(60_001, 2, 3)),
    "tiff <": lambda rgb: tiff(rgb, 2, "<"),
    "tiff >": lambda rgb: tiff(rgb, 2, ">"),
    "tiff deflated <": lambda rgb: tiff(rgb, 2, "<", deflate=True),
    "tiff deflated >": lambda rgb: tiff(rgb, 2, ">", deflate=True),
    "tiff and another channel": lambda rgb: tiff(np.concatenate([rgb, rgb[..., :1]], -1), 2, extra=0),
    "tiff opaque": lambda rgb: tiff(np.concatenate([rgb, np.full_like(rgb[..., :1], 65535)], -1), 2, extra=2),
    "tiff premultiplied": lambda rgb: tiff(np.concatenate([rgb, np.full_like(rgb[..., :1], 65535)], -1), 2, extra=1),
    "ppm": lambda rgb: b"P6 %d %d 65535\n" % rgb.shape[1::-1] + rgb.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("white", WHITES)
@pytest.mark.parametrize("form", DEEP_GREY)
def test_a_grey_ramp_in_any_deep_form_and_range_loads_as_that_ramp(form, white):
    file = DEEP_GREY[form](scaled(white))
    assert abs(loaded(file) - GREY[..., None]).max() <= (1 if "float" not in form else 2)
    assert np.diff(loaded(file)[0, :, 0]).min() >= 0


@pytest.mark.parametrize("white", WHITES)
@pytest.mark.parametrize("form", DEEP_COLOUR)
def test_a_coloured_ramp_of_16_bits_loads_as_that_ramp_whatever_its_range(form, white):
    assert abs(loaded(DEEP_COLOUR[form](coloured(scaled(white)))) - coloured(GREY)).max() <= 1


@unhurried
@given(white=st.sampled_from(WHITES), values=st.lists(st.integers(0, 65535), min_size=2, max_size=20))
def test_a_value_s_level_depends_on_white_alone_and_keeps_the_order(white, values):
    samples = (np.array([values]) % (white + 1)).astype(np.uint16)
    levels = loaded(png(samples), White(integers=white))[..., 0]
    assert (levels == np.floor(samples * (255 / white) + 0.5)).all()
    assert (np.diff(levels[0][np.argsort(samples[0])]) >= 0).all()


@unhurried
@given(white=st.sampled_from((1, *WHITES)), stray=st.floats(-0.009, 0.009), wide=st.booleans())
def test_floats_of_any_range_load_within_two_levels_also_if_they_stray_by_less_than_a_percent(white, stray, wide):
    ramp = (RAMP * (1 + abs(stray)) - abs(stray) / 2 if wide else RAMP) * white
    assert abs(loaded(tiff(ramp.astype(np.float32), 1)) - GREY[..., None]).max() <= (3 if wide else 2)


DEEP_BUT_SAME = {
    "white is 0": tiff(65535 - scaled(65535), 0),
    "floats, white is 0": tiff(1 - RAMP.astype(np.float32), 0),
    "12 bits packed": saved(scaled(4095), "TIFF"),
    "grey with opacity": png(np.stack([scaled(65535), np.full_like(scaled(1), 65535)], -1)),
    "another colour is transparent": png(scaled(65535), transparent=(77,)),
    "cmyk": tiff(np.stack([np.zeros_like(scaled(1))] * 3 + [65535 - scaled(65535)], -1), 5),
    "ppm of 12 bits": b"P6 64 8 4095\n" + np.stack([scaled(4095)] * 3, -1).astype(">u2").tobytes(),
    "pgm of 12 bits": b"P5 64 8 4095\n" + scaled(4095).astype(">u2").tobytes(),
    "8 bits, white is 0": tiff(255 - GREY.astype(np.uint8), 0),
}


@pytest.mark.parametrize("form", DEEP_BUT_SAME)
def test_a_ramp_in_a_rarer_deep_form_loads_as_that_ramp(form):
    assert abs(loaded(DEEP_BUT_SAME[form]) - GREY[..., None]).max() <= 1


def test_a_header_s_maximum_is_white_even_if_the_picture_is_dark():
    dark = b"P5 64 8 4095\n" + scaled(400).astype(">u2").tobytes()
    assert abs(loaded(dark) - np.round(400 / 4095 * GREY)[..., None]).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_reach_from_black_to_white_and_the_transparent_grey_is_white(bits):
    top = 2**bits - 1
    grey = np.tile(np.arange(16) * (top + 1) // 16, (2, 1))
    assert (loaded(png(grey, bits=bits)) == (255 * grey // top)[..., None]).all()
    for key in range(top + 1):
        seen = loaded(png(grey, (key,), bits))[..., 0]
        assert (seen == np.where(grey == key, 255, 255 * grey // top)).all()


def test_transparent_samples_of_16_bits_are_white_and_half_opaque_ones_half_way():
    samples = np.array([[[1000, 0], [1000, 65535], [0, 32768], [60000, 65535]]], np.uint16)
    assert abs(loaded(png(samples))[0, :, 0] - [255, 4, 127, 233]).max() <= 1
    assert loaded(png(np.array([[0, 500, 65535]], np.uint16), transparent=(500,)))[0, :, 0].tolist() == [0, 255, 255]
    rgb = np.array([[[1, 2, 3], [1, 2, 4], [65535] * 3]], np.uint16)
    assert loaded(png(rgb, transparent=(1, 2, 3)))[0, :, 0].tolist() == [255, 0, 255]
    half = np.array([[[32768, 0, 0, 32768], [65535] * 4]], np.uint16)  # premultiplied: pure red, half there
    assert abs(loaded(tiff(half, 2, extra=1))[0, 0] - [255, 127, 127]).max() <= 1


GREY8 = Image.fromarray(GREY.astype(np.uint8))
RGB8 = Image.fromarray(coloured(GREY).astype(np.uint8))
SHALLOW = {
    "L": GREY8,
    "P": GREY8.quantize(64),
    "LA": GREY8.convert("LA"),
    "La": GREY8.convert("LA").convert("La"),
    "PA": GREY8.quantize(64).convert("PA"),
    "RGB": GREY8.convert("RGB"),
    "RGBA": GREY8.convert("RGBA"),
    "RGBa": GREY8.convert("RGBA").convert("RGBa"),
    "RGBX": GREY8.convert("RGB").convert("RGBX"),
    "CMYK": GREY8.convert("RGB").convert("CMYK"),
    "YCbCr": GREY8.convert("RGB").convert("YCbCr"),
    "HSV": GREY8.convert("RGB").convert("HSV"),
    "LAB": GREY8.convert("RGB").convert("LAB"),
}


@pytest.mark.parametrize("mode", SHALLOW)
def test_a_grey_ramp_in_any_mode_of_8_bits_loads_as_that_ramp(mode):
    assert SHALLOW[mode].mode == mode
    assert abs(np.asarray(to_rgb(SHALLOW[mode])).astype(int) - GREY[..., None]).max() <= (2 if mode == "LAB" else 1)


@pytest.mark.parametrize("mode", ["RGB", "YCbCr", "CMYK"])
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_a_coloured_picture_keeps_its_colours_in_jpeg_and_tiff(mode, form):
    file = saved(RGB8.convert(mode), form, **({"quality": 100, "subsampling": 0} if form == "JPEG" else {}))
    assert abs(loaded(file) - coloured(GREY)).mean() < 2


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_read(form):
    options = {"lossless": True} if form == "WEBP" else {}
    file = saved(GREY8, form, save_all=True, append_images=[ImageOps.invert(GREY8)], **options)
    assert abs(loaded(file) - GREY[..., None]).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("samples", [scaled(65535), coloured(scaled(65535)), RAMP.astype(np.float32)], ids=str)
def test_a_deep_picture_taken_sideways_is_turned_upright_once(samples, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    levels = np.uint8(coloured(GREY) if samples.ndim == 3 else GREY)
    with Image.open(BytesIO(saved(levels, "PNG", exif=exif))) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    found = loaded(tiff(samples, 2 if samples.ndim == 3 else 1, orientation=orientation))
    assert found.shape == expected.shape and abs(found - expected).max() <= 1
    if samples.ndim == 2 and samples.dtype == np.uint16:
        assert abs(loaded(saved(samples, "PNG", exif=exif)) - expected).max() <= 1


# --- What fits no range is refused ---

float_ramp = RAMP.astype(np.float32)
REFUSED = {
    "negative": (tiff((RAMP * 300 - 20).astype(np.int16), 1), "its values are -20 to 280; expected 0 to 1023"),
    "negative, 8 bits": (tiff((RAMP * 100 - 20).astype(np.int8), 1), "its values are -20 to 80; expected 0 to 255"),
    "negative floats": (tiff(2 * float_ramp - 1, 1), "its values are -1 to 1; expected 0 to 1"),
    "not a number": (tiff(np.where(RAMP > 0.5, np.nan, float_ramp), 1), "its values are nan to nan"),
    "infinite": (tiff(np.where(RAMP > 0.5, np.inf, float_ramp), 1), "its values are 0 to inf"),
    "too bright": (tiff(8 * float_ramp, 1), "its values are 0 to 8; expected 0 to 1"),
    "larger": (tiff((RAMP * 100_000).astype(np.int32), 1), "its values are 0 to 100000; expected 0 to 65535"),
    "unsigned": (tiff((RAMP * 4e9).astype(np.uint32), 1), "expected 0 to"),
    "planes": (tiff(coloured(scaled(4095)), 2, planes=2), "stored one after the other"),
    "faint": (png(np.stack([scaled(4095)] * 3 + [np.full_like(scaled(1), 4095)], -1)), "its opacity is at most 4095"),
    "double": (tiff(RAMP, 1), "cannot identify"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_a_picture_outside_every_range_is_refused_with_its_range(form):
    file, message = REFUSED[form]
    with pytest.raises((ValueError, SyntaxError, OSError), match=message):
        to_rgb(Image.open(BytesIO(file)))


# --- White is a data set's, not a picture's ---


def write_folder(root: Path, files: dict[str, bytes]) -> str:
    for name, file in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(file)
    return str(root)


def write_table(path: Path, files: list[bytes | None], names: list[str] | None = None) -> str:
    records = [{"bytes": file, "path": name} for file, name in zip(files, names or [None] * len(files))]
    columns = {"image": records, "label": [i % 2 for i in range(len(files))]}
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image(decode=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)
    return str(path.parent)


def greys(data: ImageData) -> list[int]:
    return sorted(int(image[0, 4, 4]) for image, _ in data)


def flat(value: float, kind: type = np.uint16) -> np.ndarray:
    return np.full((8, 8), value, kind)


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_every_selection_of_a_data_set_is_read_with_the_same_white(tmp_path, kind):
    values = [100 * i for i in range(40)]  # dark ones too, and up to 3900
    if kind == "folder":
        source = write_folder(tmp_path, {f"{'ab'[i % 2]}/{i:02d}.png": png(flat(v)) for i, v in enumerate(values)})
    else:
        source = write_table(tmp_path / "all.parquet", [png(flat(value)) for value in values])
    expected = {round(value * 255 / 4095) for value in values}
    seen = set()
    for split in ("train", "valid"):
        everything = load_data(source, split, image_size=8)
        (note,) = everything.notes
        assert note.startswith("40 pictures have more than 8 bits (up to 3900): read as 0..4095")
        seen |= set(greys(everything))
        for options in ({"num_images": 3}, {"seed": 5}, {"classes": ["b" if kind == "folder" else "1"]}):
            assert set(greys(load_data(source, split, image_size=8, **options))) <= expected
        assert greys(load_data(source, split, image_size=8, memory_limit=0)) == greys(everything)
    assert seen == expected


def test_the_training_split_decides_for_the_validation_split_and_what_exceeds_it_is_skipped_by_name(tmp_path, caplog):
    files = {f"train/a/{i}.png": png(flat(1000 + i)) for i in range(6)}
    files |= {
        "val/a/dark.png": png(flat(3)),
        "val/a/bright.png": png(flat(5000)),
        "val/a/8.png": saved(flat(9, np.uint8), "PNG"),
    }
    valid = load_data(write_folder(tmp_path, files), "valid", image_size=8)
    assert greys(valid) == [1, 9] and valid.skipped == 1
    assert "bright.png): its values are 5000 to 5000; expected 0 to 1023" in caplog.text


def test_ramps_of_every_kind_load_as_ramps_from_one_folder(tmp_path):
    ramp = RAMP.astype(np.float32)
    files = {"8.png": saved(GREY.astype(np.uint8), "PNG"), "16.png": png(scaled(65535)), "1.tif": tiff(ramp, 1)}
    files |= {"32.tif": tiff(GREY.astype(np.int32), 1), "pgm.pgm": DEEP_BUT_SAME["pgm of 12 bits"]}
    source = write_folder(
        tmp_path, {f"{split}/a/{name}": file for split in ("train", "val") for name, file in files.items()}
    )
    for images in (load_data(source, split, image_size=8).images for split in ("train", "valid")):
        levels = images[:, 0, 4].int()
        assert len(images) == 5 and (levels - levels[0]).abs().max() <= 1 and levels.min() < 130 < levels.max()


def test_pictures_that_a_brighter_one_makes_dark_are_counted(tmp_path):
    files = {f"a/{i}.png": png(flat(value)) for i, value in enumerate([65535] * 8 + [3000, 4000])}
    (note,) = load_data(write_folder(tmp_path, files), image_size=8).notes
    assert note.endswith("read as 0..65535; 2 of them reach only 4000, so they are dark")


def test_integers_floats_and_8_bits_each_keep_their_own_white(tmp_path):
    files = {
        "a/1.png": png(flat(65535)),
        "a/2.tif": tiff(flat(0.5, np.float32), 1),
        "a/3.png": saved(flat(77, np.uint8), "PNG"),
    }
    files |= {f"a/{i}.jpg": saved(flat(20, np.uint8), "JPEG") for i in range(8)}
    files |= {"a/pgm.pgm": b"P5 8 8 1000\n" + flat(500).astype(">u2").tobytes()}
    source = write_folder(tmp_path, files)
    loads = [load_data(source, split, image_size=8) for split in ("train", "valid")]
    assert sorted(greys(loads[0]) + greys(loads[1])) == [20] * 8 + [77, 128, 128, 255]
    assert (
        loads[0].notes
        == loads[1].notes
        == [
            "1 picture has more than 8 bits (up to 65535): read as 0..65535",
            "1 picture has floating-point values (up to 0.5): read as 0..1",
        ]
    )


@pytest.mark.parametrize(
    ("largest", "white"), [(0, 1), (1, 1), (1.009, 1), (250, 255), (255, 255), (257, 255), (300, 1023)]
)
def test_floats_are_read_as_0_to_1_or_as_whole_numbers_by_the_largest_of_the_data_set(largest, white):
    assert white_of([Peak(FLOATS, 0.0), None, Peak(FLOATS, largest)]) == White(floats=white)


@unhurried
@given(st.lists(st.integers(0, 65535), min_size=1))
def test_white_is_the_smallest_range_that_holds_every_integer(values):
    white = white_of([Peak(INTEGERS, value) for value in values]).integers
    assert max(values) <= white and all(max(values) > smaller for smaller in WHITES if smaller < white)


def test_a_dark_float_picture_of_0_to_255_is_read_if_the_others_show_its_range(tmp_path):
    files = {f"a/{i}.tif": tiff(flat(value, np.float32), 1) for i, value in enumerate([0, 3, 20, 100, 250] * 4)}
    data = load_data(write_folder(tmp_path, files), image_size=8)
    assert set(greys(data)) == {0, 3, 20, 100, 250} and data.skipped == 0


def test_a_broken_or_refused_picture_has_no_say_in_what_is_white(tmp_path):
    files = {f"a/{i}.tif": tiff(flat(100 + i, np.int32), 1) for i in range(20)}
    files |= {"a/x.tif": tiff(np.linspace(-9, 60_000, 64).astype(np.int32).reshape(8, 8), 1), "a/y.tif": b"II*\0"}
    data = load_data(write_folder(tmp_path, files), image_size=8)
    assert max(greys(data)) >= 117 and data.notes == ["20 pictures have 32-bit integers (up to 119): read as 0..255"]


def test_a_deep_picture_that_passes_for_a_jpeg_is_refused_by_name(tmp_path, caplog):
    files = {f"a/{i}.jpg": saved(flat(20, np.uint8), "JPEG") for i in range(9)} | {"a/deep.jpg": png(flat(3000))}
    source = write_folder(tmp_path, files)
    skipped = sum(load_data(source, split, image_size=8).skipped for split in ("train", "valid"))
    assert (
        skipped == 1
        and "deep.jpg): it has more than 8 bits, and none of the training images examined has" in caplog.text
    )


def test_of_many_deep_pictures_an_evenly_spaced_sample_is_examined_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LOOKED_AT", 10)
    source = write_table(tmp_path / "train.parquet", [png(flat(i)) for i in range(100)] + [None, b"", b"GIF89a"])
    write_table(tmp_path / "valid.parquet", [png(flat(1))])
    data = load_data(source, image_size=8)
    assert data.notes == ["10 pictures have more than 8 bits (up to 99): read as 0..255 (10 of 100 were examined)"]


def test_only_pictures_that_may_be_deep_are_opened(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(reading, "peak", lambda image: looked.append(image.format))
    shallow = [saved(flat(1, np.uint8), form) for form in ("JPEG", "GIF", "WEBP", "BMP", "PNG")]
    rows = [*shallow, png(flat(1)), tiff(flat(1), 1), None]
    write_table(tmp_path / "train.parquet", rows)
    write_table(tmp_path / "valid.parquet", rows)
    load_data(str(tmp_path), image_size=8)
    assert sorted(looked) == ["PNG", "TIFF"]


# --- Broken files ---


@pytest.mark.filterwarnings("ignore")  # pytest replaces the filters of the program
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_a_truncated_file_is_refused_or_shows_the_whole_picture(form):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    whole = saved(pixels, form)
    picture = square(Image.open(BytesIO(whole)), 24)
    for cut in range(0, len(whole), 1 + len(whole) // 150):
        try:
            assert (square(Image.open(BytesIO(whole[:cut])), 24) == picture).all(), cut
        except (OSError, ValueError, SyntaxError, IndexError, struct.error, TypeError, KeyError):
            continue


def test_a_class_without_a_readable_image_is_named_and_the_same_files_are_skipped_every_time(tmp_path, caplog):
    good = saved(flat(20, np.uint8), "PNG")
    files = {f"train/cat/{i}.png": good for i in range(9)} | {f"train/dog/{i}.png": good[:50] for i in range(5)}
    source = write_folder(tmp_path, files | {"val/cat/1.png": good})
    sizes = {load_data(source, image_size=8).skipped for _ in range(3)}
    assert sizes == {5} and len(set(caplog.messages)) == 1
    assert "skipped 5 broken images of 14; no image is left of dog:" in caplog.messages[0]


@pytest.mark.filterwarnings("ignore")
def test_a_large_picture_is_read_and_an_enormous_one_is_refused(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Pillow warns from here, and refuses from twice as many
    files = {f"a/{height}.png": saved(np.zeros((20, height), np.uint8), "PNG") for height in (20, 40, 49, 51)}
    source = write_folder(tmp_path, {f"{split}/{name}": files[name] for split in ("train", "val") for name in files})
    assert load_data(source, image_size=8).skipped == 1
    assert "51.png): Image size (1020 pixels) exceeds limit" in caplog.text


def test_large_pictures_give_no_warnings(tmp_path):
    (tmp_path / "large.png").write_bytes(saved(np.zeros((20, 40), np.uint8), "PNG"))
    program = "from minimaskgit.data import pixels; from PIL import Image; import sys; Image.MAX_IMAGE_PIXELS = 500;"
    program += "pixels.to_rgb(Image.open(sys.argv[1]))"  # alone, because pytest sets filters of its own
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "large.png"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="it has 0x5 pixels"):
        square(Image.new("L", (0, 5)), 8)
