"""Every command end to end on a tiny configuration, and its errors for invalid input."""

import contextlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import TINY_RUN, Left, contents, error_line
from PIL import Image
from safetensors.torch import load_file
from tiny import tiny_transformer

import minimaskgit
from minimaskgit import bench, compare, demo, export, figures, generate, train
from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.precision import choose
from minimaskgit.data.glyphs import GLYPH_NAMES
from minimaskgit.measuring import race
from minimaskgit.runs import config, run
from minimaskgit.runs.config import Config, TokenizerTraining, TransformerConfig, save_config
from minimaskgit.runs.presets import starting_point
from minimaskgit.runs.run import open_run
from minimaskgit.training import rehearsal, session, stages
from minimaskgit.training.checkpoint import checkpoints
from minimaskgit.training.estimate import transformer_flops
from minimaskgit.training.stages import limit_steps

# --- train ---


def test_training_leaves_finished_models_metrics_and_pictures(run_folder):
    for stage in ("classifier", "tokenizer", "transformer", "autoregressive", "critic", "gan", "diffusion"):
        assert (run_folder / stage / "model.safetensors").exists()
        assert (run_folder / stage / "config.json").exists()
        assert not checkpoints(run_folder / stage)  # removed once the stage is done
        assert list((run_folder / stage / "tensorboard").iterdir())
        lines = [json.loads(line) for line in (run_folder / stage / "metrics.jsonl").read_text("utf-8").splitlines()]
        assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    for picture in (
        "tokenizer/reconstructions.png",
        "transformer/samples.png",
        "autoregressive/samples.png",
        "gan/samples.png",
    ):
        assert Image.open(run_folder / picture).size > (100, 100)
    assert (run_folder / "tokenizer/pictures/step_000003.png").exists()


def test_tokenizer_training_reports_every_term(run_folder):
    lines = [json.loads(line) for line in (run_folder / "tokenizer/metrics.jsonl").read_text("utf-8").splitlines()]
    always = {"l1", "psnr", "commitment", "perceptual", "usage", "perplexity", "grad_norm"}
    assert all(always <= set(line) for line in lines)
    assert "adversarial" not in lines[0]  # the warm-up
    assert {"adversarial", "adaptive", "discriminator"} <= set(lines[-1])


def test_the_config_of_a_run_is_the_requested_one(run_folder):
    config = open_run(run_folder).config
    assert config.tokenizer.num_codes == 32 and config.transformer.depth == 1
    assert config.tokenizer_training.gan_start == 0.5


def test_a_folder_with_a_run_is_not_overwritten(run_folder, capsys):
    assert "already exists" in error_line(capsys, train, "--out", str(run_folder), *TINY_RUN)
    assert "transformer.depth is 1 there and 5 here" in error_line(
        capsys, train, "--out", str(run_folder), *TINY_RUN, "--transformer.depth", "5"
    )


def test_resuming_a_finished_run_keeps_its_models(run_folder, capsys):
    before = (run_folder / "transformer/model.safetensors").read_bytes()
    train.main(["--out", str(run_folder), "--resume"])
    assert "trained already, kept" in capsys.readouterr().out
    assert (run_folder / "transformer/model.safetensors").read_bytes() == before


