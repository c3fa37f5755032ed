"""What training shows as it goes: sample sheets and a rough FD (lesson 8)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import TINY_RUN, error_line
from sessions import tiny_session

from minimaskgit import train
from minimaskgit.common.errors import UserError
from minimaskgit.data.images import to_float
from minimaskgit.runs.config import load_config, save_config, saved_as
from minimaskgit.runs.presets import PRESETS
from minimaskgit.training import session as training_session
from minimaskgit.training.classifier import train_classifier
from minimaskgit.training.sheet import distance, show


@pytest.fixture
def session(tmp_path, own_accelerator):
    """A session of glyphs with a classifier, whose FD takes as many samples as there are validation images."""
    session = tiny_session(tmp_path)
    train_classifier(session)
    return replace(session, config=replace(session.config, fd_samples=len(session.valid)))


def test_real_images_have_no_distance_and_every_fault_adds_to_it(session):
    """The same images in another order, with less contrast, or too few kinds of them."""
    images = to_float(session.valid.batch(torch.arange(len(session.valid)))[0])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))

    def drawing(pictures: torch.Tensor):
        parts = iter(pictures.split(100))
        return lambda labels, generator: next(parts)

    same, grey, few = (distance(session, drawing(x)) for x in (images[order], images * 0.5, images[order % 3]))
    assert same == pytest.approx(0, abs=1e-4)
    assert grey > 0.1 and few > 0.1


def test_the_classes_come_in_turn_and_the_noise_from_the_seed(session):
    seen, noise = [], []

    def draw(labels, generator):
        seen.append(labels)
        noise.append(torch.rand(len(labels), 3, 16, 16, generator=generator))
        return noise[-1]

    session = replace(session, config=replace(session.config, fd_samples=130))
    first, again = distance(session, draw), distance(session, draw)
    assert first == again and torch.cat(noise[:2]).equal(torch.cat(noise[2:]))
    assert [len(part) for part in seen[:2]] == [100, 30]
    assert torch.cat(seen[:2]).tolist() == [number % session.train.num_classes for number in range(130)]


def test_without_fd_samples_no_further_samples_are_drawn(session, tmp_path):
    asked = []

    def draw(labels, generator):
        asked.append(len(labels))
        return torch.zeros(len(labels), 3, 16, 16)

    plain = replace(session, config=replace(session.config, fd_samples=0))
    assert show(plain, draw, "samples", tmp_path / "samples.png") == {}
    assert asked == [4 * min(10, session.train.num_classes)] and (tmp_path / "samples.png").stat().st_size > 1000


def test_training_reports_the_fd_beside_each_picture_and_at_its_end(tmp_path, capsys):
    """Even if nothing else needs the classifier; the report that follows the picture has the FD."""
    out = tmp_path / "run"
    stages = ("transformer", "autoregressive", "gan", "diffusion")
    plain = ["--tokenizer-training.perceptual-weight", "0", "--fd-samples", "6", "--out", str(out)]
    train.main([*TINY_RUN, *plain, "--stage", "tokenizer"])
    assert not (out / "classifier").exists()
    for stage in stages:
        train.main(["--out", str(out), "--resume", "--stage", stage])
    printed = capsys.readouterr().out
    for stage in stages:
        lines = [json.loads(line) for line in (out / stage / "metrics.jsonl").read_text("utf-8").splitlines()]
        assert [line["step"] for line in lines if "fd" in line] == [4]  # drawn at step 3; reported every 2 steps
        found = json.loads((out / stage / "evaluation.json").read_text("utf-8"))
        assert found["fd"] > 0 and f"fd {found['fd']:.4g}" in printed
    assert sorted(path.name for path in (out / "transformer" / "pictures").iterdir()) == ["step_000003.png"]


def test_an_fd_that_cannot_be_computed_is_refused_before_training(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert "--fd-samples 1: expected 2 or more" in error_line(capsys, train, "--fd-samples", "1", "--out", out)
    assert not Path(out).exists()


def test_an_fd_needs_two_validation_images(tmp_path, own_accelerator, monkeypatch):
    load = training_session.load_data
    one = lambda source, split, **how: load(source, split, **how | {"num_images": 1 if split == "valid" else 64})
    monkeypatch.setattr(training_session, "load_data", one)
    with pytest.raises(UserError, match=r"--fd-samples 6: .* glyphs has 1; expected 2 or more"):
        tiny_session(tmp_path, fd_samples=6)
    tiny_session(tmp_path, fd_samples=0)


def test_presets_for_hours_watch_the_fd_and_the_demo_does_not():
    asked = {name: PRESETS[name]().fd_samples for name in ("demo", "demo-real", "photos", "tiny-imagenet", "full")}
    assert asked == {"demo": 0, "demo-real": 0, "photos": 240, "tiny-imagenet": 2000, "full": 2000}


def test_results_from_before_a_setting_existed_are_of_the_same_recipe(tmp_path):
    config = PRESETS["demo"]()
    save_config(config, tmp_path / "config.json")
    saved = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del saved["fd_samples"]
    assert saved_as(saved, config) and load_config(tmp_path / "config.json") == config
    assert not saved_as(saved, replace(config, fd_samples=6)) and not saved_as(saved | {"unknown": 1}, config)
