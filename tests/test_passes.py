"""Quality against passes: what is measured, kept and reported."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import TINY_RUN, error_line
from PIL import Image
from safetensors.torch import load_file, save_file

from minimaskgit import passes, train
from minimaskgit.common.files import write_json
from minimaskgit.decoders.policy import Policy
from minimaskgit.measuring import passes as measuring
from minimaskgit.measuring.samplers import maskgit_sampler
from minimaskgit.runs.choices import SearchedConfig
from minimaskgit.runs.config import DecodingConfig
from minimaskgit.runs.run import open_run
from minimaskgit.runs.searched import Found, write_searched

FEW = ["--decoders", "maskgit", "halton", "--steps", "1", "3", "--samples", "20", "--reference", "30"]
FEW += ["--seeds", "0", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run with all but a diffusion model, and its finished measurement."""
    folder = tmp_path_factory.mktemp("passes") / "run"
    train.main([*TINY_RUN, "--out", str(folder)])
    passes.main(["--run", str(folder), *FEW])
    return folder


def result(run) -> dict:
    return json.loads((run / "passes" / "passes.json").read_text("utf-8"))


def test_every_decoder_is_measured_at_every_t_and_the_twin_once_with_every_seed(run):
    expected = {f"{name}, T = {steps}/{seed}" for name in ("maskgit", "halton") for steps in (1, 3) for seed in (0, 1)}
    points = result(run)["points"]
    assert set(points) == expected | {"autoregressive/0", "autoregressive/1"}
    assert {points[f"maskgit, T = {steps}/0"]["passes"] for steps in (1, 3)} == {1, 3}
    assert points["autoregressive/0"]["passes"] == 64
    assert Image.open(run / "passes" / "passes.png").width > 1000


def test_reconstructions_are_nearer_to_reconstructions_and_real_images_to_real_ones(run):
    real, through = (result(run)["real"][name] for name in ("second", "through"))
    assert through["fd_tokens"] < through["fd"] and real["fd"] < real["fd_tokens"]


def test_curves_have_the_mean_and_interval_of_the_seeds(run):
    curves = measuring.curves(result(run))
    points = result(run)["points"]
    both = [points[f"halton, T = 3/{seed}"]["fd"] for seed in (0, 1)]
    found = curves["halton"][1]
    assert list(curves) == ["maskgit", "halton", "autoregressive"] and found["passes"] == 3
    assert found["fd"]["mean"] == pytest.approx(sum(both) / 2)
    assert found["fd"]["interval"] == pytest.approx(12.706 * abs(both[0] - both[1]) / 2, rel=1e-3)


def test_every_score_has_a_table(run):
    text, points = measuring.table(result(run)), result(run)["points"]
    assert "mean of seeds 0, 1 ±" in text
    for title in measuring.TITLES.values():
        assert title in text
    assert all(0 <= point["without_strays"] <= 1 for point in points.values())


def test_the_table_says_so_if_some_points_lack_a_seed(run):
    found = result(run)
    assert "of them" not in measuring.table(found)
    del found["points"]["halton, T = 3/1"]
    assert "mean of seeds 0, 1 ± half the 95 % interval; some points have only 1 of them" in measuring.table(found)


def test_a_policy_is_measured_at_its_own_t(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    policies = {T: Policy((0.7,) * (T - 1) + (0.0,), (1.0,) * T, (0.9,) * T, (0.0,) * T) for T in (2, 3)}
    write_searched(copy, {T: Found(policy, {}) for T, policy in policies.items()})
    passes.main(["--run", str(copy), *FEW, "--decoders", "searched", "--steps", "2"])
    assert set(result(copy)["points"]) == {
        f"{name}/{seed}" for name in ("searched, T = 2", "autoregressive") for seed in (0, 1)
    }


def test_a_step_with_guidance_takes_two_passes(run):
    guided = DecodingConfig(steps=4, guidance=1.0)
    run = open_run(run, "cpu")
    assert maskgit_sampler(run, guided).passes == 8
    assert maskgit_sampler(run, replace(guided, guidance_start=0.5)).passes == 6
    assert maskgit_sampler(run, replace(guided, guidance=0.0)).passes == 4
    policy = Policy((0.7, 0.3, 0.0), choice=(1.0,) * 3, sampling=(1.0,) * 3, guidance=(0.0, 0.0, 1.0))
    assert maskgit_sampler(run, SearchedConfig(steps=3, guidance=1.0, policy=policy)).passes == 4


def test_the_progress_bar_counts_the_passes_that_the_results_count(run, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("passes")))
    config = json.loads((copy / "config.json").read_text("utf-8"))
    config["decoding"] |= {"guidance": 1.0, "guidance_start": 0.5}
    write_json(copy / "config.json", config)
    bars, tqdm = [], measuring.tqdm
    monkeypatch.setattr(measuring, "tqdm", lambda *given, **rest: bars.append(tqdm(*given, **rest)) or bars[-1])
    passes.main(["--run", str(copy), *FEW])
    points = result(copy)["points"]
    assert points["maskgit, T = 3/0"]["passes"] == 5 and points["autoregressive/0"]["passes"] == 64
    assert bars[0].total == bars[0].n == 20 * sum(point["passes"] for point in points.values())


def test_two_points_of_equally_many_passes_are_both_in_the_table(run):
    found = result(run)
    for key, point in list(found["points"].items()):
        if key.startswith("halton"):
            found["points"][key] = point | {"passes": 3, "precision": 0.111 if "T = 1" in key else 0.222}
    row = next(
        line for line in measuring.table(found).split("\nprecision")[1].splitlines() if line.startswith("halton")
    )
    assert "0.111 ±0, 0.222 ±0" in row


def test_a_missing_model_is_named_in_the_table(run):
    assert "no diffusion model in this run: left out" in measuring.table(result(run))


def test_points_are_kept_and_measured_anew_for_other_models(run, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    drawn, sample = [], measuring.sample
    monkeypatch.setattr(
        measuring,
        "sample",
        lambda run, draw, labels, seed, quiet: drawn.append(seed) or sample(run, draw, labels, seed, quiet),
    )
    passes.main(["--run", str(copy), *FEW])
    assert drawn == []
    passes.main(["--run", str(copy), *FEW[:-1], "2"])
    assert drawn == [2] * 5
    (copy / "transformer" / "model.safetensors").write_bytes(
        (copy / "autoregressive" / "model.safetensors").read_bytes()
    )
    drawn.clear()
    passes.main(["--run", str(copy), "--decoders", "maskgit", *FEW[3:]])
    assert sorted(drawn) == [0, 0, 0, 1, 1, 1]
    judge = copy / "judge" / "classifier" / "model.safetensors"
    save_file({name: value * 1.01 for name, value in load_file(judge).items()}, judge)
    drawn.clear()
    passes.main(["--run", str(copy), "--decoders", "maskgit", *FEW[3:]])
    assert sorted(drawn) == [0, 0, 0, 1, 1, 1]


def test_what_cannot_be_measured_is_refused(run, capsys):
    assert "has no policy for such steps" in error_line(capsys, passes, "--run", str(run), "--decoders", "searched")
    assert "expected 1 to 64" in error_line(capsys, passes, "--run", str(run), "--steps", "65")
    assert "one or more seeds" in error_line(capsys, passes, "--run", str(run), "--seeds")
    assert "3 neighbours of 3 images" in error_line(capsys, passes, "--run", str(run), *FEW, "--samples", "3")