def same_weights(stage: str, *folders: Path) -> bool:
    once, twice = (load_file(folder / stage / "model.safetensors") for folder in folders)
    return all(torch.equal(once[key], twice[key]) for key in once)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory) -> Path:
    """A run of the GAN, stopped by Ctrl-C in the third of its five steps."""
    original = session.batch_indices

    def interrupting(count, batch_size, step, seed):
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return original(count, batch_size, step, seed)

    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt, match="saved at step 3 of 5"):
        patch.setattr(session, "batch_indices", interrupting)
        train.main(["--out", str(folder), "--stage", "gan", *TINY_RUN])
    return folder


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--gan.width", "16"], "gan.width is 8 there and 16 here"),
        (["--transformer.depth", "9", "--seed", "1"], "seed is 0 there and 1 here"),
        (["--transformer.depth", "9"], "transformer.depth is 1 there and 9 here"),
        (["--precision", "fp32" if choose("auto", torch.device("cpu")) == "bf16" else "bf16"], "precision is "),
        (["--decoding.steps", "4"], "decoding.steps is 8 there and 4 here"),
        (["--gan-training.steps", "4"], "--gan-training.steps 4: "),
        (["--max-steps", "0"], "--max-steps 0: expected 1 or more"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_touches_nothing(stopped_run, capsys, arguments, complaint):
    before = contents(stopped_run)
    printed = error_line(capsys, train, "--out", str(stopped_run), "--stage", "gan", "--resume", *arguments)
    assert complaint in printed
    assert contents(stopped_run) == before


def test_settings_that_suit_the_machine_are_no_difference(stopped_run, run_folder, tmp_path):
    folder = shutil.copytree(stopped_run, tmp_path / "run")
    before = (folder / "config.json").read_bytes()
    assert open_run(folder).config.precision != "auto"
    other_machine = ("--precision", "auto", "--accumulate", "2", "--recompute")
    train.main(["--out", str(folder), "--stage", "gan", "--resume", *other_machine])
    assert (folder / "config.json").read_bytes() == before
    assert same_weights("gan", folder, run_folder)


def test_more_steps_extend_a_run_that_is_not_finished(stopped_run, tmp_path):
    folder = shutil.copytree(stopped_run, tmp_path / "run")
    before = open_run(folder).config
    train.main(["--out", str(folder), "--stage", "gan", "--resume", "--gan-training.steps", "7"])
    assert open_run(folder).config == replace(before, gan_training=replace(before.gan_training, steps=7))
    lines = (folder / "gan/metrics.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[-1])["step"] == 7 and (folder / "gan/model.safetensors").exists()


def test_a_finished_stage_cannot_be_extended(run_folder, capsys):
    before = contents(run_folder)
    arguments = ("--out", str(run_folder), "--resume", "--transformer-training.steps", "9")
    printed = error_line(capsys, train, *arguments)
    assert "--transformer-training.steps 9" in printed and "finished after 5 steps" in printed
    assert contents(run_folder) == before


def test_max_steps_stop_a_resumed_run_early_and_change_neither_its_settings_nor_its_end(
    stopped_run, run_folder, tmp_path, capsys
):
    folder = shutil.copytree(stopped_run, tmp_path / "run")
    settings = (folder / "config.json").read_bytes()
    for most, step in ((2, 3), (4, 4), (4, 4)):
        train.main(["--out", str(folder), "--stage", "gan", "--resume", "--max-steps", str(most)])
        printed = capsys.readouterr().out
        assert f"gan: stopped early at step {step} of 5" in printed and "done: " not in printed
        assert printed.splitlines()[-1] == f"stopped early: {folder}; --resume continues"
        assert checkpoints(folder / "gan")[-1].name == f"checkpoint-0000000{step}.safetensors"
        assert (folder / "config.json").read_bytes() == settings and not (folder / "gan/model.safetensors").exists()
    train.main(["--out", str(folder), "--stage", "gan", "--resume", "--max-steps", "9"])
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"done: {folder}")
    assert (folder / "config.json").read_bytes() == settings and same_weights("gan", folder, run_folder)


def test_max_steps_stop_every_stage_that_can_be_trained(run_folder, tmp_path):
    begun, half = tmp_path / "begun", tmp_path / "half"
    begun.mkdir()
    shutil.copy(run_folder / "config.json", begun)
    train.main(["--out", str(begun), "--resume", "--max-steps", "1"])
    assert checkpoints(begun / "classifier") and not (begun / "transformer").exists()
    shutil.copytree(run_folder, half, ignore=shutil.ignore_patterns("transformer", "autoregressive"))
    train.main(["--out", str(half), "--resume", "--max-steps", "2"])
    for stage in ("transformer", "autoregressive"):
        assert checkpoints(half / stage)[-1].name == "checkpoint-00000002.safetensors"
    train.main(["--out", str(half), "--resume"])
    assert same_weights("transformer", half, run_folder) and same_weights("autoregressive", half, run_folder)


@pytest.mark.parametrize("stage", ["tokenizer", "transformer", "autoregressive"])
def test_an_interrupted_and_resumed_run_ends_as_an_uninterrupted_one(run_folder, tmp_path, monkeypatch, stage):
    """Stop the stage after its fourth step, as Ctrl-C does, and resume."""
    original = session.batch_indices

    def interrupting(count, batch_size, step, seed):
        if step == 3 and "interrupted" not in state and state["stage"] == stage:
            state["interrupted"] = True
            signal.raise_signal(signal.SIGINT)
        return original(count, batch_size, step, seed)

    state = {"stage": None}
    real_fit = session.fit

    def watching_fit(folder, *args, **kwargs):
        state["stage"] = folder.name
        return real_fit(folder, *args, **kwargs)

    monkeypatch.setattr(session, "batch_indices", interrupting)
    monkeypatch.setattr(session, "fit", watching_fit)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match="to resume, run it again"):
        train.main(["--out", str(folder), *TINY_RUN])
    assert state["interrupted"] and checkpoints(folder / stage)
    train.main(["--out", str(folder), "--resume"])
    for name in ("tokenizer", "transformer", "autoregressive"):
        once, twice = (load_file(f / name / "model.safetensors") for f in (run_folder, folder))
        assert all(torch.equal(once[key], twice[key]) for key in once), name
        steps = [json.loads(line)["step"] for line in (folder / name / "metrics.jsonl").read_text("utf-8").splitlines()]
        assert steps == sorted(set(steps))


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_between_two_steps_says_how_to_resume_what_there_is(tmp_path, capsys, monkeypatch, begun):
    def stopped(config, folder, *rest):
        if begun:
            save_config(config, folder / "config.json")
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train_stages", stopped)
    with pytest.raises(SystemExit, match="130"):
        cli.run(lambda: train.main(["--out", str(tmp_path / "run")]))
    found = capsys.readouterr().err.strip()
    assert re.fullmatch("stopped: what .*run holds is kept; to resume, run it again .*" if begun else "stopped", found)


