"""The ablation of the recipe: equal time, paired seeds, images that nobody learned from; end to end on a tiny run."""

import json
import math
import shutil
import statistics
import subprocess
import sys

import pytest
import torch
from command_line import TINY_RUN, error_line
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minimaskgit import recipe
from minimaskgit.data.images import ImageData
from minimaskgit.figures import differences
from minimaskgit.measuring import recipe as measuring
from minimaskgit.measuring.changes import BASE, VARIANTS, changed, differing, is_free
from minimaskgit.runs.checks import check
from minimaskgit.runs.config import load_config
from minimaskgit.runs.presets import demo, photos
from minimaskgit.runs.run import open_run
from minimaskgit.training import judge

FEW = ["--samples", "20", "--reference", "30", "--seeds", "0", "1", *TINY_RUN]
CHOSEN = ["--variants", "mask-beta", "transformer/rope", "autoregressive/qk-norm", "rotation-trick"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A finished ablation of four changes: timed first, as if on another machine, then trained two at a time."""
    folder = tmp_path_factory.mktemp("recipe") / "out"
    recipe.main([*CHOSEN, "--out", str(folder), *FEW, "--plan"])
    planned = result(folder)
    assert len(planned["costs"]) == 3 and not planned["models"] and [*folder.iterdir()] == [folder / "recipe.json"]
    recipe.main([*CHOSEN, "--out", str(folder), *FEW, "--jobs", "2"])
    assert result(folder)["costs"] == planned["costs"] and result(folder)["timed"] == planned["timed"]
    return folder


def result(folder) -> dict:
    return json.loads((folder / "recipe.json").read_text("utf-8"))


def test_every_change_is_trained_and_measured_with_every_seed_beside_its_base(out):
    pairs = {"tokenizer": ["rotation-trick"], "transformer": ["mask-beta", "rope"], "autoregressive": ["qk-norm"]}
    expected = {
        f"{stage}/{name}/{seed}" for stage, names in pairs.items() for name in (BASE, *names) for seed in (0, 1)
    }
    models = result(out)["models"]
    assert set(models) == expected
    assert all(math.isfinite(score) for model in models.values() for score in model["scores"].values())
    assert Image.open(out / "recipe.png").width > 300


def test_a_change_is_in_the_settings_of_its_models_and_in_no_others(out):
    for key in result(out)["models"]:
        stage, name, seed = key.split("/")
        config = load_config(out / stage / f"{name}-{seed}" / "config.json")
        assert config.seed == int(seed)
        assert config.transformer.rope == (name == "rope") and config.transformer.qk_norm == (name == "qk-norm")
        assert (config.transformer_training.schedule == "beta") == (name == "mask-beta")
        assert config.tokenizer.rotate == (name == "rotation-trick")
        assert config.precision != "auto"  # chosen once, not by each process while the others are at work


def test_all_transformers_learn_the_tokens_of_one_tokenizer(out):
    first = (out / "tokenizer" / "base-0" / "tokenizer" / "model.safetensors").read_bytes()
    folders = [path for stage in ("transformer", "autoregressive") for path in (out / stage).iterdir()]
    assert len(folders) == 10
    assert all((folder / "tokenizer" / "model.safetensors").read_bytes() == first for folder in folders)


def pictures(data: ImageData) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.batch(torch.arange(len(data)))[0]}


def test_the_judge_learns_from_pictures_that_no_model_learns_from(out, tmp_path, monkeypatch):
    copy, heard, train = tmp_path / "copy", [], judge.train_classifier
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "tokenizer/base-0/judge")
    monkeypatch.setattr(judge, "train_classifier", lambda session: heard.append(session.train) or train(session))
    measuring.judged(measuring.Options(out=copy, seeds=(0, 1)))
    for seed in (0, 1):
        run = open_run(out / "transformer" / f"base-{seed}")
        assert not pictures(heard[0]) & pictures(measuring.run_data(run, "train", run.config.images.count))


@pytest.mark.parametrize("stage", ["tokenizer", "transformer"])
def test_no_picture_is_drawn_that_measures_nothing(out, monkeypatch, stage):
    asked, run_data = [], measuring.run_data
    monkeypatch.setattr(measuring, "run_data", lambda run, *rest: asked.append(rest) or run_data(run, *rest))
    run = open_run(out / stage / "base-0")
    measuring.MEASURES[stage](run, measuring.Options(out=out, samples=20, reference=30))
    assert asked == [("train", run.config.images.count + 30 + 20 * (stage == "tokenizer"))]


def test_the_pictures_to_measure_with_are_none_that_a_model_learned_from(out):
    options = measuring.Options(samples=20, reference=30)
    run = open_run(out / "tokenizer" / "base-0")
    known = pictures(measuring.run_data(run, "train", run.config.images.count))
    reference, second = measuring.fresh(run, options.reference, options.samples)
    seen = [image.numpy().tobytes() for image in torch.cat([reference.images, second.images])]
    assert len(set(seen)) == 50 and not known & set(seen)


def test_finished_models_are_kept_and_another_recipe_is_refused(out, capsys):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    recipe.main([*CHOSEN, "--out", str(out), *FEW])
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == before
    assert "cannot be told" in capsys.readouterr().out
    line = error_line(capsys, recipe, *CHOSEN, "--out", str(out), *FEW, "--transformer.depth", "2")
    assert "another recipe" in line and "--out" in line
    line = error_line(capsys, recipe, *CHOSEN, "--out", str(out), *FEW, "--share", "0.5")
    assert "made with other settings" in line


def test_an_unknown_change_is_refused_with_all_names(capsys, tmp_path):
    line = error_line(capsys, recipe, "--variants", "ropes", "--out", str(tmp_path / "new"))
    assert "ropes" in line and "transformer/rope" in line and not (tmp_path / "new").exists()


def test_a_change_that_changes_nothing_is_refused(capsys, tmp_path):
    same = ["--preset", "demo", "--variants", "perceptual-1", "--out", str(tmp_path / "new")]
    assert "so there is nothing to compare" in error_line(capsys, recipe, *same)


def test_seeds_are_given_together(capsys):
    assert "give --seeds" in error_line(capsys, recipe, "--seed", "3")
    assert "one or more seeds" in error_line(capsys, recipe, "--seeds")
    assert "3 neighbours of 3 images" in error_line(capsys, recipe, "--samples", "3")
    assert "--images.count: expected a number" in error_line(capsys, recipe, "--preset", "full")


def test_models_trained_side_by_side_are_those_trained_one_after_another(out, tmp_path):
    alone = tmp_path / "alone"
    (alone / "tokenizer").mkdir(parents=True)
    shutil.copytree(out / "tokenizer" / "base-0", alone / "tokenizer" / "base-0")
    recipe.main(["--variants", "mask-beta", "--out", str(alone), *FEW])
    for key, model in result(alone)["models"].items():
        beside = result(out)["models"][key]
        assert model["steps"] == beside["steps"] and model["scores"] == pytest.approx(beside["scores"], rel=0.02)


def test_models_in_training_end_with_the_command_that_began_them(tmp_path):
    """Also when it is killed: its output ends only once no process that inherited it is left."""
    script = tmp_path / "command.py"
    script.write_text(
        "import time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from minimaskgit.measuring.recipe import prepare_worker\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, get_context('spawn'), prepare_worker, (1,))\n"
        "    pool.submit(abs, -1).result()\n"
        "    pool.submit(time.sleep, 600)\n"
        "    print('at work', flush=True)\n"
    )
    command = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert command.stdout.readline() == "at work\n"
        command.kill()
        command.communicate(timeout=60)
    finally:
        command.kill()


@pytest.mark.usefixtures("posix")
def test_ctrl_c_amid_the_imports_of_a_process_that_trains_prints_nothing(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(
        "import signal\n"
        "if __name__ == '__mp_main__':\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "from minimaskgit.common.errors import UserError\n"
        "from minimaskgit.measuring.recipe import Options, measured\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        next(measured({'transformer/base/0': ({}, None)}, Options(jobs=2)))\n"
        "    except UserError as error:\n"
        "        print(error)\n"
    )
    command = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert "was killed" in command.stdout and not command.stderr


def test_a_slower_step_means_fewer_steps_whatever_else_the_machine_does_meanwhile(monkeypatch, tmp_path):
    costs = iter([1.0, 2.0, *[5.0, 2.0, 1.0, 7.0] * (measuring.ROUNDS // 2)])
    monkeypatch.setattr(measuring, "seconds_per_step", lambda *args, **options: {"transformer": next(costs)})
    options, kept = measuring.Options(share=0.5, out=tmp_path, config=demo()), {"costs": {}}
    variants = VARIANTS["transformer"]
    slow = measuring.settings_of("transformer", variants["rope"], options, kept)
    again = measuring.settings_of("transformer", variants["rope"], options, kept)  # not timed
    free = measuring.settings_of("transformer", variants["mask-beta"], options, kept)
    whole = demo().transformer_training.steps
    assert slow == again and slow.transformer_training.steps == round(whole / 4)
    assert free.transformer_training.steps == round(whole / 2)


@pytest.mark.parametrize(
    ("name", "free"), [("perceptual-0.1", True), ("perceptual-0", False), ("adversary-off", False), ("no-crop", True)]
)
def test_another_weight_of_a_loss_takes_no_time_but_leaving_the_loss_out_saves_some(name, free):
    assert is_free(demo(), VARIANTS["tokenizer"][name]) is free


@pytest.mark.parametrize("preset", [demo, photos])
@pytest.mark.parametrize("stage", VARIANTS)
def test_every_change_makes_valid_settings_and_the_base_s_own_is_left_out(stage, preset):
    for name, changes in VARIANTS[stage].items():
        changed_base = changed(preset(), changes)
        check(changed_base)
        assert name not in differing(changed_base, ())[stage]


def test_a_change_that_cannot_work_is_refused_before_anything_is_trained(tmp_path, capsys):
    given = ("--variants", "codes-512", "patch-8", "--images.size", "20", "--out", str(tmp_path / "out"))
    assert "--images.size 20 is not a multiple of the downsampling 8" in error_line(capsys, recipe, *given)
    assert not (tmp_path / "out").exists()


@given(gaps=st.lists(st.floats(-3, 3), min_size=2, max_size=6))
def test_a_verdict_needs_an_interval_that_leaves_zero_out(gaps):
    models = {}
    for seed, gap in enumerate(gaps):
        models[f"transformer/base/{seed}"] = {"steps": 1, "scores": {"fd": 5.0}}
        models[f"transformer/rope/{seed}"] = {"steps": 1, "scores": {"fd": 5.0 + gap}}
    row = measuring.differences({"models": models})[1]
    assert row["difference"] == pytest.approx(statistics.mean(gaps), abs=1e-9)
    expected = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}[len(gaps)]  # Student's t, two-sided 95 %
    error = statistics.stdev(gaps) / len(gaps) ** 0.5
    assert row["interval"] == pytest.approx(expected * error, rel=1e-3, abs=1e-6)
    told = abs(row["difference"]) > row["interval"]
    better = "better" if row["difference"] < 0 else "worse"
    assert row["verdict"] == (better if told else "cannot be told")
    assert (f"{better}: rope" in measuring.summary([row])) == told


def test_one_seed_decides_nothing():
    models = {"transformer/base/0": {"steps": 1, "scores": {"fd": 5.0}}}
    models["transformer/rope/0"] = {"steps": 1, "scores": {"fd": 1.0}}
    assert measuring.differences({"models": models})[1]["verdict"] == "cannot be told"


def test_a_change_is_left_out_until_its_base_is_there(tmp_path):
    models = {"transformer/rope/0": {"steps": 1, "scores": {"fd": 1.0}}}
    assert measuring.differences({"models": models}) == [] and measuring.table({"models": models}) == ""
    models["transformer/base/1"] = {"steps": 1, "scores": {"fd": 5.0}}
    assert [row["name"] for row in measuring.differences({"models": models})] == ["base"]
    assert differences.draw(measuring.differences({"models": models})).width > 300
