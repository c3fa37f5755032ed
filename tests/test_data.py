"""Images from any source become uint8 RGB squares; errors are reported in one line."""

import json
import logging
import re
from io import BytesIO

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import COLOURS, numbered, numbers, one_line, png, write_folder, write_parquet
from PIL import Image

from minimaskgit.common.errors import UserError
from minimaskgit.data import reading
from minimaskgit.data.classes import find_classes
from minimaskgit.data.glyphs import GLYPH_NAMES
from minimaskgit.data.images import ImageData, flip, square, to_float
from minimaskgit.data.sources import load_data, summary
from minimaskgit.data.tables import balanced_shuffle

unhurried = settings(deadline=None, max_examples=50)  # a busy machine is no failure


def contents(data: ImageData) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.images}


# ---- Glyphs ----


def test_glyphs_are_the_same_for_the_same_seed_only():
    first, again, other = (load_data("glyphs", num_images=20, seed=seed) for seed in (3, 3, 4))
    assert first.images.equal(again.images) and first.labels.equal(again.labels)
    assert not first.images.equal(other.images)


@unhurried
@given(seed=st.integers(0, 5), other=st.integers(0, 5))
def test_training_glyphs_and_validation_glyphs_never_overlap_for_any_seeds(seed, other):
    train = load_data("glyphs", "train", num_images=20, seed=seed, image_size=16)
    valid = load_data("glyphs", "valid", num_images=20, seed=other, image_size=16)
    assert not contents(train) & contents(valid)


@pytest.mark.parametrize("classes", [(), ("heart",), ("sun", "star", "club")])
def test_a_smaller_glyph_set_is_the_start_of_a_larger_one(classes):
    few, many = (load_data("glyphs", num_images=count, classes=classes) for count in (7, 150))
    assert (len(few), len(many)) == (7, 150)
    assert few.images.equal(many.images[:7]) and few.labels.equal(many.labels[:7])


def test_glyphs_have_the_requested_size_and_come_with_names():
    data = load_data("glyphs", image_size=24, num_images=5)
    assert data.images.shape == (5, 3, 24, 24) and data.images.dtype == torch.uint8
    assert data.labels.shape == (5,) and data.labels.dtype == torch.int64
    assert data.label_names == list(GLYPH_NAMES) and data.num_classes == 10 and data.image_size == 24


def test_chosen_glyph_classes_are_renumbered_in_the_order_given():
    everything = load_data("glyphs", num_images=400)
    chosen = load_data("glyphs", num_images=60, classes=["sun", "star"])
    assert chosen.label_names == ["sun", "star"] and set(chosen.labels.tolist()) == {0, 1}
    stars = everything.images[everything.labels == GLYPH_NAMES.index("star")]
    assert chosen.images[chosen.labels == 1][:10].equal(stars[:10])


def test_the_default_number_of_validation_glyphs_is_2000():
    assert len(load_data("glyphs", "valid", image_size=8)) == 2000


# ---- The data set object ----


def test_a_data_set_returns_images_with_labels_one_by_one_or_in_batches():
    data = load_data("glyphs", num_images=6)
    image, label = data[2]
    assert image.shape == (3, 32, 32) and image.dtype == torch.uint8 and type(label) is int
    images, labels = data.batch(torch.tensor([2, 0]))
    assert images[0].equal(image) and labels.tolist() == [label, data[0][1]]
    assert len(list(data)) == len(data) == 6


def test_a_data_set_feeds_a_data_loader():
    images, labels = next(iter(torch.utils.data.DataLoader(load_data("glyphs", num_images=6), batch_size=4)))
    assert images.shape == (4, 3, 32, 32) and labels.shape == (4,)