@pytest.mark.parametrize("rival", ["gan", "diffusion"])
def test_an_interrupted_and_resumed_rival_ends_as_an_uninterrupted_one(run_folder, tmp_path, monkeypatch, rival):
    original = session.batch_indices

    def interrupting(count, batch_size, step, seed):
        if step == 3 and not checkpoints(folder / rival):
            signal.raise_signal(signal.SIGINT)
        return original(count, batch_size, step, seed)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="to resume, run it again"):
        patch.setattr(session, "batch_indices", interrupting)
        train.main(["--out", str(folder), "--stage", rival, *TINY_RUN, "--save-every", "100"])
    train.main(["--out", str(folder), "--stage", rival, "--resume"])
    once, twice = (load_file(f / rival / "model.safetensors") for f in (run_folder, folder))
    assert all(torch.equal(once[key], twice[key]) for key in once)


def test_training_one_stage_at_a_time_gives_the_same_models(run_folder, tmp_path):
    folder = tmp_path / "run"
    for stage in ("tokenizer", "transformer"):
        train.main(["--out", str(folder), "--stage", stage, *TINY_RUN])
    for stage in ("tokenizer", "transformer"):
        once, apart = (load_file(f / stage / "model.safetensors") for f in (run_folder, folder))
        assert all(torch.equal(once[key], apart[key]) for key in once)
    assert not (folder / "autoregressive").exists()


