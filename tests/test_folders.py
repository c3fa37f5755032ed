"""Image folders as real people have them are loaded rightly, and what was decided or left out is said."""

import json
import os
import shutil
import tempfile
import unicodedata
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_folders import colour, everything, loaded, per_class, picture, plant, tiny_imagenet

from minimaskgit.common.errors import UserError
from minimaskgit.data.sources import load_data, summary

few = settings(max_examples=25)


def origins(root: Path) -> tuple[str, str]:
    return tuple(load_data(str(root), split, image_size=8).origin for split in ("train", "valid"))


def said(notes: list[str], *words: str) -> bool:
    return any(all(word in note for word in words) for note in notes)


# ---- Splits ----


@pytest.mark.parametrize(
    ("train", "valid"),
    [
        ("train", "val"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("training", "testing"),
        ("train_set", "test_set"),
        ("trainset", "testset"),
        ("Training_Images", "Testing Images"),
        ("TrainImages", "ValidationImages"),
        ("PetsTrain", "PetsVal"),
        ("train2017", "val2017"),
        ("train", "dev"),
        ("train", "eval"),
        ("train", "hold-out"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("asl_alphabet_train/a", "asl_alphabet_valid/a"),
        ("data/train", "data/validation"),
        ("images/train", "images/val"),
        ("train/images", "valid/images"),
        ("cats_and_dogs_filtered/train", "cats_and_dogs_filtered/validation"),
        ("a/b c/[d]/Train", "a/b c/[d]/Valid"),
    ],
)
def test_splits_are_recognised_in_any_usual_form(tmp_path, train, valid):
    plant(tmp_path, {f"{train}/cat": 3, f"{train}/dog": 2, f"{valid}/cat": 1, f"{valid}/dog": 2})
    assert loaded(tmp_path) == ({"cat": 3, "dog": 2}, {"cat": 1, "dog": 2}, [])
    assert origins(tmp_path) == (f"{train}/", f"{valid}/")


def test_validation_is_the_preferred_split_and_the_others_are_named(tmp_path):
    plant(tmp_path, {f"{split}/cat": 2 for split in ("train", "test", "dev", "val", "valid")})
    for split in ("valid", "val", "dev", "test"):
        _, _, notes = loaded(tmp_path)
        assert origins(tmp_path)[1] == f"{split}/"
        assert split == "test" or said(notes, "not used", "test/ (2 images)")
        shutil.rmtree(tmp_path / split)
    assert everything(tmp_path) == {"cat": 2} and "no validation split" in origins(tmp_path)[1]


def test_folders_beside_the_splits_are_not_used_and_named(tmp_path):
    plant(tmp_path, {"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/dog": 1, "sample": 3, "extra/cat": 1})
    train, valid, notes = loaded(tmp_path)
    assert (train, valid) == ({"cat": 2, "dog": 2}, {"cat": 1, "dog": 1})
    assert notes == ["not used: extra/ (1 image), sample/ (3 images)"]
    shutil.rmtree(tmp_path / "val")
    assert everything(tmp_path) == {"cat": 2, "dog": 2}


@pytest.mark.parametrize(
    "classes",
    [
        {"train": 3, "car": 2, "plane": 2},
        {"train": 3, "test": 2, "car": 2},
        {"train/images": 3, "car/images": 2},
        {"train": 3, "train/more": 2, "car": 2},
        {"train/steam": 3, "car": 2},
        {"contrain/a": 3, "contrain/b": 3, "contest/a": 2},
        {"bullet train/a": 3, "bullet train/b": 3, "crash test/c": 2},
    ],
)
def test_a_class_may_have_the_name_of_a_split(tmp_path, classes):
    plant(tmp_path, classes)
    assert everything(tmp_path).keys() == {place.split("/")[0] for place in classes}
    plant(tmp_path / "split/train", classes)
    plant(tmp_path / "split/val", classes)
    assert loaded(tmp_path / "split")[0].keys() == {place.split("/")[0] for place in classes}


@pytest.mark.parametrize("test", ["test", "test/images", "test/unknown"])
def test_a_test_split_without_the_classes_is_not_used(tmp_path, test):
    plant(tmp_path, {"train/cat": 2, "train/dog": 2, test: 3})
    _, _, notes = loaded(tmp_path)
    assert everything(tmp_path) == {"cat": 2, "dog": 2}
    assert said(notes, "test/ has no images of the classes of train/") and said(notes, "not used: test/ (3 images)")


def test_classes_that_only_one_split_has_are_named(tmp_path):
    plant(tmp_path, {"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/emu": 4})
    train, valid, notes = loaded(tmp_path)
    assert (train, valid) == ({"cat": 2, "dog": 2}, {"cat": 1})
    assert said(notes, "val/", "lacks", "emu (4 images)") and said(notes, "val/ has no images of dog")


def test_a_validation_folder_with_a_single_class_is_not_looked_through(tmp_path):
    plant(tmp_path, {"train/cat/indoors": 2, "train/dog/outdoors": 2, "val/dog/outdoors": 1})
    assert loaded(tmp_path)[:2] == ({"cat": 2, "dog": 2}, {"dog": 1})


def test_an_empty_validation_folder_is_named(tmp_path):
    plant(tmp_path, {"train/cat": 2, "val/cat": 0})
    assert said(loaded(tmp_path)[2], "no images in val/")


@pytest.mark.parametrize("wrapper", ["PetImages", "data", "a/b/c", "Test", "101_ObjectCategories"])
def test_a_wrapper_is_looked_through(tmp_path, wrapper):
    plant(tmp_path, {f"{wrapper}/cat": 3, f"{wrapper}/dog": 2})
    (tmp_path / "__MACOSX").mkdir()
    plant(tmp_path, {wrapper: 1})  # a logo
    (tmp_path / "readme.txt").write_text("hello", "utf-8")
    assert everything(tmp_path) == {"cat": 3, "dog": 2}
    assert f"{wrapper}/" in origins(tmp_path)[0]


def test_the_pictures_of_a_repository_are_not_a_class_beside_its_data(tmp_path):
    plant(tmp_path, {"data/cat": 3, "data/dog": 2, "docs": 4})
    assert everything(tmp_path) == {"cat": 3, "dog": 2}
    assert loaded(tmp_path)[2] == ["not used: docs/ (4 images)"]


def test_a_single_class_keeps_its_name_however_deep_its_images_lie(tmp_path):
    for number, place in enumerate(("cat", "cat/images", "pets/cat", "pets/cat/images")):
        assert everything(plant(tmp_path / str(number), {place: 3})) == {"cat": 3}


def test_splits_within_each_class_are_not_told_apart_and_that_is_said(tmp_path):
    plant(tmp_path, {"cat/train": 3, "cat/val": 1, "dog/train": 2, "dog/val": 1})
    assert everything(tmp_path) == {"cat": 4, "dog": 3}
    assert said(loaded(tmp_path)[2], "cat/, dog/", "train, val", "taken as one split")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["train", "test"], "lie in no folders of classes"),
        (["dataset/train"], "lie in no folders of classes"),
        (["images"], "lie in no folders of classes"),
        (["train", "val/cat"], "lie in no folders of classes"),
        (["val/cat", "test/cat"], "found test/, val/ but no folder for training"),
        ([], "found no images"),
    ],
)
def test_a_folder_without_classes_to_learn_is_an_error_that_says_what_was_found(tmp_path, places, words):
    plant(tmp_path, dict.fromkeys(places, 2))
    with pytest.raises(UserError, match=words):
        load_data(str(tmp_path))