def test_beyond_the_memory_limit_images_are_decoded_on_access(tmp_path):
    source = write_parquet(tmp_path / "train-0.parquet", numbered(40), [0, 1] * 20)
    lazy = load_data(source, image_size=16, memory_limit=1000)
    eager = load_data(source, image_size=16)
    assert lazy.images is None and eager.images is not None and len(lazy) == len(eager) == 36
    indices = torch.tensor([5, 0, 35])
    assert lazy.batch(indices)[0].equal(eager.batch(indices)[0])
    assert lazy.batch(indices)[1].equal(eager.batch(indices)[1])
    assert lazy[7][0].equal(eager[7][0]) and lazy[7][1] == eager[7][1]
    assert sum(1 for _ in lazy) == 36
    two_workers = torch.utils.data.DataLoader(lazy, batch_size=18, num_workers=2)
    assert torch.cat([images for images, _ in two_workers]).equal(eager.images)


# ---- Parquet files ----


def test_the_names_of_parquet_files_determine_their_split(tmp_path):
    images = numbered(6)
    write_parquet(tmp_path / "train-00000-of-00002.parquet", images[:2], [0, 1])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", images[2:4], [0, 1])
    write_parquet(tmp_path / "validation-00000.parquet", images[4:5], [0])
    write_parquet(tmp_path / "test-00000.parquet", images[5:], [1])
    assert sorted(numbers(load_data(str(tmp_path), "train"))) == [0, 1, 2, 3]
    assert numbers(load_data(str(tmp_path), "valid")) == [4]
    assert sorted(numbers(load_data(str(tmp_path / "*-0000[01]*.parquet"), "train"))) == [0, 1, 2, 3]


def test_parquet_files_may_be_in_folders_named_by_split_and_in_unusual_places(tmp_path):
    root = tmp_path / ".my [1] test data"
    write_parquet(root / "default/train/0000.parquet", numbered(3), [0, 1, 1])
    write_parquet(root / "default/val/0000.parquet", numbered(5)[3:], [0, 1])
    assert sorted(numbers(load_data(str(root), "train"))) == [0, 1, 2]
    assert sorted(numbers(load_data(str(root), "valid"))) == [3, 4]


@pytest.mark.parametrize("name", ["all.parquet", "train.parquet"])
def test_without_a_validation_split_a_tenth_is_held_out_whatever_the_seed_and_classes(tmp_path, name):
    source = write_parquet(tmp_path / name, numbered(50), [i % 2 for i in range(50)])
    valid = set(numbers(load_data(source, "valid")))
    assert len(valid) == 5
    assert valid == set(numbers(load_data(source, "valid", seed=9)))
    assert set(numbers(load_data(source, "train", seed=4))) == set(range(50)) - valid
    assert not set(numbers(load_data(source, "train", classes=["1"], seed=5))) & valid


def test_a_smaller_selection_is_the_start_of_a_larger_one_and_balances_the_classes(tmp_path):
    source = write_parquet(tmp_path / "train.parquet", numbered(100), sorted(i % 4 for i in range(100)))
    few, many = (load_data(source, num_images=count, seed=1) for count in (12, 60))
    assert few.images.equal(many.images[:12]) and few.labels.equal(many.labels[:12])
    assert torch.bincount(few.labels).tolist() == [3, 3, 3, 3]
    assert numbers(few) != numbers(load_data(source, num_images=12, seed=2))
    assert len(load_data(source, num_images=1000)) == 90


@unhurried
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 100), data=st.data())
def test_a_balanced_shuffle_keeps_every_row_and_balances_every_prefix(labels, seed, data):
    labels = np.array(labels)
    shuffled = balanced_shuffle(np.arange(len(labels)), labels, seed)
    assert sorted(shuffled) == list(range(len(labels)))
    prefix = shuffled[: data.draw(st.integers(0, len(labels)))]
    for a in set(labels):
        for b in set(labels):  # class a may have more than one row less than b only if no rows of a are left
            used_a, used_b = (labels[prefix] == a).sum(), (labels[prefix] == b).sum()
            assert used_b - used_a <= 1 or used_a == (labels == a).sum()