@pytest.mark.parametrize("stage", ["transformer", "autoregressive", "critic"])
def test_a_stage_without_the_tokenizer_it_needs_is_refused_and_leaves_nothing(stage, tmp_path, capsys):
    printed = error_line(capsys, train, "--out", str(tmp_path / "run"), "--stage", stage, *TINY_RUN)
    assert "no trained tokenizer" in printed and printed.endswith("--stage tokenizer")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_damaged_checkpoint_is_refused(run_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text((run_folder / "config.json").read_text("utf-8"), "utf-8")
    (folder / "classifier").mkdir()
    (folder / "classifier/checkpoint-00000002.safetensors").write_bytes(b"not a checkpoint")
    assert "is damaged" in error_line(capsys, train, "--out", str(folder), "--resume")


def test_the_whole_time_is_the_measured_seconds_per_step_times_all_steps_without_the_first(tmp_path):
    whole = Config(tokenizer_training=TokenizerTraining(steps=2000, batch_size=8))
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/evaluation.json").write_text('{"seconds": 90}', "utf-8")
    lines = [json.dumps({"images_per_second": 8 / seconds}) for seconds in (80, 3, 5)]  # seconds per step
    (tmp_path / "tokenizer/speed.jsonl").write_text("\n".join(lines), "utf-8")
    text = train.whole_time(whole, limit_steps(whole, 3), tmp_path, ["tokenizer"])
    assert "estimated from 3 steps per stage" in text and "2.2 h here (tokenizer 2.2 h)" in text


@pytest.mark.slow
def test_the_full_preset_starts_on_a_cpu_and_estimates_the_full_time(tmp_path, capsys):
    """One step of each stage on glyphs of its size shows that its shapes fit together."""
    small = ["--tokenizer.width", "32", "--transformer.depth", "1", "--transformer.width", "64"]
    small += ["--images.count", "8", "--tokenizer-training.batch-size", "2", "--transformer-training.batch-size", "2"]
    small += ["--classifier.width", "8", "--classifier.batch-size", "4", "--tokenizer-training.gan-width", "8"]
    small += ["--tokenizer-training.gan-start", "0", "--stage", "transformer"]
    folder = tmp_path / "run"
    for stage in ("tokenizer", "transformer"):
        small[-1] = stage
        train.main(["--full", "--data", "glyphs", "--out", str(folder), "--max-steps", "1", *small])
        printed = capsys.readouterr().out
        assert "GFLOP per step" in printed and "estimated from 1 step per stage, all steps would take" in printed
        speeds = [json.loads(line) for line in (folder / stage / "speed.jsonl").read_text("utf-8").splitlines()]
        assert speeds and all(line["images_per_second"] > 0 and line["peak_memory_gb"] > 0 for line in speeds)
    assert speeds[-1]["mfu"] > 0  # of the transformer
    assert open_run(folder).config.fd_samples == 2  # of 2000, which would take minutes here
    assert open_run(folder).tokenizer().num_tokens == 256


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--data", "./nowhere"], "no such file or folder"),
        (["--resume"], "no run in"),
        (["--max-steps", "0"], "expected 1 or more"),
        (["--device", "abacus"], "no device 'abacus'"),
        (["--tokenizer.patch", "5"], "not a multiple"),
        (["--transformer.heads", "5"], "not a multiple"),
        (["--images.classes", "hart"], "heart"),
        (["--images.count", "0"], "expected 1 or more"),
        (["--images.crop", "32"], "expected less than --images.size 32"),
        (["--tokenizer-training.steps", "0"], "expected 1 or more"),
        (["--transformer-training.batch-size", "0"], "expected 1 or more"),
        (["--transformer-training.learning-rate", "-1"], "expected"),
        (["--transformer-training.betas", "0.9", "1"], "--transformer-training.betas 1.0: expected less than 1"),
        (["--transformer-training.ema-decay", "1"], "expected less than 1"),
        (["--tokenizer.num-codes", "1"], "expected 2 or more"),
        (["--stage", "gan", "--gan.width", "1"], "expected 2 or more"),
        (["--stage", "gan", "--gan.patch", "3"], "not a multiple"),
        (["--stage", "diffusion", "--diffusion.width", "12"], "multiple of 8"),
    ],
)
def test_invalid_training_options_are_refused_in_one_line(tmp_path, capsys, arguments, complaint):
    out = ["--out", str(tmp_path / "run")]
    assert complaint in error_line(capsys, train, *out, *TINY_RUN, *arguments)


def test_a_probe_of_few_steps_has_a_folder_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--stage", "gan", *TINY_RUN]
    train.main([*options, "--max-steps", "1"])
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"done: {Path('runs/demo-1-steps')}; next: ")
    train.main([*options, "--gan-training.steps", "2"])
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"done: {Path('runs/demo')}; next: ")
    train.main([*options, "--max-steps", "2", "--out", "elsewhere"])
    train.main(["--stage", "gan", "--max-steps", "1", "--resume"])
    assert "runs/demo-1-steps/gan: trained already" in Path(capsys.readouterr().out).as_posix()
    assert {path.name for path in Path("runs").iterdir()} == {"demo", "demo-1-steps"}
    assert open_run(Path("runs/demo-1-steps")).config.gan_training.steps == 1
    assert open_run(Path("runs/demo")).config.gan_training.steps == 2


