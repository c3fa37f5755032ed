"""A run that starts from another's weights: what it takes, what starts anew, resuming without the source, refusals."""

import contextlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import own_pictures
import pytest
import torch
from command_line import TINY_RUN, error_line
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tiny import generator, tiny_transformer

from minimaskgit import demo, export, recipe, train
from minimaskgit.common.errors import UserError
from minimaskgit.runs.config import load_config, save_config
from minimaskgit.runs.models import digest
from minimaskgit.runs.presets import like
from minimaskgit.runs.run import PRETRAINED, open_run
from minimaskgit.training.initial import known_rows, transfer

# --- What it takes ---

names = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1, max_size=5)


@given(known=names, names=names, num_codes=st.integers(1, 9))
def test_codes_and_mask_keep_their_rows_and_each_class_has_the_row_of_its_name(known, names, num_codes):
    table = [*range(num_codes), *known, "[MASK]"]
    rows = known_rows(known, names, num_codes).tolist()
    expected = [*range(num_codes), *names, "[MASK]"]
    assert [table[row] if row >= 0 else None for row in rows] == [name if name in table else None for name in expected]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("options", [{}, {"count_masks": True, "rope": True, "qk_norm": True}])
def test_known_classes_and_no_class_give_the_source_s_logits_and_a_new_class_others(causal, options):
    theirs = tiny_transformer(0, causal=causal, **options)
    model = tiny_transformer(1, causal=causal, num_classes=4, **options)
    transfer(theirs, model, known_rows(["a", "b", "c"], ["new", "c", "a", "other"], theirs.num_codes))
    tokens = torch.randint(theirs.num_codes, (3, 9), generator=generator(0))
    if not causal:
        hidden = torch.rand(3, 9, generator=generator(1)) < 0.5
        asked = (tokens.masked_fill(hidden, each.mask_id) for each in (theirs, model))
    else:
        asked = (tokens, tokens)
    before, after = asked
    with torch.no_grad():
        expected = theirs(before, torch.tensor([2, 0, 3]))  # c, a, no class
        assert torch.equal(model(after, torch.tensor([1, 2, 4])), expected)
        assert not torch.allclose(model(after, torch.tensor([0, 3, 0])), expected)


# --- End to end: from a run of glyphs to pictures of cats, dogs and hearts ---

STILL = ("--transformer-training.learning-rate", "1e-9", "--transformer-training.muon-learning-rate", "1e-9")
FEW = ("--transformer-training.steps", "3", "--data", "pics")


@pytest.fixture(scope="module")
def home(run_folder, tmp_path_factory) -> Path:
    """A folder with pictures in pics/ and a finished run in source/."""
    folder, draw = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    for name in ("cat", "dog", "heart"):
        for split, count in (("train", 8), ("valid", 4)):
            (folder / "pics" / split / name).mkdir(parents=True)
            for number in range(count):
                noise = Image.fromarray(draw.integers(0, 256, (9, 9, 3), np.uint8))
                noise.save(folder / "pics" / split / name / f"{number}.png")
    shutil.copytree(run_folder, folder / "source")
    return folder