def test_names_are_read_from_class_labels_integers_and_strings(tmp_path):
    images = numbered(4)
    hub = write_parquet(tmp_path / "a/train.parquet", images, [1, 0, 1, 1], names=["zebra", "ant"])
    integers = write_parquet(tmp_path / "b/train.parquet", images, [7, 3, 7, 7])
    strings = write_parquet(tmp_path / "c/train.parquet", images, ["owl", "cat", "owl", "owl"])
    for source, names in [(hub, ["zebra", "ant"]), (integers, ["3", "7"]), (strings, ["cat", "owl"])]:
        data = load_data(source)
        assert data.label_names == names
        expected = [[1, 0, 1, 1][number] for number in numbers(data)]
        assert data.labels.tolist() == expected


def test_the_validation_split_has_the_names_of_the_training_split(tmp_path):
    write_parquet(tmp_path / "train.parquet", numbered(3), ["ant", "bee", "cat"])
    write_parquet(tmp_path / "valid.parquet", numbered(1), ["cat"])
    data = load_data(str(tmp_path), "valid")
    assert data.label_names == ["ant", "bee", "cat"] and data.labels.tolist() == [2]
    write_parquet(tmp_path / "valid.parquet", numbered(1), ["emu"])
    with pytest.raises(UserError) as error:
        load_data(str(tmp_path), "valid")
    assert "emu" in one_line(error)


def test_other_column_names_and_plain_bytes_work(tmp_path):
    table = {"picture": numbered(20), "kind": ["a", "b"] * 10, "more": list(range(20))}
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "train.parquet")
    data = load_data(str(tmp_path), image_column="picture", label_column="kind")
    assert len(data) == 18 and data.label_names == ["a", "b"]


def test_a_changed_file_is_read_again(tmp_path):
    source = write_parquet(tmp_path / "train.parquet", numbered(10), [0] * 10)
    load_data(source)
    write_parquet(tmp_path / "train.parquet", numbered(30)[10:], [0] * 20)
    assert min(numbers(load_data(source))) >= 10


# ---- Choosing classes ----


def test_classes_are_chosen_by_name_id_or_number_in_the_order_given(tmp_path):
    labels = [0, 0, 1, 1, 2, 2, 2, 2]
    write_parquet(tmp_path / "train-0.parquet", numbered(8), labels, names=["n1", "n2", "n3"])
    words = {"n1": "goldfish, Carassius auratus", "n2": "tabby, tabby cat", "n3": "orange"}
    entries = [{"wnid": wnid, "words": words[wnid]} for wnid in words]
    (tmp_path / "classes.json").write_text(json.dumps(entries), "utf-8")
    assert load_data(str(tmp_path)).label_names == ["goldfish", "tabby", "orange"]
    data = load_data(str(tmp_path / "train-0.parquet"), classes=["ORANGE", "n1", "1", "goldfish"])
    assert data.label_names == ["orange", "goldfish", "tabby"]
    assert all(label == [1, 1, 2, 2, 0, 0, 0, 0][i] for i, label in zip(numbers(data), data.labels.tolist()))