@pytest.mark.parametrize(
    "arguments, folder",
    [
        (["--full"], "full"),
        (["--full", "--max-steps", "3"], "full-3-steps"),
        (["--preset", "paper", "--max_steps=3"], "paper-3-steps"),
        (["--full", "--max-steps", "3", "--resume"], "full"),  # there is no such probe
    ],
)
def test_where_a_run_goes_without_out(arguments, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert starting_point(arguments)[1] == Path("runs") / folder


def test_a_diverging_loss_stops_training_and_names_the_step(tmp_path, capsys):
    wild = ["--tokenizer-training.learning-rate", "1e30", "--tokenizer-training.steps", "20"]
    printed = error_line(capsys, train, "--out", str(tmp_path / "run"), *TINY_RUN, *wild)
    assert "at step" in printed and "lower learning rate" in printed


# --- generate ---


def test_generate_writes_a_grid_and_an_animation_of_the_requested_class(run_folder, tmp_path, capsys):
    out, gif = tmp_path / "deep" / "grid.png", tmp_path / "decode.gif"
    options = ["--label", "heart", "--steps", "4", "--count", "6", "--out", str(out), "--gif", str(gif)]
    generate.main(["--run", str(run_folder), *options])
    assert str(out) in capsys.readouterr().out
    assert Image.open(out).size > (200, 200)
    assert 2 <= Image.open(gif).n_frames <= 5  # a blank canvas and four steps; equal frames are merged


def test_the_requested_classes_are_generated_in_turns_and_named(run_folder, tmp_path, monkeypatch):
    seen, (draw, grid) = [], (generate.generate, figures.grid)
    monkeypatch.setattr(generate, "generate", lambda *given: seen.append(given[3].tolist()) or draw(*given))
    monkeypatch.setattr(figures, "grid", lambda images, **how: seen.append(how["titles"]) or grid(images, **how))
    options = ["--label", "heart", "star", "--steps", "1", "--count", "4", "--out", str(tmp_path / "grid.png")]
    generate.main(["--run", str(run_folder), *options])
    heart, star = (GLYPH_NAMES.index(name) for name in ("heart", "star"))
    assert seen == [[heart, star, heart, star], ["heart", "star", "heart", "star"]]


def test_generate_and_compare_have_written_their_files_when_they_print(run_folder, tmp_path):
    out, gif = tmp_path / "grid.png", tmp_path / "decode.gif"
    with contextlib.redirect_stdout(Left()), pytest.raises(BrokenPipeError):
        generate.main(["--run", str(run_folder), "--count", "1", "--steps", "1", "--out", str(out), "--gif", str(gif)])
    assert out.exists() and gif.exists()
    quick = ["--steps", "1", "--repeats", "1", "--batches", "1", "--shown", "1"]
    with contextlib.redirect_stdout(Left()), pytest.raises(BrokenPipeError):
        compare.main(["--run", str(run_folder), *quick, "--out", str(tmp_path)])
    assert (tmp_path / "compare.json").exists() and (tmp_path / "race.gif").exists()


def test_generate_repeats_images_for_the_same_seed_only(run_folder, tmp_path):
    def picture(seed: int, name: str) -> bytes:
        path = tmp_path / name
        generate.main(["--run", str(run_folder), "--count", "4", "--seed", str(seed), "--out", str(path)])
        return path.read_bytes()

    first = picture(1, "a.png")
    assert first == picture(1, "b.png")
    assert first != picture(2, "c.png")


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--label", "hart"], "heart"),
        (["--label", "10"], "10"),
        (["--label", "star", "hart"], "heart"),
        (["--steps", "0"], "expected 1 to 64"),
        (["--steps", "65"], "expected 1 to 64"),
        (["--count", "0"], "expected 1 or more"),
        (["--temperature", "-1"], "expected 0 or more"),
        (["--device", "abacus"], "no device"),
    ],
)
def test_generate_refuses_invalid_options_in_one_line(run_folder, tmp_path, capsys, arguments, complaint):
    out = ["--out", str(tmp_path / "x.png")]
    assert complaint in error_line(capsys, generate, "--run", str(run_folder), *out, *arguments)
    assert not (tmp_path / "x.png").exists()


def test_generate_without_a_run_says_how_to_train_one(tmp_path, capsys):
    assert "minimaskgit.train" in error_line(capsys, generate, "--run", str(tmp_path / "none"))
    assert "minimaskgit.train" in error_line(capsys, generate, "--run", str(tmp_path))


