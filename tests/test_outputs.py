"""The way out: what can be written where is known before the work, and only plain files are ever replaced."""

import io
import os
import re
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import error_line
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from minimaskgit import evaluate, export, figures, generate, train
from minimaskgit.common import cli, files
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import atomic_write, check_output_folder, check_outputs, write_json
from minimaskgit.runs.config import Seed, Strength

DRAW = ("--pretrained", "glyphs", "--count", "2", "--steps", "1")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder to work in, with a file, a folder and links."""
    folder = tmp_path / "here"
    (folder / "folder").mkdir(parents=True)
    (folder / "file.png").write_text("mine", "utf-8")
    monkeypatch.chdir(folder)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def devices(here) -> None:
    """Devices like /dev/null and /dev/full, which only root can make; better these than the system's."""
    try:
        for name, minor in (("null", 3), ("full", 7)):
            os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    except (AttributeError, PermissionError):
        pytest.skip("only root can make devices, and only on Linux and macOS")


def no_work(*arguments, **options):
    raise AssertionError("the work has begun")


# --- Before the work ---


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--out", "folder"], "--out folder is a folder; expected a file to write"),
        (["--out", "file.png/x.png"], "--out file.png/x.png cannot be written (file.png is not a folder)"),
        (["--out", ""], "--out '': expected a path"),
        (["--out", "n" * 300 + ".png"], "cannot be written (File name too long)"),
        (["--out", "x.mp3"], "--out x.mp3: no picture can be written as .mp3; expected .png, .jpg"),
        (["--gif", "y.mp4"], "--gif y.mp4: no animation can be written as .mp4; expected .gif, .webp"),
        (["--out", "z.png", "--gif", "./z.png"], "--gif z.png is the same file as --out; choose another name"),
        (["--gif", "y.gif", "--count", "101"], "--gif shows every image in every frame: expected --count 100 or less"),
        (["--count", "99999"], "--count 99999: expected at most 3600"),
        (["--seed", str(2**64)], f"--seed {2**64}: expected at most {2**63 - 1}"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--temperature", "nan"], "--temperature nan: expected a finite number"),
        (["--temperature", "inf"], "--temperature inf: expected a finite number"),
        (["--guidance", "-1"], "--guidance -1.0: expected 0 or more"),
    ],
)
def test_what_cannot_be_written_or_drawn_is_refused_before_the_work(here, capsys, monkeypatch, arguments, complaint):
    before = names(here)
    monkeypatch.setattr(generate, "chosen_run", no_work)
    assert complaint in error_line(capsys, generate, *DRAW, *arguments)
    assert names(here) == before and Path("file.png").read_text("utf-8") == "mine"


@pytest.mark.usefixtures("linux")
def test_a_place_where_even_root_cannot_write_is_refused_before_the_work(capsys, monkeypatch):
    monkeypatch.setattr(generate, "chosen_run", no_work)
    assert "--out /proc/x.png cannot be written" in error_line(capsys, generate, *DRAW, "--out", "/proc/x.png")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (evaluate, ["--pretrained", "glyphs", "--json", "folder"]),
        (export, ["--run", "folder", "--out", "file.png/x"]),
        (train, ["--out", "file.png"]),
        (train, ["--out", "file.png/run"]),
    ],
)
def test_every_command_checks_its_outputs(here, capsys, command, arguments):
    before = names(here)
    assert arguments[-1] in error_line(capsys, command, *arguments)
    assert [name for name in names(here) if not name.startswith("runs")] == before


def test_an_output_that_is_an_input_or_another_output_is_refused():
    with pytest.raises(UserError, match="the same file as --image"):
        check_outputs({"--out": Path("folder/../file.png")}, {"--image": Path("file.png")})
    with pytest.raises(UserError, match="the same file as --out"):
        check_outputs({"--out": Path("new.png"), "--gif": Path("new.png")}, {})
    check_outputs({"--out": Path("new.png"), "--gif": None}, {"--image": Path("file.png")})


@pytest.mark.usefixtures("symlinks")
def test_a_link_is_the_file_it_leads_to_and_a_circle_of_links_is_refused(capsys):
    Path("link.png").symlink_to("file.png")
    Path("circle.png").symlink_to("circle.png")
    with pytest.raises(UserError, match="the same file as --image"):
        check_outputs({"--out": Path("link.png")}, {"--image": Path("file.png")})
    assert "--out circle.png cannot be written" in error_line(capsys, generate, *DRAW, "--out", "circle.png")
    with pytest.raises(UserError, match="is a file; expected a folder"):
        check_output_folder("--out", Path("circle.png"))


