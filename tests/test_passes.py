"""Quality against passes: what is measured, kept and reported."""

import json
import shutil

import pytest
from command_line import TINY_RUN, error_line
from PIL import Image

from minimaskgit import passes, train
from minimaskgit.measuring import passes as measuring

FEW = [
    "--decoders",
    "maskgit",
    "halton",
    "--steps",
    "1",
    "3",
    "--samples",
    "20",
    "--reference",
    "30",
    "--seeds",
    "0",
    "1",
]


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


def test_curves_have_the_mean_and_interval_of_the_seeds(run):
    curves = measuring.curves(result(run))
    points = result(run)["points"]
    both = [points[f"halton, T = 3/{seed}"]["fd"] for seed in (0, 1)]
    found = curves["halton"][1]
    assert list(curves) == ["maskgit", "halton", "autoregressive"] and found["passes"] == 3
    assert found["fd"]["mean"] == pytest.approx(sum(both) / 2)
    assert found["fd"]["interval"] == pytest.approx(12.706 * abs(both[0] - both[1]) / 2, rel=1e-3)


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


def test_more_steps_than_tokens_are_refused(run, capsys):
    assert "expected 1 to 64" in error_line(capsys, passes, "--run", str(run), "--steps", "65")
    assert "one or more seeds" in error_line(capsys, passes, "--run", str(run), "--seeds")
    assert "3 neighbours of 3 images" in error_line(capsys, passes, "--run", str(run), *FEW, "--samples", "3")