def test_damaged_weights_are_named(run_folder, tmp_path, capsys):
    copy = tmp_path / "run"
    for file in run_folder.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".safetensors"):
            target = copy / file.relative_to(run_folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    weights = copy / "transformer/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "transformer are damaged" in error_line(capsys, generate, "--run", str(copy))


# --- compare, demo, bench ---


def test_compare_times_both_decoders_and_draws_the_race(run_folder, tmp_path, capsys):
    options = ["--batches", "1", "2", "--repeats", "1", "--shown", "2", "--out", str(tmp_path)]
    compare.main(["--run", str(run_folder), *options])
    result = json.loads((tmp_path / "compare.json").read_text("utf-8"))
    passes = {row["decoder"]: row["passes"] for row in result["rows"]}
    assert passes == {"MaskGIT": 8, "autoregressive, cache": 64, "autoregressive, no cache": 64}
    for row in result["rows"]:
        assert set(row["batch"]) == {"1", "2"}
        assert all(speed["images_per_second"] > 0 for speed in row["batch"].values())
    for name in ("compare.png", "decoding.png", "race.gif"):
        assert Image.open(tmp_path / name).size > (100, 100)
    assert "images/s" in capsys.readouterr().out


def test_a_speed_is_the_median_in_images_per_second_and_compared_with_the_first_decoder(run_folder, monkeypatch):
    taken = {("MaskGIT", 4): [9.0, 2.0, 1.0], ("twin", 4): [4.0, 1.0, 90.0]}
    monkeypatch.setattr(race, "interleaved", lambda works, *_: {work: taken[work] for work in works})
    decoders = {"MaskGIT": (8, print), "twin": (64, print)}  # which are not called
    rows = race.measure(open_run(run_folder, "cpu"), decoders, [4], 3)
    assert [row["batch"]["4"] for row in rows] == [
        {"seconds": 2.0, "images_per_second": 2.0},
        {"seconds": 4.0, "images_per_second": 1.0},
    ]
    assert [line.split()[-1] for line in race.table(rows).splitlines()[1:]] == ["x1.00", "x0.50"]


@pytest.mark.parametrize("arguments", [["--batches", "0"], ["--repeats", "0"], ["--steps", "0"], ["--shown", "0"]])
def test_compare_refuses_invalid_options_in_one_line(run_folder, capsys, arguments):
    assert "expected" in error_line(capsys, compare, "--run", str(run_folder), *arguments)


def test_a_rehearsal_times_every_stage_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = config.Config(
        images=config.ImagesConfig(size=16),
        tokenizer=config.TokenizerConfig(width=8, num_codes=16, code_dim=4),
        transformer=config.TransformerConfig(width=16, depth=1, heads=2, mlp_width=16),
        precision="fp32",
    )
    taken = rehearsal.seconds_per_step(settings, "cpu")
    stages = ["classifier", "tokenizer", "transformer", "autoregressive", "judge/classifier"]
    assert list(taken) == stages and all(seconds > 0 for seconds in taken.values())
    assert not list(tmp_path.glob("tmp*")) and capsys.readouterr().out == ""


@pytest.mark.parametrize(("gan_start", "joined"), [(0.8, 1), (0.6, 2), (0.4, 3), (0.0, 5), (1.0, 0)])
def test_the_discriminator_joins_in_its_share_of_the_steps_that_a_rehearsal_counts(gan_start, joined):
    asked = config.Config(tokenizer_training=config.TokenizerTraining(gan_start=gan_start))
    settings = rehearsal.shortened(asked).tokenizer_training
    assert sum(step >= settings.gan_start * settings.steps for step in range(1, rehearsal.STEPS)) == joined


def test_ctrl_c_amid_a_rehearsal_does_not_promise_that_anything_can_be_resumed(tmp_path, monkeypatch):
    def stopped(config, folder, *rest, **options):
        raise KeyboardInterrupt(f"{folder} is kept")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(rehearsal, "train", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        rehearsal.seconds_per_step(config.Config())
    assert not list(tmp_path.iterdir())


def test_a_forecast_is_steps_times_seconds_per_step():
    settings = config.Config()  # 250 and twice as many, 1200, 5600 and 5600 steps
    text = rehearsal.forecast(
        settings, {"classifier": 0.1, "tokenizer": 0.1, "transformer": 1, "judge/classifier": 0.1}
    )
    assert "97 min" in text and "classifier 25 s" in text and "transformer 93 min" in text and "judge 50 s" in text


def test_rates_are_medians_of_images_and_operations_per_second():
    model, seconds = tiny_transformer(), {"passes 2": [2.0, 4.0], "parallel 2": [1.0, 3.0], "training": [0.5, 0.5]}
    shape = bench.Shape(9, 11, TransformerConfig())
    options = bench.Options(batches=(2,), train_batch=4)
    found = bench.rates(seconds, model, shape, options, peak=1e9, published=None)
    assert found["decoding"]["2"] == {"over_bare_passes": {"parallel": 0.625}, "images_per_second": {"parallel": 1.0}}
    flops = transformer_flops(model, 4)
    assert found["training"] == {
        "images_per_second": 8.0,
        "gflops_per_second": pytest.approx(2 * flops / 1e9),
        "mfu": pytest.approx(2 * flops / 1e9),
    }


def test_the_bench_names_its_file_by_machine_and_precision():
    found = {"name": "AMD EPYC(tm) 9", "precision": "fp32", "limits": {}}
    assert bench.file_name(found) == "amd-epyc-tm-9-fp32"
    assert bench.file_name(found | {"limits": {"X": "1"}}).endswith("fp32-limited")


@pytest.mark.slow
def test_the_demo_writes_a_report_and_a_second_demo_keeps_the_trained_models(tmp_path, capsys):
    folder = tmp_path / "demo"
    for _ in range(2):
        demo.main(["--out", str(folder), *TINY_RUN])
    printed = capsys.readouterr().out
    assert "trained already, kept" in printed and printed.count("training takes about") == 1
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert report["samples"] == 500
    for name in ("class_accuracy", "palette_accuracy", "without_strays"):
        assert 0 <= report[name] <= 1 and 0 <= report["autoregressive"][name] <= 1
    assert printed.count("without strays") == 4  # two decoders, twice
    stages = report["seconds_by_stage"]
    assert report["seconds"] == pytest.approx(stages["classifier"] + stages["tokenizer"] + stages["transformer"])


@pytest.mark.slow
def test_the_bench_saves_its_rates(tmp_path):
    out = tmp_path / "deep" / "bench.json"
    bench.main(["--out", str(out), "--repeats", "1", "--batches", "1", "--train-batch", "1", "--steps", "2"])
    result = json.loads(out.read_text("utf-8"))
    for shape in result["shapes"].values():
        assert set(shape["decoding"]["1"]["over_bare_passes"]) >= {"parallel", "one class"}
        assert shape["training"]["mfu"] > 0
        assert set(shape["decoding"]["1"]["images_per_second"]) >= {"parallel", "one class", "cache"}
        assert shape["training"]["gflops_per_second"] > 0 and shape["matmul_gflops_per_second"] > 0
    for tokenizer in result["tokenizers"].values():
        assert all(tokenizer["images_per_second"][kind] > 0 for kind in ("training", "encoding", "decoding"))


# --- as typed by a user ---


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they like")
@pytest.mark.parametrize("keeping", [True, False])
def test_commands_reuse_freed_memory_instead_of_requesting_new_pages(keeping):
    lines = [
        "import resource, torch",
        "from minimaskgit.common import cli",
        "def work():",
        "    for step in range(8):  # the first few may still find the gaps too narrow for their alignment",
        "        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt",
        "        torch.zeros(64, 2**20)  # 256 MB, freed at once",
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)",
        "cli.run(work)" if keeping else "work()",
    ]
    shown = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120)
    assert (int(shown.stdout) < 50) == keeping, shown