def test_an_unrelated_classes_json_is_left_alone(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", numbered(3), ["a", "b", "b"])
    for text in ('["a", "b"]', '{"a": 1}', "not json", '[{"wnid": "a"}]'):
        (tmp_path / "classes.json").write_text(text, "utf-8")
        assert load_data(str(tmp_path)).label_names == ["a", "b"]


def test_the_error_for_an_unknown_class_names_similar_ones_and_their_number():
    for wanted, near in [("hart", "heart"), ("phone", "telephone"), ("x", "star"), ("10", "0 to 9")]:
        with pytest.raises(UserError) as error:
            load_data("glyphs", classes=[wanted])
        assert repr(wanted) in one_line(error) and near in one_line(error) and "10" in one_line(error)


@unhurried
@given(names=st.lists(st.text(max_size=3), unique=True, min_size=1))
def test_every_class_is_found_by_its_own_name(names):
    for number, name in enumerate(names):
        assert find_classes([name], names) == [number]
    assert find_classes([], names) == list(range(len(names)))


# ---- Folders of images ----


def test_an_image_folder_takes_its_class_names_from_the_folders(tmp_path):
    data = load_data(write_folder(tmp_path / "pets", count=10))
    assert data.label_names == ["cat", "dog", "owl"] and len(data) == 27
    for image, label in data:
        assert image[:, 0, 0].tolist() == list(COLOURS[label])


def test_an_image_folder_may_have_train_and_valid_folders_and_deeper_ones(tmp_path):
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", count=1, names=("cat", "dog"))
    (tmp_path / "train/dog/images/more").mkdir(parents=True)
    (tmp_path / "train/dog/images/more/x.jpeg").write_bytes(png(COLOURS[1], form="JPEG"))
    train, valid = (load_data(str(tmp_path), split) for split in ("train", "valid"))
    assert (len(train), len(valid)) == (10, 2)
    assert train.label_names == valid.label_names == ["cat", "dog", "owl"]


def test_a_class_may_be_called_train_and_other_files_are_ignored(tmp_path):
    root = write_folder(tmp_path / "vehicles", count=10, names=("car", "train"))
    (tmp_path / "vehicles/readme.txt").write_text("hello", "utf-8")
    (tmp_path / "vehicles/car/._test_0.PNG").write_bytes(b"a side file of another system")
    data = load_data(root)
    assert data.label_names == ["car", "train"] and len(data) == 18 and data.skipped == 0


@pytest.mark.parametrize("flat", ["x.png", "train/x.png"])
def test_images_without_class_folders_are_an_error(tmp_path, flat):
    (tmp_path / flat).parent.mkdir(exist_ok=True)
    (tmp_path / flat).write_bytes(png())
    with pytest.raises(UserError, match=r"images like .*/cat/1\.png"):
        load_data(str(tmp_path))


# ---- Any picture becomes an RGB square ----


@unhurried
@given(
    mode=st.sampled_from(["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "RGB"]),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    size=st.integers(1, 24),
)
def test_any_mode_and_any_size_becomes_an_rgb_square(mode, width, height, size):
    pixels = square(Image.new(mode, (width, height)), size)
    assert pixels.shape == (3, size, size) and pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (png(77, mode="L"), (77, 77, 77)),
        (png(1, mode="1"), (255, 255, 255)),
        (png((10, 20, 30), mode="RGBA"[:3]), (10, 20, 30)),
        (png((10, 20, 30, 255), mode="RGBA"), (10, 20, 30)),
        (png((10, 20, 30, 0), mode="RGBA"), (255, 255, 255)),
        (png((0, 0, 0, 127), mode="RGBA"), (128, 128, 128)),
        (png((90, 255), mode="LA"), (90, 90, 90)),
        (png((10, 20, 30), transparency=(10, 20, 30)), (255, 255, 255)),
        (png((255, 0, 0, 0), mode="CMYK", form="TIFF"), (0, 255, 255)),
        (png(40000, mode="I;16"), (156, 156, 156)),
        (png(40000, mode="I;16", form="TIFF"), (156, 156, 156)),
    ],
    ids=["grey", "bit", "rgb", "opaque", "clear", "half", "grey-alpha", "keyed", "cmyk", "png16", "tiff16"],
)
def test_grey_transparent_cmyk_and_16_bit_images_become_rgb(image, expected):
    assert square(Image.open(BytesIO(image)), 8)[:, 3, 3].tolist() == list(expected)


def test_a_palette_image_becomes_rgb():
    file = BytesIO()
    Image.new("RGB", (16, 16), (250, 100, 0)).quantize(4).save(file, "GIF")
    assert square(Image.open(file), 16)[:, 5, 5].tolist() == [250, 100, 0]


def test_an_image_of_the_right_size_keeps_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (square(Image.fromarray(pixels), 32) == pixels.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_long_image_is_cropped_at_its_centre(axis):
    pixels = np.zeros((30, 30, 3), np.uint8)
    pixels[10:20] = 200  # the middle third
    image = Image.fromarray(pixels[:, :10] if axis == 0 else pixels[:, :10].transpose(1, 0, 2))
    assert (square(image, 10) == 200).all()


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 254
    assert abs(square(Image.fromarray(stripes), 8)[:, 2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_a_large_jpeg_looks_the_same_as_when_decoded_in_full():
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    image = Image.fromarray(np.stack([np.tile(ramp, (512, 1))] * 3, -1))
    file = BytesIO()
    image.save(file, "JPEG", quality=95)
    assert abs(square(Image.open(file), 32).astype(int) - square(image, 32)).max() <= 6


def test_a_photograph_taken_sideways_is_turned_upright():
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise to view
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255  # the left half of the file is the top of the picture
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    upright = square(Image.open(file), 16)
    assert upright[:, :8].min() == 255 and upright[:, 8:].max() == 0


# ---- Errors are reported in one line ----


@pytest.mark.parametrize("many", [1, 10**9], ids=["in processes", "in threads"])
def test_broken_images_are_skipped_counted_and_reported(tmp_path, caplog, monkeypatch, many):
    monkeypatch.setattr(reading, "MANY", many)
    monkeypatch.setattr(reading, "CHUNK", 7)
    images = numbered(50)
    images[3:9] = [b"", b"no image", images[5][:40], b"\x89PNG\r\n\x1a\n", None, b"\xff\xd8\xff"]
    write_parquet(tmp_path / "train.parquet", images, [i % 5 for i in range(50)])
    write_parquet(tmp_path / "valid.parquet", images[:1], [0])
    with caplog.at_level(logging.WARNING):
        data = load_data(str(tmp_path))
    assert data.skipped == 6 and len(data) == len(data.labels) == len(data.images) == 44
    assert all(label == number % 5 for number, label in zip(numbers(data), data.labels.tolist()))
    (message,) = caplog.messages
    assert "skipped 6 broken images of 50" in message and message.count("broken image in row") == 3
    assert " at 0x" not in message


def test_a_broken_image_is_named_if_it_is_decoded_late_or_if_all_are_broken(tmp_path):
    folder = write_folder(tmp_path / "train", count=1)
    write_folder(tmp_path / "valid", count=1)
    (tmp_path / "train/dog/test_0.PNG").write_bytes(b"broken")
    lazy = load_data(str(tmp_path), memory_limit=0)
    with pytest.raises(UserError) as error:
        list(lazy)
    assert f"{folder}/dog/test_0.PNG" in one_line(error)
    with pytest.raises(UserError) as error:
        load_data(str(tmp_path), classes=["dog"])
    assert "all 1 images are broken" in one_line(error) and "test_0.PNG" in one_line(error)


def test_another_image_of_its_class_takes_the_place_of_one_that_is_broken_and_decoded_late(tmp_path, caplog):
    images = numbered(40)
    images[7] = images[12] = b"broken"
    write_parquet(tmp_path / "train.parquet", images, [0, 1] * 20)
    write_parquet(tmp_path / "valid.parquet", numbered(2), [0, 1])
    lazy = load_data(str(tmp_path), image_size=16, memory_limit=0)
    shown, labels = lazy.batch(torch.arange(40))
    found = shown[:, 0, 0, 0].tolist()
    assert sorted({*range(40)} - {*found}) == [7, 12] and all(grey % 2 == label for grey, label in zip(found, labels))
    assert lazy.batch(torch.arange(40))[0].equal(shown) and torch.stack([image for image, _ in lazy]).equal(shown)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2 and all("another image of its class takes its place" in line for line in warnings)


def test_classes_that_the_data_lack_are_named_with_the_way_to_choose_others(tmp_path):
    with pytest.raises(UserError, match=r"no class 'n01443537'.*--images\.classes NAME"):
        load_data(write_folder(tmp_path), classes=["n01443537"])


def test_a_class_whose_images_are_all_held_out_is_named_and_one_image_is_too_few(tmp_path):
    write_parquet(tmp_path / "data.parquet", numbered(20), [*range(20)])  # two classes of which nothing is left
    notes = load_data(str(tmp_path / "data.parquet"), image_size=8).notes
    assert len(notes) == 1 and re.fullmatch(r"no training images of \d+, \d+: all were held out .*", notes[0])
    one = write_parquet(tmp_path / "one.parquet", numbered(1), [0])
    with pytest.raises(UserError, match="1 image; expected 2 or more"):
        load_data(one)


@pytest.mark.parametrize("column", ["image_column", "label_column"])
def test_the_error_for_a_missing_column_names_the_existing_ones(tmp_path, column):
    source = write_parquet(tmp_path / "train.parquet", numbered(3), [0, 1, 1])
    with pytest.raises(UserError) as error:
        load_data(source, **{column: "fine_label"})
    assert "'fine_label'" in one_line(error) and "image ({bytes, path}), label (int64)" in one_line(error)


@pytest.mark.parametrize("labels", [[0, None, 1], [None, None, None], ["a", None, "b"]])
def test_a_label_column_with_gaps_is_an_error(tmp_path, labels):
    source = write_parquet(tmp_path / "train.parquet", numbered(3), labels)
    with pytest.raises(UserError, match=r"'label' (has rows without a label|holds)"):
        load_data(source)
    write_parquet(tmp_path / "valid.parquet", numbered(1), labels[:1])
    with pytest.raises(UserError, match=r"'label' (has rows without a label|holds)"):
        load_data(str(tmp_path), "valid")


def test_an_unlabelled_validation_split_of_the_hub_is_an_error(tmp_path):
    write_parquet(tmp_path / "train.parquet", numbered(2), [0, 1], names=["a", "b"])
    write_parquet(tmp_path / "validation.parquet", numbered(2), [-1, -1], names=["a", "b"])
    with pytest.raises(UserError, match="without a label"):
        load_data(str(tmp_path), "valid")


def test_columns_of_the_wrong_type_are_an_error(tmp_path):
    table = {"image": numbered(3), "label": [0, 1, 1], "weight": [0.5, 0.1, 0.2]}
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"'weight' holds .*float64.*expected class numbers or names"):
        load_data(str(tmp_path), label_column="weight")
    with pytest.raises(UserError, match=r"'weight' holds .*float64.*not images"):
        load_data(str(tmp_path), image_column="weight")


def test_ambiguous_splits_are_an_error(tmp_path):
    write_parquet(tmp_path / "valid.parquet", numbered(2), [0, 1])
    write_parquet(tmp_path / "test.parquet", numbered(2), [0, 1])
    with pytest.raises(UserError, match="expected a split 'train', found test, valid"):
        load_data(str(tmp_path))


def test_a_split_without_images_of_the_chosen_classes_is_an_error(tmp_path):
    write_parquet(tmp_path / "train.parquet", numbered(2), ["a", "b"])
    write_parquet(tmp_path / "valid.parquet", numbered(1), ["a"])
    with pytest.raises(UserError, match="the valid split has no images of b"):
        load_data(str(tmp_path), "valid", classes=["b"])


@pytest.mark.parametrize(
    "source", ["./pictures", "/no/such", "a/b/c", "train.parquet", "a/b.parquet", "~/none", "x/*.parquet", ""]
)
def test_a_missing_path_is_reported_without_asking_the_hub(source, monkeypatch):
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(UserError) as error:
        load_data(source)
    assert "no such file or folder" in one_line(error) and repr(source) in one_line(error)


def test_an_empty_folder_and_a_file_of_the_wrong_type_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="expected parquet files, or images like"):
        load_data(str(tmp_path / "empty"))
    (tmp_path / "notes.txt").write_text("hello", "utf-8")
    with pytest.raises(UserError, match=r"notes\.txt is a file; expected a folder"):
        load_data(str(tmp_path / "notes.txt"))
    (tmp_path / "bad.parquet").write_text("hello", "utf-8")
    with pytest.raises(UserError, match="not readable as parquet"):
        load_data(str(tmp_path / "bad.parquet"))


def test_parquet_files_of_different_schemas_are_an_error(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", numbered(2), [0, 1])
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "train-1.parquet")
    with pytest.raises(UserError, match="not readable as parquet files of one schema") as error:
        load_data(str(tmp_path))
    one_line(error)


@pytest.mark.parametrize(
    "wrong", [{"image_size": 0}, {"num_images": 0}, {"num_images": -3}, {"seed": -1}, {"split": "training"}]
)
def test_a_number_out_of_bounds_or_an_unknown_split_is_an_error(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError) as error:
        load_data("glyphs", **wrong)
    assert f"{name} {value!r}" in one_line(error) and "expected" in one_line(error)


# ---- The hub ----


def test_a_hub_id_without_network_says_what_to_do(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        load_data("zh-plus/tiny-imagenet")
    assert "'zh-plus/tiny-imagenet'" in one_line(error) and "--data" in one_line(error)


def test_if_the_hub_is_unreachable_only_the_cache_is_used(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route")

    def cached(source):
        assert datasets.config.HF_HUB_OFFLINE  # no retries
        table = datasets.Dataset.from_dict({"image": numbered(3), "label": [0, 1, 1]})
        return datasets.DatasetDict(train=table, validation=table.select([0]))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(datasets, "load_dataset", cached)
    before = datasets.config.HF_HUB_OFFLINE
    assert sorted(numbers(load_data("owner/name"))) == [0, 1, 2]
    assert numbers(load_data("owner/name", "valid")) == [0]
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("problem", "message"),
    [(ValueError("Config name is missing.\nPick one"), "Config name"), (OSError(""), "OSError")],
)
def test_a_hub_data_set_that_cannot_be_loaded_is_an_error(monkeypatch, problem, message):
    def fails(source):
        raise problem

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", fails)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(UserError) as error:
        load_data("owner/name")
    assert f"found on the hub, but it cannot be loaded: {message}" in one_line(error)
    assert before == datasets.config.HF_HUB_OFFLINE


# ---- Feeding a model ----


def test_to_float_maps_0_and_255_to_0_and_1():
    floats = to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert floats.dtype == torch.float32 and floats.tolist() == pytest.approx([0, 0.2, 1])


@unhurried
@given(seed=st.integers(0, 1000))
def test_flip_mirrors_each_image_or_leaves_it_and_depends_only_on_its_generator(seed):
    images = torch.arange(20 * 3 * 2 * 4).reshape(20, 3, 2, 4)
    flipped = flip(images, torch.Generator().manual_seed(seed))
    assert flipped.equal(flip(images, torch.Generator().manual_seed(seed)))
    mirrored = (flipped != images).flatten(1).any(1)
    assert flipped[mirrored].equal(images.flip(-1)[mirrored]) and flipped[~mirrored].equal(images[~mirrored])


def test_flip_mirrors_about_half():
    images = torch.arange(2).expand(4000, 3, 1, 2)
    share = (flip(images, torch.Generator().manual_seed(0))[:, 0, 0, 0] == 1).float().mean()
    assert abs(share - 0.5) < 0.04


# ---- Real photographs ----


def test_tiny_imagenet_has_200_english_classes_and_loads_balanced(tiny_imagenet):
    data = load_data(str(tiny_imagenet), "valid", image_size=64, num_images=400)
    assert data.num_classes == 200 and data.skipped == 0
    assert torch.bincount(data.labels).tolist() == [2] * 200
    assert data.label_names[0] == "goldfish" and "Chihuahua" in data.label_names


def test_tiny_imagenet_classes_go_by_name_id_and_number(tiny_imagenet):
    data = load_data(str(tiny_imagenet), classes=["Goldfish", "n01629819", "2"], num_images=30)
    assert data.label_names == ["goldfish", "European fire salamander", "bullfrog"]
    assert data.images.shape == (30, 3, 32, 32) and torch.bincount(data.labels).tolist() == [10, 10, 10]
    again = load_data(str(tiny_imagenet), classes=["bullfrog"], num_images=10)
    assert again.label_names == ["bullfrog"] and len(contents(again)) == 10 and len(contents(data)) == 30


def test_a_tiny_imagenet_image_is_the_file_s_own_pixels(tiny_imagenet):
    data = load_data(str(tiny_imagenet / "valid-*.parquet"), "valid", image_size=64, num_images=5)
    table = datasets.load_dataset("parquet", data_files=str(tiny_imagenet / "valid-*.parquet"), split="train")
    originals = {
        np.array(row["image"].convert("RGB")).transpose(2, 0, 1).tobytes()
        for label in data.labels.tolist()
        for row in table.select(range(50 * label, 50 * label + 50))  # rows are sorted by class
    }
    assert all(image.numpy().tobytes() in originals for image in data.images)


# ---- Which data it is ----


def test_a_fingerprint_stays_when_a_folder_moves_and_changes_with_its_files(tmp_path):
    def fingerprint(name: str, split: str = "train") -> str:
        return load_data(str(tmp_path / name), split).fingerprint

    write_folder(tmp_path / "a", count=10)
    write_folder(tmp_path / "b", count=10)
    before = fingerprint("a")
    assert fingerprint("b") == before != fingerprint("a", "valid")
    (tmp_path / "b/owl").rename(tmp_path / "b/zebra")
    assert fingerprint("b") != before
    (tmp_path / "b/zebra").rename(tmp_path / "b/owl")
    (tmp_path / "b/owl/test_3.PNG").write_bytes(png((1, 2, 3), size=(9, 9)))
    assert fingerprint("b") != before


def test_a_fingerprint_covers_parquet_images_labels_and_names(tmp_path):
    def fingerprint(images: list, labels: list, names: list[str] | None = None) -> str:
        return load_data(write_parquet(tmp_path / "x.parquet", images, labels, names)).fingerprint

    labels = [0, 1] * 5
    digests = [
        fingerprint(numbered(10), labels),
        fingerprint([png(size=(9, 9)), *numbered(10)[1:]], labels),
        fingerprint(numbered(10), labels[::-1]),
        fingerprint(numbered(10), labels, ["cat", "dog"]),
    ]
    assert len(set(digests)) == 4 and fingerprint(numbered(10), labels) == digests[0]


def test_the_summary_counts_classes_and_says_how_validation_was_made(tmp_path):
    whole, split = write_folder(tmp_path / "pets", count=10), tmp_path / "split"
    write_folder(split / "train", count=1)
    write_folder(split / "val", count=2)
    expected = {
        whole: ("cat 9, dog 9, owl 9", "a tenth of"),
        str(split): ("cat 1, dog 1, owl 1", "cat 2, dog 2, owl 2"),
    }
    for source, parts in expected.items():
        text = summary(source, load_data(source), load_data(source, "valid"))
        assert all(part in text for part in (source, "3 classes", *parts)), text
    text = summary("glyphs", load_data("glyphs", num_images=100), load_data("glyphs", "valid", num_images=50))
    assert "100 images of 10 classes (drawn)" in text and "images each" in text