def test_an_archive_is_to_be_unpacked(tmp_path):
    shutil.make_archive(str(tmp_path / "pets"), "zip", plant(tmp_path / "pets", {"cat": 1}))
    for source in (tmp_path / "pets.zip", tmp_path / "alone"):
        if source.suffix == "":
            source.mkdir()
            (tmp_path / "pets.zip").rename(source / "pets.zip")
        with pytest.raises(UserError, match="unpack") as error:
            load_data(str(source))
        assert "pets.zip" in str(error.value)


def test_images_outside_the_folders_of_classes_are_counted(tmp_path):
    plant(tmp_path, {"": 2, "train": 1, "train/cat": 2, "train/dog": 2, "val/cat": 1})
    assert said(loaded(tmp_path)[2], "not used: 3 images outside", "000.png, 001.png, train/000.png")


# ---- Tiny ImageNet and its kind: English names, annotated validation images ----


@pytest.mark.parametrize("place", ["", "tiny-imagenet-200"])
def test_tiny_imagenet_loads_as_its_zip_unpacks(tmp_path, place):
    root = tiny_imagenet(tmp_path / place, {"a.JPEG": "n1", "b.JPEG": "n3", "c.JPEG": "n3"}, n1=2, n2=2, n3=3)
    words = "n0\tthing\nn1\tgoldfish, Carassius auratus\nn2\tmonarch, monarch butterfly\nn3\tschool bus\n"
    (root / "words.txt").write_text(words, "utf-8")
    (root / "val/images/d.JPEG").write_bytes(picture())
    train, valid, notes = loaded(tmp_path)
    assert train == {"goldfish": 2, "monarch": 2, "school bus": 3}
    assert valid == {"goldfish": 1, "school bus": 2}
    assert said(notes, "no images of monarch") and said(notes, "1 image of", "without a label")
    assert per_class(load_data(str(root / "train"), image_size=8)).keys() <= train.keys()


