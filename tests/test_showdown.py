"""The showdown end to end, and its verdicts."""

import json

import pytest
import torch
from command_line import TINY_RUN, error_line
from PIL import Image
from safetensors.torch import load_file
from test_training import tiny_session

from minimaskgit import compare, train
from minimaskgit.measuring import claims, showdown
from minimaskgit.measuring.pictures import sample
from minimaskgit.measuring.samplers import training_seconds
from minimaskgit.runs.config import DiffusionConfig, DiffusionTraining, GanConfig, GanTraining
from minimaskgit.runs.run import open_run
from minimaskgit.training import stages


@pytest.fixture(scope="module")
def result(showdown_folder) -> dict:
    return claims.load(showdown_folder / "showdown/compare.json")


@pytest.fixture(scope="module")
def showdown_folder(tmp_path_factory):
    """A tiny run from scratch to the showdown, with few steps and few samples."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train.main(["--out", str(folder), "--stage", "tokenizer", *TINY_RUN])  # compare trains everything else
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(showdown, "DIFFUSION_STEPS", (250, 2))
        patch.setattr(showdown, "EDITS", 20)
        options = ["--batches", "1", "2", "--repeats", "1", "--shown", "2", "--samples", "20"]
        compare.main(["--run", str(folder), "--showdown", *options])
    return folder


@pytest.mark.slow
def test_every_model_is_timed_and_judged(showdown_folder, result):
    assert [row["name"].split(",")[0] for row in result["rows"]] == [
        *("MaskGIT", "MaskGIT", "autoregressive", "autoregressive", "GAN", "diffusion", "diffusion"),
    ]
    for row in result["rows"]:
        assert set(row["scores"]) == set(result["real"]) and row["parameters"] > 0
        assert all(speed["seconds"] > 0 for speed in row["batch"].values())
    passes = {row["name"]: row["passes"] for row in result["rows"]}
    assert passes["MaskGIT, T = 8"] == 8 and passes["autoregressive, cache"] == 64
    assert passes["GAN"] == 1 and passes["diffusion, 250 steps"] == 250
    for name in ("showdown.png", "quality.png", "compare.png", "race.gif"):
        assert Image.open(showdown_folder / "showdown" / name).size > (100, 100)


@pytest.mark.slow
def test_training_seconds_include_all_stages_that_a_model_depends_on(showdown_folder, result):
    def seconds(stage: str) -> float:
        return json.loads((showdown_folder / stage / "evaluation.json").read_text("utf-8"))["seconds"]

    rows = {row["name"]: row for row in result["rows"]}
    assert rows["GAN"]["training_seconds"] == seconds("gan")
    tokens = seconds("classifier") + seconds("tokenizer")
    assert rows["MaskGIT, T = 8"]["training_seconds"] == pytest.approx(tokens + seconds("transformer"))
    run = open_run(showdown_folder)
    assert training_seconds(run, "autoregressive") == pytest.approx(tokens + seconds("autoregressive"))


@pytest.mark.slow
def test_the_cache_changes_no_picture_so_quality_is_measured_once(showdown_folder, result):
    run, labels = open_run(showdown_folder), torch.arange(4)
    samplers = showdown.contestants(run, run.config.decoding)
    with_cache, without = (
        sample(run, samplers[f"autoregressive, {name}"].draw, labels, 0).images for name in ("cache", "no cache")
    )
    assert (with_cache.float() - without.float()).abs().max() <= 8  # bf16 rounds differently; the tokens are the same
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["autoregressive, cache"]["scores"] == rows["autoregressive, no cache"]["scores"]


@pytest.mark.slow
def test_the_table_has_a_line_for_each_model_and_one_for_real_images(result):
    lines = showdown.table(result).splitlines()
    for row in result["rows"]:
        assert sum(line.split("  ")[0] == row["name"] for line in lines) == 1
    assert any(line.startswith("real images") for line in lines)
    assert any("not comparable with published FID" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("better", [True, False])
def test_a_verdict_follows_the_measured_numbers_in_either_direction(result, better):
    changed = json.loads(json.dumps(result))
    for row in changed["rows"]:
        ours = row["name"].startswith("MaskGIT") == better
        row["scores"] |= {"fd": 1.0 if ours else 2.0, "recall": 0.6 if ours else 0.3, "cas": 0.9 if ours else 0.5}
        for speed in row["batch"].values():
            speed["images_per_second"] = 10.0 if ours else 1.0
    for edited in changed["edits"].values():
        for name, scores in edited.items():
            scores |= dict.fromkeys(scores, 0.9 if (name == "MaskGIT") == better else 0.5)
    verdicts = [claim["verdict"] for claim in claims.claims(changed) if "fewer passes" not in claim["claim"]]
    assert set(verdicts) == {"holds" if better else "does not hold here"}
    assert claims.claims_table(claims.claims(changed)).count("\n") == len(verdicts) + 2


@pytest.mark.usefixtures("own_accelerator")
def test_rivals_ignore_the_parts_into_which_a_run_cuts_its_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(showdown, "STAGES", tuple(stages.RIVALS))
    small = {
        "gan": GanConfig(width=8, latent=4, multipliers=(1, 2)),
        "gan_training": GanTraining(steps=2, batch_size=3),
        "diffusion": DiffusionConfig(width=8, multipliers=(1, 2)),
        "diffusion_training": DiffusionTraining(steps=2, batch_size=3),
    }
    for accumulate in (1, 2):
        folder = tmp_path / str(accumulate)
        tiny_session(folder, accumulate=accumulate, **small)
        showdown.train_missing(folder, "cpu")
    for rival in stages.RIVALS:
        whole, cut = (load_file(tmp_path / number / rival / "model.safetensors") for number in "12")
        assert all(torch.equal(whole[key], cut[key]) for key in whole), rival


def test_too_few_samples_are_refused_before_anything_is_trained(tmp_path, capsys):
    arguments = ("--run", str(tmp_path / "run"), "--showdown", "--samples", "19")
    assert "expected 20 or more" in error_line(capsys, compare, *arguments)
    assert not (tmp_path / "run").exists()