def test_characters_that_a_terminal_cannot_show_are_printed_as_question_marks(monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", shown)
    cli.run(lambda: print("γ(r) → 0"))
    assert shown.buffer.getvalue().split() == [b"?(r)", b"?", b"0"]


def command(name: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"minimaskgit.{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_ctrl_c_amid_the_imports_of_a_command_ends_it_in_one_line_even_if_a_library_catches_everything(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    print('lost')\n",
        "utf-8",
    )
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "PYTHONSAFEPATH": ""}
    stopped = command("generate", cwd=tmp_path, env=environment)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (130, "", "\nstopped\n")


@pytest.mark.parametrize(
    ("before", "within"),
    [(minimaskgit.stop_at_once, signal.default_int_handler), (signal.SIG_IGN, signal.SIG_IGN)],
)
def test_ctrl_c_can_be_handled_only_while_a_command_works_and_one_in_the_background_ignores_it(before, within):
    kept, seen = signal.signal(signal.SIGINT, before), []
    try:
        cli.run(lambda: seen.append(signal.getsignal(signal.SIGINT)))
        seen.append(signal.getsignal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, kept)
    assert seen == [within, before]


@pytest.mark.slow
def test_help_explains_the_options_and_a_wrong_option_exits_with_2():
    shown = command("generate", "--help")  # of the other commands, test_help.py looks at the text
    assert shown.returncode == 0 and "--device" in shown.stdout
    wrong = command("generate", "--no-such-option")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr


