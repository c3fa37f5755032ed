"""A run guards its identity: its data, its tokenizer, its folder while it trains, and its weights are its own."""

import contextlib
import errno
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY_RUN, contents, error_line, spoil
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from sessions import tiny_run

from minimaskgit import ablate, compare, demo, edit, evaluate, export, generate, train
from minimaskgit.common.errors import UserError
from minimaskgit.runs.origin import ClassImages, Origin, first_change, locate, read_origin
from minimaskgit.runs.run import open_run
from minimaskgit.training import lock, session
from minimaskgit.training.judge import load_judge
from minimaskgit.training.lock import locked
from minimaskgit.training.processes import connect
from minimaskgit.training.tokens import key_of

EDIT = ("--box", "8,8,20,20", "--label", "cat", "--count", "1")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)).save(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with pictures of cats and dogs in pics/, and a run in runs/mine that learned from them."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("cat", "dog"):
        for number in range(12):
            picture(folder / "pics" / name / f"{number}.png", number)
    with contextlib.chdir(folder):
        train.main(["--data", "pics", "--out", "runs/mine", *TINY_RUN])
    return folder


@pytest.fixture
def moved(home, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, which the run takes for its own, as the current folder."""
    folder = shutil.copytree(home, tmp_path / "home")
    path = folder / "runs/mine/data.json"
    path.write_text(path.read_text("utf-8").replace(json.dumps(str(home)), json.dumps(str(folder))), "utf-8")
    monkeypatch.chdir(folder)
    return folder


RUN = Path("runs/mine")
RESUME = ("--out", str(RUN), "--resume")

# --- Its data ---


def add(name: str, number: int = 12) -> None:
    picture(Path("pics", name, f"{number}.png"), number)


CHANGES = {
    "class 'zebra' is new": lambda: [add("zebra", number) for number in range(12)],
    "class 'hound' is new": lambda: Path("pics/dog").rename("pics/hound"),
    "class 'dog' is gone": lambda: shutil.rmtree("pics/dog"),
    "class 'cat' has 13 images; it had 12": lambda: add("cat"),
    "class 'dog' has 11 images; it had 12": lambda: Path("pics/dog/3.png").unlink(),
}


@pytest.mark.parametrize("complaint", CHANGES)
def test_other_data_are_refused_in_one_line_and_nothing_in_the_run_changes(moved, capsys, complaint):
    before = contents(RUN)
    CHANGES[complaint]()
    printed = error_line(capsys, train, *RESUME)
    assert complaint in printed and "bring the data back, or train a new run in another --out" in printed
    assert complaint in error_line(capsys, train, "--data", "pics", "--out", str(RUN), "--stage", "gan", *TINY_RUN)
    assert complaint in error_line(capsys, demo, "--data", "pics", "--out", str(RUN), *TINY_RUN)
    assert contents(RUN) == before


def test_an_export_is_measured_on_the_run_s_data_from_any_folder_and_does_not_keep_where_they_are(
    tmp_path, monkeypatch
):
    there, here = tmp_path / "there", tmp_path / "here"
    for number in range(100):
        picture(there / "pics" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    monkeypatch.chdir(there)
    train.main(["--data", "pics", "--out", str(RUN), *TINY_RUN])
    here.mkdir()
    monkeypatch.chdir(here)
    export.main(["--run", str(there / RUN), "--out", "exported", "--samples", "6", "--metrics", "class"])
    assert Path("exported/evaluation.json").exists() and not Path("exported/data.json").exists()


def test_other_images_of_the_same_number_are_refused(moved, capsys):
    before = contents(RUN)
    Image.new("RGB", (99, 9)).save("pics/cat/3.png")
    assert "the images differ" in error_line(capsys, train, *RESUME)
    assert contents(RUN) == before


def test_a_new_run_may_not_lie_among_its_pictures(moved, capsys):
    for data, out in ((".", "runs/new"), ("pics", "pics"), ("pics", "pics/cat/run")):
        complaint = error_line(capsys, train, "--data", data, "--out", out, *TINY_RUN)
        assert f"--out {Path(out)} lies in --data {data}" in complaint


def test_a_model_s_folder_is_not_a_run(moved, capsys):
    printed = error_line(capsys, generate, "--run", str(RUN / "transformer"))
    assert printed.endswith(f"expected the run's folder, {RUN}")


def test_a_command_in_a_message_is_quoted_for_the_shell(posix, capsys):
    printed = error_line(capsys, generate, "--run", "my runs/first one")
    assert printed.endswith("train one with python -m minimaskgit.train --out 'my runs/first one'")


def test_a_run_without_data_json_resumes_and_gets_one_if_its_classes_are_the_same(moved, capsys):
    written = (RUN / "data.json").read_bytes()
    (RUN / "data.json").unlink()
    before = contents(RUN)
    add("zebra")
    assert "class 'zebra' is new" in error_line(capsys, train, *RESUME)
    assert contents(RUN) == before
    shutil.rmtree("pics/zebra")
    train.main(list(RESUME))
    assert (RUN / "data.json").read_bytes() == written


def test_names_that_a_user_gave_the_classes_are_kept(moved):
    (RUN / "labels.json").write_text('["Katze", "Hund"]', "utf-8")
    train.main([*RESUME, "--max-steps", "2"])
    assert (RUN / "labels.json").read_text("utf-8") == '["Katze", "Hund"]'


def test_commands_that_measure_and_edit_refuse_data_of_other_classes_too(moved, capsys):
    add("bee")
    for command, options in ((edit, EDIT), (evaluate, ("--metrics", "fd", "--samples", "4"))):
        assert "class 'bee' is new" in error_line(capsys, command, "--run", str(RUN), *options)
    assert not (RUN / "judge").exists()


names = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1, max_size=4)


@given(names, names, st.lists(st.integers(1, 3), min_size=8, max_size=8), st.integers(0, 8))
def test_data_have_no_difference_if_and_only_if_they_are_the_same(before, now, counts, altered):
    changed = [count + (number == altered) for number, count in enumerate(counts)]
    a, b = (
        Origin("pics", "/here", None, tuple(map(ClassImages, names, counts, counts[4:])), {"train": "", "valid": ""})
        for names, counts in ((before, counts), (now, changed))
    )
    moved = replace(a, data="other", typed_in=None)
    assert first_change(a, moved) is None
    assert (first_change(a, b) is None) == (a == b)
    assert first_change(a, replace(a, fingerprints={"train": "x", "valid": ""})) is None  # not known before


# --- Where its data are ---


def test_a_run_finds_its_data_from_any_folder(moved, monkeypatch, capsys):
    monkeypatch.chdir("pics")
    edit.main(["--run", "../runs/mine", "--out", "e.png", *EDIT])
    train.main(["--out", "../runs/mine", "--resume"])
    assert f"data: {moved / 'pics'}" in capsys.readouterr().out
    assert read_origin(moved / RUN).typed_in == str(moved)


def test_a_run_and_its_data_may_move_together(moved, tmp_path, capsys, monkeypatch):
    there = moved.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    edit.main(["--run", "elsewhere/runs/mine", *EDIT])
    train.main(["--out", "elsewhere/runs/mine", "--resume"])
    assert read_origin(there / RUN).typed_in == str(there)


def test_data_that_moved_alone_are_named_and_accepted_where_they_are_now(moved, capsys):
    Path("pics").rename("pictures")
    before = contents(RUN)
    for command, options in ((edit, ("--run", str(RUN), *EDIT)), (train, RESUME)):
        printed = error_line(capsys, command, *options)
        assert f"'pics', the data of {RUN}, was typed in {moved}" in printed and "--resume --data PLACE" in printed
    assert contents(RUN) == before
    for number in range(2):
        picture(Path(f"others/bee/{number}.png"), number)
    assert "than others is now: class 'bee' is new" in error_line(capsys, train, *RESUME, "--data", "others")
    assert contents(RUN) == before
    train.main([*RESUME, "--data", "pictures"])
    edit.main(["--run", str(RUN), *EDIT])
    assert read_origin(RUN).data == json.loads((RUN / "config.json").read_text("utf-8"))["data"] == "pictures"


def test_a_run_of_an_earlier_version_says_what_it_cannot_compare_when_its_data_moved(moved, capsys):
    (RUN / "data.json").unlink()
    Path("pics").rename("pictures")
    train.main([*RESUME, "--data", "pictures"])
    assert "of its data only the class names could be compared" in capsys.readouterr().out


@pytest.mark.parametrize("typed", ["glyphs", "someone/pictures", "", "pics", "./pics", "~/pics", "p[i]cs", "pics/*/"])
def test_data_is_found_as_it_was_typed(tmp_path, monkeypatch, typed):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "pics/cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = locate(typed, tmp_path / "run")
    assert found.source == typed and (found.base is not None) == ("pics" in typed or "[" in typed)


# --- Its tokens and its tokenizer ---


@pytest.mark.usefixtures("own_accelerator")
def test_tokens_are_kept_for_the_same_tokenizer_and_images_only(tmp_path):
    session = tiny_run(tmp_path / "run")
    data, config, key = session.train, session.config, key_of(session)

    def other(**changes) -> str:
        return key_of(replace(session, train=replace(data, **changes)))

    def configured(**changes) -> str:
        return key_of(replace(session, config=replace(config, images=replace(config.images, **changes))))

    assert key == configured(crop=3) == key_of(replace(session, config=replace(config, data="moved")))
    changed = [other(fingerprint="x"), other(label_names=data.label_names[::-1]), other(labels=data.labels.flip(0))]
    changed += [other(images=data.images.flip(0)), configured(flip=True)]
    path = tmp_path / "run/tokenizer/model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    assert len({key, key_of(session), *changed}) == 7


def test_a_transformer_is_not_used_in_silence_with_another_tokenizer_than_its_own(moved, capsys):
    spoil(RUN / "tokenizer/model.safetensors")
    generate.main(["--run", str(RUN), "--count", "1", "--out", "x.png"])
    printed = capsys.readouterr().err
    assert printed.count("transformer was trained on the tokens of another tokenizer than") == 1
    before = contents(RUN)
    assert "delete runs" in error_line(capsys, train, *RESUME).replace("\\", "/")
    assert contents(RUN) == before
    shutil.rmtree(RUN / "transformer")
    shutil.rmtree(RUN / "autoregressive")
    train.main(list(RESUME))
    printed = capsys.readouterr().out
    assert "tokens.safetensors is not of these images and this tokenizer, or damaged" in printed
    generate.main(["--run", str(RUN), "--count", "1", "--out", "x.png"])
    assert "another tokenizer" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "here, other, complaint",
    [
        ('"depth": 1', '"depth": 2', "transformer was trained with depth 1, but the settings say 2"),
        ('"size": 32', '"size": 64', "tokenizer was trained with image_size 32, but the settings say 64"),
    ],
)
def test_settings_of_another_run_are_noticed(moved, capsys, here, other, complaint):
    path = RUN / "config.json"
    assert here in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(here, other), "utf-8")
    before = contents(RUN)
    assert complaint in error_line(capsys, train, *RESUME)
    assert contents(RUN) == before


# --- Its weights ---

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FOREIGN = {"run git lfs pull": LFS, "it is a web page": b"\n<!DOCTYPE html>\n<html>", "it is empty": b""}


@pytest.mark.parametrize("complaint", FOREIGN)
@pytest.mark.parametrize("stage", ["tokenizer", "transformer"])
def test_another_file_in_place_of_weights_is_named_for_what_it_is(moved, capsys, complaint, stage):
    (RUN / stage / "model.safetensors").write_bytes(FOREIGN[complaint])
    for command, options in ((generate, ("--run", str(RUN), "--out", "x.png")), (train, RESUME)):
        printed = error_line(capsys, command, *options)
        assert "model.safetensors is not a safetensors file" in printed and complaint in printed


@pytest.mark.parametrize("complaint", FOREIGN)
def test_another_file_in_place_of_a_checkpoint_is_named_for_what_it_is(moved, capsys, complaint):
    (RUN / "transformer/model.safetensors").unlink()
    path = RUN / "transformer/checkpoint-00000002.safetensors"
    path.write_bytes(FOREIGN[complaint])
    printed = error_line(capsys, train, *RESUME)
    assert "checkpoint-00000002.safetensors is not a safetensors file" in printed and complaint in printed
    assert path.exists() == (FOREIGN[complaint] == LFS)  # which git still replaces


# --- Its folder, while it trains ---


def test_a_second_training_in_the_same_folder_is_refused_and_readers_are_not(moved, capsys):
    with locked(RUN, connect()):
        before = contents(RUN)
        printed = error_line(capsys, train, *RESUME)
        owner = json.loads((RUN / "lock.json").read_text("utf-8"))
        assert owner["pid"] == os.getpid()
        assert f"{RUN} is being trained by process {os.getpid()} on {owner['host']}, since {owner['since']}" in printed
        assert f"by process {os.getpid()}" in error_line(capsys, compare, "--run", str(RUN), "--showdown")
        assert contents(RUN) == before
        generate.main(["--run", str(RUN), "--count", "1", "--out", "x.png"])
    assert contents(RUN).keys() == before.keys() - {Path("lock"), Path("lock.json")}


def test_a_judge_and_an_ablation_are_trained_by_one_at_a_time_too(moved, capsys):
    with locked(RUN / "judge", connect()), locked(RUN / "ablation", connect()):
        with pytest.raises(UserError, match="judge is being trained by process"):
            load_judge(open_run(RUN))
        assert "ablation is being trained by" in error_line(capsys, ablate, "--run", str(RUN), "--samples", "20")


def test_the_lock_is_gone_after_an_error_and_after_ctrl_c(moved, capsys, monkeypatch):
    error_line(capsys, train, *RESUME, "--seed", "7")
    error_line(capsys, train, "--out", "deep/new", "--data", "nowhere", "--device", "cpu")
    assert not Path("deep").exists()

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(session, "load_data", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.main(list(RESUME))
    assert not list(RUN.glob("lock*"))


@pytest.mark.usefixtures("posix")
def test_the_lock_of_a_killed_process_is_replaced_with_a_note(moved, capfd):
    child = os.fork()
    if not child:
        with lock._held(RUN):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (RUN / "lock.json").exists()
    train.main(list(RESUME))
    (note,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: ")]
    assert f"was being trained by process {child} on " in note and "which was killed" in note
    assert not list(RUN.glob("lock*"))


def test_the_lock_of_another_host_must_be_deleted_by_hand(moved, capsys):
    (RUN / "lock.json").write_text('{"pid": 12, "host": "far-away", "since": "2020-01-01 00:00:00"}', "utf-8")
    before = contents(RUN)
    printed = error_line(capsys, train, *RESUME)
    assert "process 12 on far-away, since 2020-01-01 00:00:00, which cannot be seen from here" in printed
    assert f"if it has ended, delete {RUN / 'lock.json'}" in printed and contents(RUN) == before
    for left in ("", "{", "[]", "{}"):  # of nobody
        (RUN / "lock.json").write_text(left, "utf-8")
        with locked(RUN, connect()):
            pass


def test_where_the_file_system_cannot_lock_a_file_left_by_anyone_must_be_deleted_by_hand(tmp_path, monkeypatch, capsys):
    def unable(self, *arguments, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.FileLock, "acquire", unable)
    refused = pytest.raises(UserError, match=r"is being trained by process .* delete .*lock.json")
    with locked(tmp_path, connect()), refused, locked(tmp_path, connect()):
        pass
    assert capsys.readouterr().err.count(f"note: the file system cannot lock {tmp_path} (No locks available)") == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("posix")
def test_of_many_that_start_at_once_exactly_one_trains(tmp_path):
    start, begin = os.pipe()
    answers, answer = os.pipe()
    children = []
    for _ in range(12):
        children.append(os.fork())
        if not children[-1]:
            os.close(begin)
            os.read(start, 1)  # until all have been started
            try:
                with lock._held(tmp_path / "new/run"):
                    os.write(answer, b"1")
                    signal.pause()
            except UserError as error:
                os.write(answer, b"0" if "by process" in str(error) else b"?")
            os._exit(0)
    os.close(begin)
    found = b"".join(os.read(answers, 1) for _ in children)
    for child in children:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    assert sorted(found) == sorted(b"0" * 11 + b"1")