@given(value=st.integers() | st.floats(), kind=st.sampled_from([Seed, Strength]))
def test_seeds_and_weights_are_accepted_only_where_torch_computes_with_them(value, kind):
    good = (0 <= value < 2**63 and value == int(value)) if kind is Seed else 0 <= value <= 10_000
    try:
        accepted = TypeAdapter(kind).validate_python(value)
    except ValidationError:
        assert not good
        return
    assert good
    if kind is Seed:
        torch.Generator().manual_seed(accepted)


# --- What is written ---


@pytest.mark.parametrize(
    ("suffix", "form"), [("jpg", "JPEG"), ("webp", "WEBP"), ("TIF", "TIFF"), ("bmp", "BMP"), ("png", "PNG")]
)
def test_a_picture_has_the_format_of_its_suffix(suffix, form):
    figures.save_picture(Image.new("RGB", (9, 9)), f"x.{suffix}")
    assert Image.open(f"x.{suffix}").format == form


@pytest.mark.parametrize(("suffix", "form"), [("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG")])
def test_an_animation_has_the_format_of_its_suffix_and_all_frames(suffix, form):
    figures.animation([Image.new("RGB", (9, 9), colour) for colour in ("red", "green", "blue")], f"x.{suffix}")
    with Image.open(f"x.{suffix}") as found:
        assert found.format == form and found.n_frames == 3


def test_the_first_images_do_not_depend_on_the_size_of_a_batch_beyond_them(monkeypatch):
    drawn = {}

    def grid(images, titles):
        drawn[len(images)] = images
        return Image.new("RGB", (9, 9))

    monkeypatch.setattr(figures, "grid", grid)
    monkeypatch.setattr(generate, "at_once", lambda run: 4)
    for count in (4, 9):
        generate.main(["--pretrained", "glyphs", "--count", str(count), "--steps", "2", "--label", "star"])
    assert drawn[9].shape[0] == 9 and drawn[9][:4].equal(drawn[4])
    assert not drawn[9][:4].equal(drawn[9][4:8])  # each batch has its own noise


def test_generating_shows_at_once_how_many_steps_there_are_and_counts_them(monkeypatch, capsys):
    monkeypatch.setattr(generate, "at_once", lambda run: 2)
    monkeypatch.setattr(generate, "tqdm", partial(generate.tqdm, mininterval=0))
    generate.main(["--pretrained", "glyphs", "--count", "4", "--steps", "3", "--label", "star", "--gif", "a.gif"])
    shown = re.findall(r" (\d)/8 \[", capsys.readouterr().err)
    assert sorted(set(shown)) == list("012345678")  # 2 batches of 3 steps and the tokenizer's decoder
    with Image.open("a.gif") as found:
        assert found.n_frames >= 4


def test_json_has_null_where_a_number_is_not_finite():
    write_json(Path("x.json"), {"a": [1.0, float("nan")], "b": (float("inf"),)})
    assert "".join(Path("x.json").read_text("utf-8").split()) == '{"a":[1.0,null],"b":[null]}'


def test_kept_results_that_cannot_be_opened_are_an_error_in_one_line(here):
    assert files.read_kept(here / "none.json", "measure again") == {}
    for kept in ("folder", "file.png"):
        with pytest.raises(UserError, match=f"{kept} is damaged or cannot be opened .* delete it to measure again"):
            files.read_kept(here / kept, "measure again")


# --- Devices, pipes and links ---


def content(path: str | Path) -> str:
    return Path(path).read_text("utf-8")


@pytest.mark.usefixtures("devices")
def test_a_device_is_written_to_and_stays_a_device(capsys):
    generate.main([*DRAW, "--out", "null"])
    assert "No space left" in error_line(capsys, generate, *DRAW, "--out", "full")
    assert stat.S_ISCHR(os.lstat("null").st_mode) and stat.S_ISCHR(os.lstat("full").st_mode)