def test_english_names_come_from_imagenet_s_own_file_or_classes_json(tmp_path):
    plant(tmp_path, {"train/n01": 2, "train/n02": 2, "train/n03": 1, "val/n01": 1})
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 crane\nn02 crane\nn03 tench, Tinca tinca\n", "utf-8")
    assert loaded(tmp_path)[0] == {"crane (n01)": 2, "crane (n02)": 2, "tench": 1}
    (tmp_path / "LOC_synset_mapping.txt").unlink()
    entries = [{"wnid": "n01", "words": "goldfish, x"}, {"wnid": "n02", "words": "eel"}]
    (tmp_path / "classes.json").write_text(json.dumps(entries), "utf-8")
    assert loaded(tmp_path)[0] == {"goldfish": 2, "eel": 2, "n03": 1}


# ---- Hidden folders, links, permissions ----


@pytest.mark.parametrize(
    "name", [".git", ".ipynb_checkpoints", "@eaDir", "__MACOSX", "$RECYCLE.BIN", ".Trash-1000", "__pycache__"]
)
def test_hidden_folders_are_neither_classes_nor_images_at_any_depth(tmp_path, name):
    root = plant(tmp_path / ".home/.data", {"cat": 3, "dog": 2})
    for place in ("", "cat", "dog/deeper"):
        plant(root / place / name, {"": 1, "cat": 2})
    (root / "cat/._000.png").write_bytes(b"\0\5\x16\7")
    (root / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    assert everything(root) == {"cat": 3, "dog": 2}
    assert loaded(root)[2] == [f"not used: hidden folders: {name}"]


def test_links_to_folders_and_files_are_followed(tmp_path, symlinks):
    pool = plant(tmp_path / "pool", {"cat": 3, "deep/dog": 2, "birds": 4})
    root = plant(tmp_path / "data", {"dog": 1, "bird": 0, "hound": 0})
    (root / "cat").symlink_to(pool / "cat")
    (root / "dog/more").symlink_to(pool / "deep/dog")
    (root / "hound/same").symlink_to(pool / "deep/dog")
    for file in (pool / "birds").iterdir():
        (root / "bird" / file.name).symlink_to(file)
    (root / "bird/gone.png").symlink_to(pool / "gone.png")
    assert everything(root) == {"cat": 3, "dog": 3, "hound": 2, "bird": 4}
    assert said(loaded(root)[2], "links that lead nowhere", "gone.png")


def test_circles_of_links_end(tmp_path, symlinks):
    names = [f"class {i}" for i in range(9)]
    root = plant(tmp_path / "data", dict.fromkeys(names, 1))
    for name in names:
        for other in names:
            (root / name / f"to {other}").symlink_to(root / other)
    assert everything(root) == dict.fromkeys(names, 9)  # each class has links to all
    root = plant(tmp_path / "more", {"cat": 2, "dog": 1})
    (root / "cat/up").symlink_to(root)
    (root / "cat/out").symlink_to(tmp_path)
    (root / "cat/self").symlink_to(root / "cat/self")
    assert everything(root) == {"cat": 2, "dog": 1}
    assert said(loaded(root)[2], "links that lead nowhere, or to a folder that contains the data", "out", "self")


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    plant(tmp_path, {"cat": 2, "dog": 1, "secret": 3})
    scan = os.scandir

    def guarded(path):
        if Path(path).name == refused:
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    refused = "secret"
    assert everything(tmp_path) == {"cat": 2, "dog": 1}
    assert said(loaded(tmp_path)[2], "folders that cannot be read: secret")
    refused = tmp_path.name
    with pytest.raises(UserError, match="cannot be read"):
        load_data(str(tmp_path))


# ---- Which files are images ----


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        (".jfif", "JPEG"),
        (".jpe", "JPEG"),
        (".JPEG", "JPEG"),
        (".webp", "WEBP"),
        (".TIF", "TIFF"),
        (".tga", "TGA"),
        (".jp2", "JPEG2000"),
        ("", "PNG"),
        (".png_large", "PNG"),
        (".jpg.1", "JPEG"),
    ],
)
def test_whatever_pillow_reads_is_an_image(tmp_path, suffix, form):
    plant(tmp_path, {"cat": 2}, suffix, form)
    plant(tmp_path, {"dog": 2})
    assert everything(tmp_path) == {"cat": 2, "dog": 2}


