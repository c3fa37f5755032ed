"""The showdown end to end, and its verdicts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from command_line import TINY_RUN, error_line
from PIL import Image
from safetensors.torch import load_file
from sessions import tiny_session

from minimaskgit import compare, train
from minimaskgit.common.errors import UserError
from minimaskgit.decoders.policy import Policy
from minimaskgit.measuring import claims, showdown
from minimaskgit.measuring.pictures import sample
from minimaskgit.runs.choices import SearchedConfig, at_steps
from minimaskgit.runs.config import DiffusionConfig, DiffusionTraining, GanConfig, GanTraining
from minimaskgit.runs.run import open_run
from minimaskgit.runs.searched import Found, write_searched
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
    assert rows["autoregressive, cache"]["training_seconds"] == pytest.approx(tokens + seconds("autoregressive"))


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
    assert "only" not in lines[-1] and "only 3 real images were left" in showdown.table(result | {"real_images": 3})


def result_of(maskgit: list[float], others: list[float]) -> dict:
    """A result whose scores are `maskgit` for MaskGIT, with higher being better, and `others` for all other models."""
    names = ("MaskGIT, T = 8", "autoregressive, cache", "autoregressive, no cache", "GAN", "diffusion, 250 steps")
    rows = []
    for name in names:
        values = maskgit if name.startswith("MaskGIT") else others
        by_seed = [{"fd": 10 - value, "recall": value / 10, "cas": value / 10} for value in values]
        times = [1 / value for value in values]
        speed = {"seconds": times[0], "images_per_second": values[0], "times": times}
        row = {"name": name, "passes": 8, "scores": showdown.mean(by_seed), "by_seed": by_seed}
        rows.append(row | {"batch": {"1": speed, "64": speed}})
    each = [
        {
            name: {"asked_class": value / 10, "kept_palette": 1.0}
            for name, value in zip(("MaskGIT", "autoregressive"), pair)
        }
        for pair in zip(maskgit, others)
    ]
    edited = {name: showdown.mean([scores[name] for scores in each]) for name in each[0]} | {"by_seed": each}
    return {"rows": rows, "batches": [1, 64], "edits": {"all but the rim": edited}}


@pytest.mark.parametrize(
    ("maskgit", "others", "expected"),
    [
        ([5.0, 5.1, 4.9], [3.0, 3.1, 3.2], "holds"),
        ([3.0, 3.1, 3.2], [5.0, 5.1, 4.9], "does not hold here"),
        ([5.0, 3.0, 4.0], [3.0, 4.5, 3.5], "cannot be told"),
        ([5.0], [3.0], "cannot be told"),  # one seed tells nothing
    ],
)
def test_a_verdict_follows_the_measured_numbers_and_their_spread(maskgit, others, expected):
    found = claims.claims(result_of(maskgit, others))
    verdicts = [claim["verdict"] for claim in found if "fewer passes" not in claim["claim"]]
    assert len(verdicts) == 8 and set(verdicts) == {expected}
    assert claims.claims_table(found).count("\n") == len(found) + 1


def test_a_claim_about_several_rivals_is_as_good_as_its_worst_part():
    assert claims.all_of(["holds", "holds"]) == "holds"
    assert claims.all_of(["holds", "cannot be told"]) == "cannot be told"
    assert claims.all_of(["cannot be told", "does not hold here", "holds"]) == "does not hold here"


@pytest.mark.slow
def test_scores_are_the_means_over_the_seeds(result):
    assert result["seeds"] == 3
    for row in result["rows"]:
        fds = [scores["fd"] for scores in row["by_seed"]]
        assert len(set(fds)) == 3 and row["scores"]["fd"] == pytest.approx(sum(fds) / 3)
    for edited in result["edits"].values():
        assert len(edited["by_seed"]) == 3


def test_class_edits_leave_the_rim_or_the_lowest_row_of_tokens(run_folder, monkeypatch):
    boxes = []
    measured = lambda run, judge, count, seed, box, how: boxes.append(box) or {}
    monkeypatch.setattr(showdown, "measure_class_edits", measured)
    run = open_run(run_folder, "cpu")
    found = showdown.edits(run, None, run.config.decoding, [0])
    assert dict(zip(found, boxes)) == {"all but the rim": (4, 4, 28, 28), "all but the lowest tokens": (0, 0, 32, 28)}


def test_speeds_are_images_per_median_second(run_folder, monkeypatch):
    monkeypatch.setattr(showdown, "interleaved", lambda works, *_: {work: [1.0, 4.0, 2.0] for work in works})
    settings = showdown.Settings(2, batches=(1, 8), repeats=3, seed=0)
    found = showdown.time_all(open_run(run_folder, "cpu"), {"a": None}, settings)["a"]
    assert [found[batch]["images_per_second"] for batch in ("1", "8")] == [0.5, 4.0]


def test_twice_as_many_steps_take_the_policy_that_was_searched_for_them(run_folder, tmp_path):
    folder = Path(shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("judge", "evaluation")))
    policies = {T: Policy((0.7,) * (T - 1) + (0.0,), (1.0,) * T, (0.9,) * T, (0.0,) * T) for T in (2, 4)}
    write_searched(folder, {T: Found(policy, {}) for T, policy in policies.items()})
    run = open_run(folder, "cpu")
    settings = SearchedConfig(**vars(run.config.decoding) | {"steps": 2}, policy=policies[2])
    assert at_steps(settings, 4, run).policy == policies[4]
    assert at_steps(settings, 3, run).policy is None
    assert at_steps(run.config.decoding, 4, run) == replace(run.config.decoding, steps=4)


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


@pytest.mark.parametrize(("data", "names"), [("pictures", ["cat", "dog"]), ("glyphs", ["star"])])
def test_nothing_is_edited_that_has_no_palette_or_no_other_class(data, names):
    run = SimpleNamespace(config=SimpleNamespace(data=data), label_names=names)
    assert showdown.edits(run, None, None, [0]) is None


def test_too_few_real_images_are_refused_before_anything_is_timed(tmp_path, monkeypatch):
    few = SimpleNamespace(labels=torch.zeros(3))
    monkeypatch.setattr(showdown, "compared", lambda *_: (few, few))
    monkeypatch.setattr(showdown, "choose_labels", lambda *_: few.labels)
    with pytest.raises(UserError, match="3 neighbours of 3 images"):
        showdown.showdown(None, showdown.Settings(), None, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--steps", "65"), "--steps 65: expected 1 to 64"),
        (("--decoder", "moment", "--top-p", "0.9"), "top-p"),
        (("--decoder", "searched"), "searched"),
    ],
)
def test_options_of_decoding_are_refused_before_the_rivals_are_trained(
    run_folder, capsys, monkeypatch, arguments, complaint
):
    monkeypatch.setattr(showdown, "train_missing", None)  # not called
    assert complaint in error_line(capsys, compare, "--run", str(run_folder), "--showdown", *arguments)


def test_too_few_samples_are_refused_before_anything_is_trained(tmp_path, capsys):
    arguments = ("--run", str(tmp_path / "run"), "--showdown", "--samples", "19")
    assert "expected 20 or more" in error_line(capsys, compare, *arguments)
    assert not (tmp_path / "run").exists()