@pytest.mark.slow
def test_a_missing_run_is_reported_in_one_line_without_traceback():
    gone = command("generate", "--run", "nowhere")
    assert gone.returncode == 2
    assert gone.stderr.startswith("error: no run folder nowhere") and gone.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("posix")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_can_be_resumed(tmp_path, number):
    folder = tmp_path / "run"
    arguments = ["--out", str(folder), *TINY_RUN, "--tokenizer-training.steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minimaskgit.train", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(1200):  # until it is well into the tokenizer
        if (folder / "tokenizer/metrics.jsonl").exists() and (folder / "tokenizer/metrics.jsonl").read_text("utf-8"):
            break
        time.sleep(0.1)
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in printed
    assert "to resume, run it again" in printed
    assert checkpoints(folder / "tokenizer")


# --- on photographs ---


@pytest.mark.slow
def test_every_stage_runs_on_tiny_imagenet(tiny_imagenet, tmp_path):
    folder = tmp_path / "run"
    source = ["--data", str(tiny_imagenet), "--images.classes", "goldfish", "monarch", "--images.size", "64"]
    train.main(["--out", str(folder), *TINY_RUN, *source, "--images.flip", "--tokenizer.patch", "8"])
    generate.main(["--run", str(folder), "--label", "goldfish", "--count", "2", "--out", str(tmp_path / "x.png")])
    compare.main(["--run", str(folder), "--batches", "1", "--repeats", "1", "--shown", "2"])
    assert open_run(folder).label_names == ["goldfish", "monarch"]
    assert (folder / "compare/race.gif").exists()


def test_an_unavailable_hub_data_set_is_reported_in_one_line(tmp_path, capsys, monkeypatch):
    def offline(*args, **kwargs):
        raise UserError("nobody/nothing: not to be had; download it elsewhere and pass its folder with --data")

    monkeypatch.setattr(session, "load_data", offline)
    assert "--data" in error_line(capsys, train, "--out", str(tmp_path / "run"), "--data", "nobody/nothing")
    assert not (tmp_path / "run").exists()  # nothing incomplete is left


# --- export ---


def test_an_export_is_a_run_in_bfloat16_that_generates(run_folder, tmp_path, capsys):
    out = tmp_path / "exported"
    export.main(["--run", str(run_folder), "--out", str(out), "--samples", "24"])
    for name in ("tokenizer", "transformer"):
        weights = load_file(out / name / "model.safetensors")
        assert all(tensor.dtype == torch.bfloat16 for tensor in weights.values() if tensor.is_floating_point())
    card = (out / "README.md").read_text("utf-8")
    assert "of the asked class" in card and "the settings of config.json" in card
    capsys.readouterr()
    generate.main(["--run", str(out), "--label", "heart", "--count", "2", "--out", str(tmp_path / "grid.png")])
    assert Image.open(tmp_path / "grid.png").size > (100, 100)
    assert "already exists" in error_line(capsys, export, "--run", str(run_folder), "--out", str(out))


def test_an_export_is_whole_or_absent(run_folder, tmp_path, capsys, monkeypatch):
    def failing(*arguments):
        raise UserError("no images")

    given = ("--run", str(run_folder), "--out", str(tmp_path / "exported"), "--samples", "20", "--metrics", "class")
    with monkeypatch.context() as patch:
        patch.setattr(export, "evaluate", failing)
        assert "no images" in error_line(capsys, export, *given)
    assert not (tmp_path / "exported").exists()
    export.main(given)
    assert {"README.md", "evaluation.json", "judge"} < {path.name for path in (tmp_path / "exported").iterdir()}


def test_pretrained_weights_are_found_by_name(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "PRETRAINED", run_folder.parent)
    out = str(tmp_path / "grid.png")
    generate.main(["--pretrained", "tiny", "--label", "star", "--count", "2", "--out", out])
    assert Image.open(out).size > (100, 100)
    assert "available: tiny" in error_line(capsys, generate, "--pretrained", "huge", "--out", out)
    one = "expected either --run FOLDER or --pretrained NAME"
    assert one in error_line(capsys, generate, "--out", out)
    assert one in error_line(capsys, generate, "--pretrained", "tiny", "--run", str(run_folder))