def test_files_that_are_not_images_are_counted_by_suffix(tmp_path):
    plant(tmp_path, {"cat": 2, "dog": 2})
    for name in ("cat/a.mp4", "cat/b.MP4", "dog/a.pdf", "dog/a.psd", "a.svg", "LICENSE", "a.txt", "a.csv", "x.zip"):
        (tmp_path / name).write_bytes(b"8BPS and so on")
    assert loaded(tmp_path)[2] == [
        "not used: files that are not images: .mp4 2, without suffix 1, .svg 1, .pdf 1, .psd 1"
    ]


def test_class_folders_without_images_are_named_with_an_example(tmp_path):
    plant(tmp_path, {"cat": 2, "cow": 0, "dog": 2, "owl/deeper": 0})
    assert said(loaded(tmp_path)[2], "no images in cow/, owl/")
    (tmp_path / "cow/a.heic").write_bytes(b"no image")
    assert said(loaded(tmp_path)[2], "no images in cow/, owl/", "cow/a.heic is not an image that Pillow can read")


def test_the_names_of_many_empty_folders_are_cut_short(tmp_path):
    plant(tmp_path, {"cat": 2} | {f"empty {i:04}": 0 for i in range(2000)})
    (note,) = loaded(tmp_path)[2]
    assert "(2000 in all)" in note and len(note) < 150


# ---- Names ----


def test_odd_names_of_folders_become_class_names(tmp_path):
    names = ["a b [1]", "[a-c]*", "日本 猫", "🐈\u200d⬛", "x" * 200, "100%", "file:", "-rf", "cat.png", "'\""]
    if os.name == "nt":
        names.remove("[a-c]*"), names.remove("file:"), names.remove("'\"")
    plant(tmp_path, dict.fromkeys(names, 2))
    assert everything(tmp_path) == dict.fromkeys(names, 2)
    for name in names:
        image, _ = load_data(str(tmp_path), image_size=8, classes=[name])[0]
        assert tuple(image[:, 0, 0].tolist()) == colour(name)


