"""Parquet files as people have them: only the files and columns that are needed count, and a broken one is named."""

import math
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import TINY_RUN, error_line
from hypothesis import given
from hypothesis import strategies as st
from image_files import numbered, numbers, one_line, png, write_folder, write_parquet

from minimaskgit import edit, generate, train
from minimaskgit.common.errors import UserError
from minimaskgit.data import parquet
from minimaskgit.data.classes import find_classes
from minimaskgit.data.labels import read_labels
from minimaskgit.data.sources import load_data

AB = ["a", "b"] * 10


def write(path: Path, labels: list | pa.Array = AB, images: list | pa.Array | None = None, **more) -> Path:
    """A parquet file of the given Arrow columns, or of as many numbered images as labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = numbered(len(labels)) if images is None else images
    pq.write_table(pa.table({"image": pa.array(images), "label": pa.array(labels)} | more), path)
    return path


def refusal(source: Path, split: str = "train", **options) -> str:
    with pytest.raises(UserError) as error:
        load_data(str(source), split, **options)
    return one_line(error)


# ---- Files ----


@pytest.mark.parametrize(
    "hidden", ["._train.parquet", ".old.parquet", ".cache/train-1.parquet", "a/.b/c/train.parquet"]
)
def test_hidden_files_are_left_out_with_a_note(tmp_path, hidden):
    write(tmp_path / "train.parquet")
    (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / hidden).write_bytes(b"a side file")
    data = load_data(str(tmp_path))
    assert len(data) == 18 and data.notes == ["1 file not used: hidden"]


def test_a_hidden_parquet_file_does_not_hide_an_image_folder_and_may_be_named(tmp_path):
    root = write_folder(tmp_path / "pets", count=10)
    hidden = write(tmp_path / "pets/.train.parquet")
    assert load_data(root).label_names == ["cat", "dog", "owl"]
    assert load_data(str(hidden)).label_names == ["a", "b"]


def damaged(content: bytes) -> bytes:
    return content[:50] + bytes(255 - byte for byte in content[50 : len(content) // 2]) + content[len(content) // 2 :]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda content: b"", "an empty file"),
        (lambda content: content[: len(content) // 2], "the end of this parquet file is missing"),
        (lambda content: b"PAR1", "the end of this parquet file is missing"),
        (lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
        (lambda content: b"<!DOCTYPE html>\n<html>", r"not readable as parquet (it begins with b'<!DOCTYPE html>"),
        (lambda content: b"PAR1" + content[-100:-50] + b"PAR1", "not readable as parquet"),
        (damaged, "damaged"),
    ],
    ids=["empty", "half", "start", "lfs", "web page", "footer", "damaged"],
)
def test_a_broken_file_is_named_with_what_is_wrong_and_what_to_do(tmp_path, spoil, expected):
    write(tmp_path / "train-0.parquet")
    bad = write(tmp_path / "train-1.parquet")
    bad.write_bytes(spoil(bad.read_bytes()))
    message = refusal(tmp_path)
    assert str(bad) in message and expected in message


def test_a_link_to_nothing_is_named(tmp_path, symlinks):
    write(tmp_path / "train-0.parquet")
    (tmp_path / "train-1.parquet").symlink_to(tmp_path / "annex/object")
    assert f"{tmp_path / 'train-1.parquet'}: cannot be read" in refusal(tmp_path)


def test_files_behind_a_linked_folder_are_found_and_circles_end(tmp_path, symlinks):
    write(tmp_path / "elsewhere/train-0.parquet")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/default").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "data")
    (tmp_path / "data/up").symlink_to(tmp_path)  # a folder that contains the data is not part of them
    write(tmp_path / "beside/train-1.parquet")
    assert len(load_data(str(tmp_path / "data"))) == 18


@pytest.mark.slow
def test_a_run_on_columns_with_other_names_is_edited(tmp_path):
    table = pa.table({"picture": pa.array(numbered(40)), "kind": pa.array(AB * 2)})
    pq.write_table(table, tmp_path / "train.parquet")
    columns = ("--images.image-column", "picture", "--images.label-column", "kind", "--images.size", "16")
    source, out = ("--data", str(tmp_path / "train.parquet")), str(tmp_path / "run")
    train.main([*source, *columns, "--out", out, "--stage", "tokenizer", *TINY_RUN])
    train.main([*source, *columns, "--out", out, "--stage", "transformer", "--resume", *TINY_RUN])
    edit.main(["--run", out, "--box", "4,4,12,12", "--label", "a", "--out", str(tmp_path / "edit.png")])
    assert (tmp_path / "edit.png").exists()


def test_a_negative_class_number_does_not_count_from_the_end(tmp_path):
    write_parquet(tmp_path / "train.parquet", numbered(20), [0, 1] * 10, names=["a", "b"])
    write_parquet(tmp_path / "valid.parquet", numbered(2), [0, -2], names=["a", "b"])
    assert "holds -2 (int64); expected class numbers from 0 to 1" in refusal(tmp_path, "valid")


def test_a_broken_file_of_an_unused_split_does_no_harm(tmp_path):
    for name in ("train", "valid"):
        write(tmp_path / f"{name}.parquet")
    (tmp_path / "test.parquet").write_bytes(b"")
    (tmp_path / "more.parquet").write_bytes(b"")
    data = load_data(str(tmp_path), "valid")
    assert len(data) == 20 and data.origin == "valid.parquet"
    assert data.notes == ["more.parquet is not used: no split in its name", "test.parquet is not used"]


def test_files_in_a_folder_that_is_called_like_a_file_are_found(tmp_path):
    for part in range(12):
        write(tmp_path / f"train.parquet/part-{part:05d}.parquet", ["a", "b"])
    data = load_data(str(tmp_path))
    assert len(data) == 22 and data.origin.startswith(f"{Path('train.parquet/part-')}*.parquet (12 files)")


def test_files_without_rows_are_an_error_only_if_all_are(tmp_path):
    none = {"labels": pa.array([], pa.string()), "images": pa.array([], pa.binary())}
    write(tmp_path / "train-0.parquet", **none)
    assert "train-0.parquet has no rows" in refusal(tmp_path)
    write(tmp_path / "train-1.parquet")
    assert len(load_data(str(tmp_path))) == 18


# ---- An unlabelled test split ----

UNLABELLED = {
    "-1": pa.array([-1] * 4),
    "null": pa.nulls(4),
    "some null": pa.array([None, -1, None, -1]),
    "nan": pa.array([math.nan] * 4),
    "empty": pa.array(["", " ", None, ""]),
    "categories": pa.array([None] * 4, pa.string()).dictionary_encode(),
    "no rows": pa.array([], pa.int64()),
}


@pytest.mark.parametrize("labels", UNLABELLED.values(), ids=UNLABELLED.keys())
def test_a_test_split_without_labels_is_not_for_validation(tmp_path, labels):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", labels, pa.array(numbered(len(labels)), pa.binary()))
    data = load_data(str(tmp_path), "valid")
    assert len(data) == 2 and data.notes == ["test.parquet is not used: it has no labels"]


def test_a_test_split_without_a_label_column_is_not_for_validation_and_one_with_labels_is(tmp_path):
    write(tmp_path / "train.parquet")
    test = tmp_path / "test.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3]}), test)
    assert len(load_data(str(tmp_path))) == 18 and len(load_data(str(tmp_path), "valid")) == 2
    write(test, ["b"])
    assert len(load_data(str(tmp_path))) == 20 and len(load_data(str(tmp_path), "valid")) == 1
    write(test, ["b", None, ""])
    assert "in the validation split: 2 of 3 are null" in refusal(tmp_path, "valid")
    write(tmp_path / "valid.parquet", ["b"])
    assert load_data(str(tmp_path), "valid").notes == ["test.parquet is not used"]


# ---- Files of one split that differ ----


def test_other_columns_and_their_order_may_differ_from_file_to_file(tmp_path):
    write(tmp_path / "train-0.parquet", width=pa.array([3] * 20))
    write(tmp_path / "train-1.parquet", width=pa.array(["wide"] * 20), more=pa.array([[1]] * 20))
    reordered = pq.read_table(tmp_path / "train-0.parquet").select(["label", "image"])
    pq.write_table(reordered, tmp_path / "train-2.parquet")
    write(tmp_path / "valid.parquet", seen=pa.array([True] * 20))
    assert len(load_data(str(tmp_path))) == 60


def test_images_and_labels_may_be_stored_differently_from_file_to_file(tmp_path):
    records = [{"path": "x.png", "bytes": image} for image in numbered(20)]
    write(tmp_path / "train-0.parquet", pa.array([0, 1] * 10, pa.uint8()))
    write(tmp_path / "train-1.parquet", [0.0, 1.0] * 10, records)
    write(tmp_path / "train-2.parquet", pa.array([0, 1] * 10).dictionary_encode())
    data = load_data(str(tmp_path))
    assert data.label_names == ["0", "1"] and len(data) == 54


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ([0, 1] * 10, AB, "holds int64 in train-0.parquet, and string in train-1.parquet"),
        (AB, [True, False] * 10, "holds string in train-0.parquet, and bool in train-1.parquet"),
    ],
)
def test_labels_of_two_kinds_in_one_split_are_an_error_that_names_both_files(tmp_path, first, second, difference):
    write(tmp_path / "train-0.parquet", first)
    write(tmp_path / "train-1.parquet", second)
    assert difference in refusal(tmp_path)


def test_a_column_that_only_some_files_have_is_an_error_that_names_both(tmp_path):
    write(tmp_path / "train-0.parquet")
    pq.write_table(pa.table({"image": numbered(3)}), tmp_path / "train-1.parquet")
    assert "train-1.parquet has no column 'label', train-0.parquet has" in refusal(tmp_path)


def test_class_names_go_by_name_between_splits_and_must_agree_within_one(tmp_path):
    images, labels = numbered(2), [0, 1]
    write_parquet(tmp_path / "train-0.parquet", images, labels, names=["ant", "bee"])
    write_parquet(tmp_path / "valid.parquet", images, labels, names=["bee", "ant"])
    data = load_data(str(tmp_path), "valid")
    assert dict(zip(numbers(data), data.labels.tolist())) == {0: 1, 1: 0} and data.label_names == ["ant", "bee"]
    write_parquet(tmp_path / "train-1.parquet", images, labels, names=["ant", "cat"])
    assert "is 'bee' in train-0.parquet, and 'cat' in train-1.parquet" in refusal(tmp_path)


# ---- The label column ----

CAFE = "cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
LABELS = {
    "float": ([0.0, 1.0] * 10, ["0", "1"]),
    "half": (np.array([2, 1] * 10, np.float16), ["1", "2"]),
    "bool": ([True, False] * 10, ["False", "True"]),
    "bytes": ([b"cat", b"dog"] * 10, ["cat", "dog"]),
    "large": (pa.array(AB, pa.large_string()), ["a", "b"]),
    "view": (pa.array(AB, pa.string_view()), ["a", "b"]),
    "categories": (pa.array(AB).dictionary_encode(), ["a", "b"]),
    "int categories": (pa.array([7, 3] * 10).dictionary_encode(), ["3", "7"]),
    "big ids": (pa.array([2**64 - 1, 2**53 + 1] * 10, pa.uint64()), [str(2**53 + 1), str(2**64 - 1)]),
    "spaces": ([" cat", "cat ", "dog", "cat"] * 5, ["cat", "dog"]),
    "accents": ([*CAFE] * 10, [CAFE[1]]),
}


@pytest.mark.parametrize(("labels", "names"), LABELS.values(), ids=LABELS.keys())
def test_labels_of_every_usual_type_are_read(tmp_path, labels, names):
    data = load_data(str(write(tmp_path / "train.parquet", labels)))
    assert data.label_names == names and len(data) == 18


WRONG_LABELS = {
    "list": ([[0, 1], [1]], r"'label' holds list<int64>; expected class numbers or names, one in a row; a picture has"),
    "one-hot": (pa.array([[0, 1]] * 2, pa.list_(pa.int8(), 2)), "list<int8>"),
    "struct": ([{"id": 1, "name": "a"}], "{id, name}"),
    "fraction": ([0.5, 1.0], "holds 0.5 (float64); expected class numbers or names"),
    "infinite": ([math.inf], "holds inf (float64)"),
    "no text": ([b"\xff", b"a"], r"holds b'\xff' (binary)"),
    "-1": ([-1, 0, 1, -1], "rows without a label: 2 of 4 are null, NaN, -1 or empty"),
    "nan": ([math.nan, 0, 1], "rows without a label: 1 of 3"),
    "null": (pa.nulls(3), "rows without a label: 3 of 3"),
    "empty": (["", " ", "a"], "rows without a label: 2 of 3"),
    "names of files": ([f"{i}.png" for i in range(200)], "200 classes of 200 images: is 'label' the label column?"),
}


@pytest.mark.parametrize(("labels", "expected"), WRONG_LABELS.values(), ids=WRONG_LABELS.keys())
def test_what_cannot_be_labels_is_refused_in_one_line(tmp_path, labels, expected):
    images = [png()] * len(labels)
    assert expected in refusal(write(tmp_path / "train.parquet", labels, images))


def test_a_class_number_without_a_name_is_an_error(tmp_path):
    write_parquet(tmp_path / "named.parquet", numbered(2), [0, 1], names=["a", "b"])
    written = pq.read_table(tmp_path / "named.parquet")
    wrong = written.set_column(1, "label", pa.array([0, 7]))
    pq.write_table(wrong, tmp_path / "named.parquet")
    assert "'label' holds 7 (int64); expected class numbers from 0 to 1" in refusal(tmp_path)


def test_classes_that_only_validation_has_are_named_with_their_rows(tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "valid.parquet", ["a", "emu", "emu", "yak"])
    assert "training split lacks: emu (2 of 4 rows), yak (1 of 4 rows)" in refusal(tmp_path, "valid")


@given(
    kind=st.sampled_from(["string", "binary", "int8", "int64", "uint64", "float32", "float64", "bool", "class"]),
    data=st.data(),
)
def test_labels_are_those_of_a_plain_reading(kind, data):
    texts = st.text(" aeé\N{COMBINING ACUTE ACCENT}", max_size=3)
    values = {
        "string": texts,
        "binary": texts.map(str.encode),
        "int8": st.integers(-1, 127),
        "int64": st.integers(-1, 2**63 - 1),
        "uint64": st.integers(2**64 - 9, 2**64 - 1),
        "float32": st.integers(-1, 3).map(float) | st.just(math.nan),
        "float64": st.integers(-1, 2**53).map(float) | st.just(math.nan),
        "bool": st.booleans(),
        "class": st.integers(-1, 2),
    }
    column = data.draw(st.lists(st.none() | values[kind], min_size=1, max_size=30))
    names = ["zebra", "ant", "Zebra"]
    feature = datasets.ClassLabel(names=names) if kind == "class" else datasets.Value(kind)
    stored = pa.table({"label": pa.array(column, feature.pa_type)})
    table = datasets.Dataset(stored, datasets.DatasetInfo(features=datasets.Features(label=feature)))

    def plain(value):
        text = value.decode() if isinstance(value, bytes) else value
        if isinstance(text, str):
            return unicodedata.normalize("NFC", text).strip() or None
        return None if value is None or math.isnan(value) or value == -1 else value

    expected = [plain(value) for value in column]
    if None in expected:
        with pytest.raises(UserError, match=f"{expected.count(None)} of {len(expected)}"):
            read_labels(table, table, "label", "here")
        return
    numbers, found = read_labels(table, table, "label", "here")
    classes = names if kind == "class" else sorted(set(expected))
    assert found == [str(int(label) if kind.startswith("float") else label) for label in classes]
    assert numbers.tolist() == (expected if kind == "class" else [classes.index(label) for label in expected])


# ---- Columns that are missing, or hold no images ----


@pytest.mark.parametrize("name", ["labels", "class", "target", "fine_label"])
def test_no_label_column_is_guessed_but_all_columns_are_named(tmp_path, name):
    table = pa.table({"img": numbered(2), name: [0, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    message = refusal(tmp_path, image_column="img")
    assert f"no column 'label'; it has img (binary), {name} (int64)" in message
    assert "--images.label-column NAME" in message
    assert "no column 'image'" in refusal(tmp_path) and "--images.image-column NAME" in refusal(tmp_path)


PIXELS = np.zeros((2, 4, 4, 3), np.uint8)
WRONG_IMAGES = {
    "flat": (pa.array([[1] * 784] * 2), "list<int64>"),
    "nested": (pa.array(PIXELS.tolist()), "list<list<list<int64>>>"),
    "fixed": (pa.array([[1] * 784] * 2, pa.list_(pa.uint8(), 784)), "list<uint8>"),
    "large": (pa.array([[1] * 784] * 2, pa.large_list(pa.uint8())), "list<uint8>"),
    "tensor": (pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS), "list<uint8>"),
    "several": (pa.array([[{"bytes": png(), "path": "x"}]] * 2), "list<{bytes, path}>"),
    "paths": (pa.array(["x.png"] * 2), "string"),
    "base64": (pa.array(["iVBORw0KGgo="] * 2).dictionary_encode(), "string"),
    "text in bytes": (pa.array([{"bytes": "x", "path": "y"}] * 2), "{bytes, path}"),
    "other struct": (pa.array([{"data": png(), "height": 3}] * 2), "{data, height}"),
    "raw": (pa.array([b"abcd"] * 2, pa.binary(4)), "fixed_size_binary[4]"),
    "null": (pa.nulls(2), "null"),
}


@pytest.mark.parametrize(("images", "kind"), WRONG_IMAGES.values(), ids=WRONG_IMAGES.keys())
def test_what_cannot_be_encoded_images_is_refused_in_one_line(tmp_path, images, kind):
    message = refusal(write(tmp_path / "train.parquet", ["a", "b"], images))
    assert f"column 'image' holds {kind}, not images; expected encoded images" in message


def test_features_of_datasets_that_hold_pixels_are_refused(tmp_path):
    features = datasets.Features(image=datasets.Array3D((4, 4, 3), "uint8"), label=datasets.Value("int64"))
    table = datasets.Dataset.from_dict({"image": PIXELS, "label": [0, 1]}, features)
    table.to_parquet(tmp_path / "train.parquet")
    message = refusal(tmp_path)
    assert "holds list<list<list<uint8>>>, not images" in message and "save these pixels as PNG" in message


RECORDS = [{"path": "x.png", "bytes": image} for image in numbered(20)]
IMAGES = {
    "large": pa.array(numbered(20), pa.large_binary()),
    "view": pa.array(numbered(20), pa.binary_view()),
    "bytes only": pa.array([{"bytes": image} for image in numbered(20)]),
    "more parts": pa.array([{"width": 16} | record for record in RECORDS]),
    "large parts": pa.array(RECORDS, pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])),
}


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES.keys())
def test_encoded_images_are_read_however_arrow_stores_them(tmp_path, images):
    data = load_data(str(write(tmp_path / "all.parquet", AB, images)))
    assert len(set(numbers(data))) == 18 and data.skipped == 0


def test_a_path_without_bytes_is_read_or_named_as_broken(tmp_path):
    (tmp_path / "pictures").mkdir()
    paths = [tmp_path / f"pictures/{i}.png" for i in range(20)]
    for path in paths[:-1]:
        path.write_bytes(png())
    source = write(tmp_path / "tables/train.parquet", AB, [{"bytes": None, "path": str(path)} for path in paths])
    write(tmp_path / "tables/valid.parquet", ["a"], [{"bytes": None, "path": str(paths[-1])}])
    train = load_data(str(source))
    assert len(train) + train.skipped == 18
    assert str(paths[-1]) in refusal(tmp_path / "tables", "valid")


# ---- The cache ----


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    source = write(tmp_path / "train.parquet")
    (tmp_path / "file").write_text("in the way", "utf-8")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file/cache")
    message = refusal(source)
    assert str(tmp_path / "file/cache") in message and "HF_HOME" in message and "not readable" not in message


def test_a_full_disk_is_told_from_a_broken_file(tmp_path, monkeypatch):
    def full(*_, **__):
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from OSError(
            28, "No space left on device"
        )

    source = write(tmp_path / "train.parquet")
    monkeypatch.setattr(datasets, "load_dataset", full)
    assert "No space left on device" in refusal(source) and "HF_HOME" in refusal(source)


# ---- The hub ----


def status(kind: Callable, code: int) -> Exception:
    return kind("no entry\nat all", response=SimpleNamespace(status_code=code, headers={}, request=None))


HUB_ERRORS = huggingface_hub.errors
HUB = {
    "missing or private": ((HUB_ERRORS.RepositoryNotFoundError, 401), None, "if it is private, run `hf auth login`"),
    "gated": ((HUB_ERRORS.GatedRepoError, 403), None, "needs its owner's consent"),
    "bad token": ((HUB_ERRORS.HfHubHTTPError, 401), None, "the hub refuses"),
    "gated files": (
        None,
        datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub."),
        "needs its owner's consent",
    ),
    "config": (None, ValueError("Config name is missing.\nPick one: ['a', 'b']\nUsage:"), "Pick one: ['a', 'b'] (mini"),
    "script": (None, RuntimeError("Dataset scripts are no longer supported, but found x.py"), "pass their folder"),
    "cache": (None, PermissionError(13, "Permission denied", "/home"), "set HF_HOME"),
}


@pytest.mark.parametrize(("asked", "loaded", "expected"), HUB.values(), ids=HUB.keys())
def test_what_the_hub_refuses_is_said_in_one_line(monkeypatch, asked, loaded, expected):
    def fails(error: Exception | None, *_, **__):
        if error:
            raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", partial(fails, asked and status(*asked)))
    monkeypatch.setattr(datasets, "load_dataset", partial(fails, loaded))
    assert expected in refusal(Path("owner/name"))


@pytest.mark.parametrize("labels", [[-1, -1], [None, None], None])
def test_an_unlabelled_test_split_of_the_hub_is_not_for_validation(monkeypatch, labels):
    whole = datasets.Dataset.from_dict({"image": numbered(20), "label": [0, 1] * 10})
    test = datasets.Dataset.from_dict({"image": numbered(2)} | ({"label": labels} if labels else {}))
    tables = datasets.DatasetDict(train=whole, test=test, unsupervised=test)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: tables)
    data = load_data("owner/name", "valid")
    assert len(data) == 2 and data.origin.startswith("a tenth of the split train")
    assert data.notes == ["the split test is not used: it has no labels", "the split unsupervised is not used"]


# ---- What a user calls a class ----


@given(name=st.text("aAéÉßſ\N{COMBINING ACUTE ACCENT}İ ", min_size=1, max_size=4), pad=st.sampled_from(["", " ", "\t"]))
def test_a_class_is_found_in_any_form_of_its_name(name, pad):
    for form in ("NFC", "NFD"):
        given_name = unicodedata.normalize(form, name)
        for spelled in (given_name, given_name.upper(), given_name.casefold(), pad + given_name + pad):
            assert find_classes([spelled], [name]) == [0]


def test_classes_that_differ_only_in_case_or_spaces_are_told_apart_by_their_exact_names():
    names = ["Mouse", "mouse", " mouse", CAFE[0].upper(), CAFE[1]]
    assert find_classes(names, names) == [0, 1, 2, 3, 4]
    assert find_classes([CAFE[0], CAFE[1].upper()], names) == [4, 3]
    with pytest.raises(UserError, match=r"class 'MOUSE' may be Mouse \(number 0\) or mouse \(number 1\) or "):
        find_classes(["MOUSE"], names)


def test_an_empty_name_of_a_class_is_refused_in_one_line(capsys):
    for label in ("", "  "):
        line = error_line(capsys, generate, "--pretrained", "glyphs", "--label", label)
        assert f"no class {label!r} among the 10; they are" in line


# ---- Through the command ----


@pytest.mark.parametrize(
    ("labels", "spoil", "expected"),
    [([[0, 1]] * 20, None, "list<int64>"), (AB, b"version https://git-lfs.github.com/spec/v1", "git lfs pull")],
    ids=["several labels", "pointer"],
)
def test_train_refuses_such_data_with_one_line_and_writes_nothing(tmp_path, capsys, labels, spoil, expected):
    source = write(tmp_path / "train.parquet", labels)
    if spoil:
        source.write_bytes(spoil)
    assert expected in error_line(capsys, train, "--data", str(source), "--out", str(tmp_path / "run"))
    assert not list((tmp_path / "run").glob("*.json"))


def test_the_notes_of_parquet_files_use_names_from_the_data_set(tmp_path):
    for part in range(3):
        write(tmp_path / f"train-0000{part}-of-00003.parquet")
    write(tmp_path / "valid-00000.parquet")
    found = parquet.open_parquet(parquet.parquet_files(tmp_path), str(tmp_path), "image", "label")
    assert found.folders == {"train": "train-*.parquet (3 files)", "valid": "valid-00000.parquet"} and not found.notes