@pytest.fixture
def here(home, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, as the current one."""
    monkeypatch.chdir(shutil.copytree(home, tmp_path / "home"))
    return Path()


@pytest.fixture(scope="module")
def tuned(home) -> Path:
    """A run that started from the source and hardly moved."""
    with contextlib.chdir(home):
        train.main(["--init-from", "source", "--out", "tuned", *FEW, *STILL])
    return home / "tuned"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    ours, theirs = weights(a), weights(b)
    return all(ours[name].equal(theirs[name]) for name in ours.keys() | theirs.keys())


def test_the_tokenizer_stays_and_is_measured_on_the_new_pictures(tuned, home):
    assert same(tuned / "tokenizer", home / "source/tokenizer") and not (tuned / "classifier").exists()
    evaluation = json.loads((tuned / "tokenizer/evaluation.json").read_text("utf-8"))
    assert evaluation["psnr"] > 0 and (tuned / "tokenizer/reconstructions.png").exists()


@pytest.mark.parametrize("stage", ["transformer", "autoregressive"])
def test_transformers_start_with_the_source_s_weights_but_for_new_classes(tuned, home, stage):
    ours, theirs = weights(tuned / stage), weights(home / "source" / stage)
    table, known = ours.pop("embedding.weight"), theirs.pop("embedding.weight")
    ours.pop("bias"), theirs.pop("bias")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)
    heart, codes = open_run(home / "source").label_names.index("heart"), 32
    assert torch.allclose(table[:codes], known[:codes], atol=1e-4)
    assert torch.allclose(table[[codes + 2, -1]], known[[codes + heart, -1]], atol=1e-4)  # heart and [MASK]
    assert all((table[codes] - row).abs().max() > 1e-3 for row in known)  # cat


def test_a_line_says_what_was_taken_and_config_json_from_where(here, capsys):
    shutil.rmtree("source/autoregressive")
    train.main(["--init-from", "source", "--out", "new", "--stage", "transformer", *FEW])
    line = "from source: tokenizer (kept as it is), transformer; anew: autoregressive, the embeddings of 2 of 3 classes"
    assert line in capsys.readouterr().out.splitlines()
    there, config = load_config(Path("source/config.json")), load_config(Path("new/config.json"))
    assert (config.init_from, config.tokenizer_training.steps) == ("source", 0)
    assert (config.tokenizer, config.transformer, config.decoding) == (
        there.tokenizer,
        there.transformer,
        there.decoding,
    )


def test_pretrained_weights_are_taken_by_name(here, capsys):
    few = ("--images.count", "16", "--transformer-training.steps", "1", "--transformer-training.batch-size", "2")
    train.main(["--init-from", "glyphs", "--stage", "transformer", *few])
    printed = capsys.readouterr().out
    assert "from glyphs: tokenizer (kept as it is), transformer, autoregressive; anew: nothing" in printed
    assert same(Path("runs/from-glyphs/initial/transformer"), PRETRAINED / "glyphs/transformer")


def test_how_often_a_run_reports_draws_and_saves_does_not_come_from_the_source(here):
    config = replace(load_config(Path("source/config.json")), report_every=7, picture_every=10**5, save_every=10**5)
    config = replace(config, fd_samples=6)
    save_config(config, Path("source/config.json"))
    found = like("source")
    assert (found.report_every, found.picture_every, found.save_every) == (50, 500, 500)
    assert found.fd_samples == 0


def test_the_tokenizer_is_trained_on_if_it_has_steps(here, capsys):
    still = ("--tokenizer-training.steps", "2", "--tokenizer-training.learning-rate", "1e-6")
    train.main(["--init-from", "source", "--out", "new", "--stage", "tokenizer", *FEW, *still])
    assert "from source: tokenizer, transformer, autoregressive; " in capsys.readouterr().out
    ours, theirs = weights(Path("new/tokenizer")), weights(Path("source/tokenizer"))
    assert not same(Path("new/tokenizer"), Path("source/tokenizer")) and Path("new/classifier").exists()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-2) for name in theirs if "decoder" in name)


# --- Resuming ---


def test_a_run_resumes_without_its_source_and_ends_with_the_same_weights(here):
    start = ("--init-from", "source", *FEW)
    train.main([*start, "--out", "whole"])
    train.main([*start, "--out", "parts", "--stage", "transformer"])
    shutil.rmtree("source")
    train.main(["--out", "parts", "--resume"])
    for stage in ("tokenizer", "transformer", "autoregressive"):
        assert same(Path("whole") / stage, Path("parts") / stage)


def test_a_run_killed_while_copying_takes_the_weights_when_resumed_and_never_starts_without(here, capsys):
    train.main(["--init-from", "source", "--out", "new", "--stage", "transformer", *FEW])
    Path("new/initial/config.json").unlink()
    Path("source").rename("elsewhere")
    assert "--init-from 'source': expected a run folder" in error_line(capsys, train, "--out", "new", "--resume")
    Path("elsewhere").rename("source")
    train.main(["--out", "new", "--resume"])
    assert Path("new/initial/config.json").exists() and Path("new/autoregressive/model.safetensors").exists()


# --- Refusals ---

REFUSED = {
    "'nowhere': expected a run folder, or the name of pretrained weights: glyphs": ("--init-from", "nowhere"),
    "'': expected a run folder": ("--init-from", ""),
    "'pics': expected a run folder": ("--init-from", "pics"),
    "transformer.depth is 1 there and 3 here; leave": ("--init-from", "source", "--transformer.depth", "3"),
    "tokenizer.num_codes is 32 there and 64 here": ("--init-from", "source", "--tokenizer.num-codes", "64"),
    "images.size is 32 there and 64 here; leave": ("--init-from", "source", "--images.size", "64"),
    "--preset demo and --init-from source: ": ("--init-from", "source", "--preset", "demo"),
    "--tokenizer-training.steps 0: expected 1 or more": ("--tokenizer-training.steps", "0"),
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_what_cannot_work_is_refused_and_leaves_nothing(here, capsys, complaint):
    assert complaint in error_line(capsys, train, "--out", "new", *REFUSED[complaint])
    assert not Path("new").exists()


def test_an_unfinished_or_damaged_source_is_refused(here, capsys):
    damaged = Path("source/autoregressive/model.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    start = ("--init-from", "source", "--out", "new", *FEW)
    assert "are damaged" in error_line(capsys, train, *start)
    Path("source/transformer/model.safetensors").unlink()
    assert "no trained transformer in source/transformer" in error_line(capsys, train, *start)
    assert not Path("new").exists()


def test_a_run_is_no_source_of_itself_and_keeps_its_source(here, capsys):
    itself = ("--init-from", "source", "--out", "source", "--images.count", "64")
    for arguments in (itself, (*itself, "--resume")):
        assert "source holds another run (" in error_line(capsys, train, *arguments)
    train.main(["--init-from", "source", "--out", "new", "--stage", "tokenizer", *FEW])
    other = error_line(capsys, train, "--init-from", "glyphs", "--out", "new", "--resume")
    assert "init_from is 'source' there and 'glyphs' here" in other


def test_commands_that_compare_trainings_from_scratch_do_not_take_it(here, capsys):
    for command in (demo, recipe):
        assert "unknown option --init-from" in error_line(capsys, command, *TINY_RUN, "--init-from", "source")


# --- What others make of it ---


def test_the_card_of_an_export_names_the_source(tuned, home, monkeypatch):
    monkeypatch.chdir(home)
    export.main(["--run", "tuned", "--out", "exported", "--samples", "6"])
    card = Path("exported/README.md").read_text("utf-8")
    assert "train --init-from source --out" in card and "# with the settings of config.json" in card
    assert "Trained from the weights of source, whose terms hold for these too." in card
    train.main(["--out", "exported", "--resume"])  # with nothing left to start, it needs no source


def test_what_to_expect_of_few_pictures_is_measured_with_one_judge_and_kept(here, capsys, monkeypatch):
    for name, value in {
        "SIZES": (16, 8),
        "STEPS": 2,
        "SAMPLES": 6,
        "CLASSES": 2,
        "TIMED_SIZE": 8,
        "TIMED_STEPS": 2,
    }.items():
        monkeypatch.setattr(own_pictures, name, value)
    arguments = ["--data", "pics", "--source", "source"]
    own_pictures.main(arguments)
    out = Path("runs/own-pictures")
    kept = (out / "own-pictures.json").read_bytes()
    assert [(run["pictures"], run["start"], run["classes"]) for run in json.loads(kept)] == [
        (count, start, ["cat", "dog"]) for count in (16, 8) for start in ("anew", "source")
    ]
    assert len({digest(folder / "classifier") for folder in out.glob("**/judge")}) == 1
    capsys.readouterr()
    own_pictures.main(arguments)
    heads, *rows, _ = capsys.readouterr().out.splitlines()
    assert heads.split()[0] == "pictures" and [row.split()[0] for row in rows] == ["16", "16", "8", "8", "real"]
    assert (out / "own-pictures.json").read_bytes() == kept
    own_pictures.main([*arguments, "--time"])
    assert re.fullmatch(
        r"2 steps of 32 pictures, from `source`, took \d+ s on .*\.", capsys.readouterr().out.splitlines()[-2]
    )
    assert len((out / "time/transformer/metrics.jsonl").read_text("utf-8").splitlines()) >= 1
    monkeypatch.setattr(own_pictures, "CLASSES", 3)
    with pytest.raises(UserError, match="pics has 2 classes that source does not know; expected 3 or more"):
        own_pictures.main(arguments)