@pytest.mark.usefixtures("posix")
def test_a_pipe_is_written_to_and_stays_a_pipe():
    os.mkfifo("pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append(content("pipe")))
    reader.start()
    with atomic_write(Path("pipe")) as temporary:
        temporary.write_text("all of it", "utf-8")
    reader.join(10)
    assert received == ["all of it"] and stat.S_ISFIFO(os.lstat("pipe").st_mode)


@pytest.mark.usefixtures("symlinks")
def test_a_link_stays_and_its_target_is_replaced(here):
    Path("link.png").symlink_to("file.png")
    Path("new.png").symlink_to("folder/made.png")
    for name in ("link.png", "new.png"):
        with atomic_write(Path(name)) as temporary:
            temporary.write_text("new", "utf-8")
        assert Path(name).is_symlink() and content(name) == "new"
    assert content("file.png") == content("folder/made.png") == "new"
    assert not list(here.rglob("*.partial"))


def test_a_folder_whose_name_is_not_utf_8_is_refused_because_tensorboard_cannot_write_there():
    check_output_folder("--out", Path("猫"))
    with pytest.raises(UserError, match="its name is not UTF-8"):
        check_output_folder("--out", Path("caf\udce9"))


def test_the_longest_name_can_be_written():
    name = "n" * 251 + ".png"
    with atomic_write(Path(name)) as temporary:
        temporary.write_text("x", "utf-8")
    assert content(name) == "x"


def test_two_writers_at_once_do_not_disturb_each_other():
    with atomic_write(Path("both")) as first, atomic_write(Path("both")) as second:
        first.write_text("first", "utf-8")
        second.write_text("second", "utf-8")
    assert content("both") == "first" and names(Path("."))[0] == "both"


def test_what_a_killed_writer_left_is_removed_after_a_while_and_nothing_else(monkeypatch):
    Path("x.png.0123abcd.partial").touch()
    Path("x.png.mine.partial").touch()
    for age, left in ((10, True), (files.ABANDONED + 10, False)):
        os.utime("x.png.0123abcd.partial", (os.stat(".").st_mtime - age,) * 2)
        with atomic_write(Path("x.png")) as temporary:
            temporary.touch()
        assert Path("x.png.0123abcd.partial").exists() == left
    assert Path("x.png.mine.partial").exists()


# --- Printing ---


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_never_fails_for_its_encoding(encoding, monkeypatch, capsys):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])

    def main() -> None:
        print("日本 γ \udce9")
        raise UserError("猫 \udce9")

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    for stream in streams:
        stream.flush()
    monkeypatch.undo()
    printed = [stream.buffer.getvalue().decode(encoding).strip() for stream in streams]
    assert stop.value.code == 2 and printed == ["?? ? ?", "error: ? ?"]


PRINTS = """
import sys
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
def work():
    print("a line")
    if "large" in sys.argv: print("x" * 100_000)
    if "refuse" in sys.argv: raise UserError("no")
    if "exit" in sys.argv: sys.exit(3)
cli.run(work)
"""


def printing(redirected: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Print from a process with its output redirected; where it prints must not depend on the shell's settings."""
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "PYTHONUNBUFFERED": ""} | environment
    command = ["sh", "-c", f'"$0" -c "$@" {redirected}', sys.executable, PRINTS, *arguments]
    return subprocess.run(command, capture_output=True, env=environment, timeout=60)


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize("arguments", [[], ["large"], ["refuse"], ["exit"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_an_error_in_one_line(arguments, unbuffered):
    found = printing("> /dev/full", *arguments, PYTHONUNBUFFERED=unbuffered)
    assert found.returncode == 2 and b"error: the output cannot be printed" in found.stderr
    assert not any(word in found.stderr for word in (b"Traceback", b"Exception ignored"))


@pytest.mark.usefixtures("posix")
def test_a_closed_stdout_is_an_error_in_one_line_and_a_closed_stderr_does_no_harm():
    for redirected, code in ((">&-", 2), (">&- 2>&-", 2), ("2>&-", 0)):
        found = printing(redirected)
        assert found.returncode == code and b"Traceback" not in found.stderr + found.stdout
        assert (b"error: stdout is closed" in found.stderr) == (redirected == ">&-")


@pytest.mark.usefixtures("posix")
def test_a_reader_who_leaves_ends_the_command_without_an_error_line():
    assert printing("| true", "large").stderr == b""