def test_both_forms_of_an_accent_are_one_class_in_all_splits(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    plant(tmp_path, {f"train/{apart}": 3, "train/tea": 2, f"val/{composed}": 1})
    train, valid, _ = loaded(tmp_path)
    assert train == {composed: 3, "tea": 2} and valid == {composed: 1}
    assert load_data(str(tmp_path), image_size=8, classes=[composed]).label_names == [composed]
    plant(tmp_path, {f"train/{composed}": 1})
    if len(os.listdir(tmp_path / "train")) == 3:  # file systems of a Mac know one form only
        train, _, notes = loaded(tmp_path)
        assert train == {composed: 4, "tea": 2} and said(notes, f"2 folders are named {composed}", "one class")


def test_classes_that_differ_in_case_are_named(tmp_path):
    plant(tmp_path, {"Cat": 2, "cat": 3, "dog": 1})
    if len(os.listdir(tmp_path)) == 3:  # not on a file system that ignores case
        assert everything(tmp_path) == {"Cat": 2, "cat": 3, "dog": 1}
        assert said(loaded(tmp_path)[2], "differ only in case: Cat, cat")


def test_names_that_are_not_unicode_work(tmp_path, linux):
    name = os.fsdecode(b"caf\xe9")  # as an old zip has it
    plant(tmp_path, {name: 2, "tea": 2}, os.fsdecode(b"\xff.png"))
    data = load_data(str(tmp_path), image_size=8)
    assert everything(tmp_path) == {r"caf\xe9": 2, "tea": 2} and data.skipped == 0
    json.dumps(data.label_names).encode()
    summary(str(tmp_path), data, data).encode()
    image, _ = load_data(str(tmp_path), image_size=8, classes=[r"caf\xe9"], memory_limit=0)[0]
    assert tuple(image[:, 0, 0].tolist()) == colour(name)


def test_a_line_break_in_a_name_does_not_break_a_note(tmp_path, posix):
    plant(tmp_path, {"train/cat": 2, "train/dog": 1, "val/cat": 1, "val/a\nb": 1, "two\nlines": 1})
    assert said(loaded(tmp_path)[2], r"two\nlines/ (1 image)") and said(loaded(tmp_path)[2], r"a\nb (1 image)")


# ---- Parquet files beside images ----


def write_parquet(path: Path, images: list, column: str = "image") -> None:
    datasets.Dataset.from_dict({column: images, "label": ["x", "y"] * (len(images) // 2)}).to_parquet(path)


def test_parquet_files_without_images_do_not_replace_the_images(tmp_path):
    plant(tmp_path, {"cat": 2, "dog": 2})
    write_parquet(tmp_path / "metadata.parquet", ["cat/000.png", "dog/000.png"] * 5, "file")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert everything(tmp_path) == {"cat": 2, "dog": 2}
    assert said(loaded(tmp_path)[2], "not used: parquet files", "broken.parquet, metadata.parquet")


def test_the_data_set_is_whichever_has_more_images(tmp_path):
    plant(tmp_path, {"assets": 2, "figures": 1})
    write_parquet(tmp_path / "train-0.parquet", [picture()] * 20)
    assert everything(tmp_path) == {"x": 10, "y": 10}
    assert said(loaded(tmp_path)[2], "not used: 3 images beside the parquet files")
    plant(tmp_path, {"cat": 20})
    assert everything(tmp_path) == {"assets": 2, "cat": 20, "figures": 1}


# ---- The law ----

NAMES = st.text(st.sampled_from("abcdeXYZ é猫[]1"), min_size=1, max_size=6).map(str.strip).filter(bool)
CLASSES = st.dictionaries(NAMES, st.integers(1, 3), min_size=2, max_size=5).filter(
    lambda classes: len({name.casefold() for name in classes}) == len(classes)
)
WORDS = st.sampled_from([("train", "val"), ("training", "test"), ("train", "dev"), ("seg_train", "seg_test")])
CASES = st.sampled_from([str.lower, str.upper, str.title, lambda name: name + "_data", lambda name: name + "-2"])


@few
@given(
    train=CLASSES,
    words=WORDS,
    case=CASES,
    wrappers=st.lists(NAMES, max_size=2),
    deeper=st.sampled_from(["", "images", "a/b"]),
    hidden=st.sampled_from(["", ".cache", "@eaDir", "__MACOSX"]),
    has_splits=st.booleans(),
)
def test_wrappers_hidden_folders_and_the_spelling_of_splits_change_nothing(
    train, words, case, wrappers, deeper, hidden, has_splits
):
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder, *wrappers)
        for split in map(case, words) if has_splits else [""]:
            plant(inner / split, {f"{name}/{deeper}": count for name, count in train.items()})
            if hidden:
                plant(inner / split / hidden, {"": 1, "cat": 1})
        expected = {unicodedata.normalize("NFC", name): count for name, count in train.items()}
        if has_splits:
            assert loaded(Path(folder))[:2] == (expected, expected)
        else:
            assert everything(Path(folder)) == expected
