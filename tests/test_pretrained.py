"""The weights that come with the project: small, of the documented shape, and as good as their card says (lesson 0)."""

import json
from dataclasses import replace

import pytest
import torch
from command_line import error_line
from PIL import Image
from safetensors.torch import load_file
from tiny import generator

from minimaskgit import edit, generate
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.measuring.pictures import sample
from minimaskgit.measuring.samplers import autoregressive_sampler, maskgit_sampler
from minimaskgit.measuring.scores import picture_scores
from minimaskgit.runs.choices import choose_labels
from minimaskgit.runs.config import first_difference, load_config
from minimaskgit.runs.presets import PRESETS
from minimaskgit.runs.run import PRETRAINED, open_run
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.critic import features_of, plant
from minimaskgit.training.judge import load_judge
from minimaskgit.transformer import Transformer

GLYPHS, PHOTOS = PRETRAINED / "glyphs", PRETRAINED / "photos"


def test_the_weights_are_small_and_of_the_preset_in_their_card():
    assert sum(path.stat().st_size for path in GLYPHS.rglob("*")) < 10e6
    assert first_difference(load_config(GLYPHS / "config.json"), PRESETS["glyphs"]()) is None
    assert "--preset glyphs" in (GLYPHS / "README.md").read_text("utf-8")


def test_models_load_from_their_folders():
    tokenizer = Tokenizer.from_pretrained(GLYPHS / "tokenizer")
    for name, causal in {"transformer": False, "autoregressive": True}.items():
        model = Transformer.from_pretrained(GLYPHS / name)
        assert model.causal == causal and model.num_tokens == tokenizer.num_tokens


def test_their_recorded_quality_meets_the_requirements():
    masked, causal = json.loads((GLYPHS / "evaluation.json").read_text("utf-8"))
    assert masked["decoding"]["steps"] == 8
    for result in (masked, causal):
        assert result["metrics"]["class_accuracy"]["value"] >= 0.97
        assert result["metrics"]["palette_accuracy"]["value"] >= 0.98


@pytest.mark.parametrize("decoder", ["maskgit", "autoregressive"])
def test_they_draw_the_requested_classes(decoder):
    run = open_run(GLYPHS, "cpu")
    sampler = maskgit_sampler(run, run.config.decoding) if decoder == "maskgit" else autoregressive_sampler(run)
    pictures = sample(run, sampler.draw, choose_labels(run, 60), seed=1, quiet=True)
    scores = picture_scores(run, ("class", "palette"), load_judge(run), pictures)
    assert scores["class_accuracy"] >= 0.95 and scores["palette_accuracy"] >= 0.95  # 3 of 60 may be chance


def test_generate_finds_them_by_name(tmp_path):
    generate.main(["--pretrained", "glyphs", "--label", "star", "--count", "4", "--out", str(tmp_path / "stars.png")])
    assert Image.open(tmp_path / "stars.png").size > (64, 32)


def test_their_critic_finds_planted_tokens_and_decodes_with_them(tmp_path):
    assert json.loads((GLYPHS / "critic/evaluation.json").read_text("utf-8"))["auroc_random_codes"] >= 0.9
    run, (images, labels) = open_run(GLYPHS, "cpu"), glyphs(40, 1)
    tokens = run.tokenizer().encode(to_float(images))
    planted = plant(tokens, 0.1, run.transformer().num_codes, generator(0))
    doubts = run.critic()(features_of(run.transformer(), planted, labels)).detach()
    assert doubts[planted != tokens].mean() > doubts[planted == tokens].mean() + 3
    out = tmp_path / "stars.png"
    generate.main(["--pretrained", "glyphs", "--decoder", "critic", "--steps", "4", "--count", "4", "--out", str(out)])
    assert Image.open(out).size > (64, 32)


def test_the_weights_are_bfloat16_on_disk():
    for path in GLYPHS.rglob("model.safetensors"):
        floats = [value for value in load_file(path).values() if value.is_floating_point()]
        assert floats and all(value.dtype == torch.bfloat16 for value in floats)


def test_photographs_come_in_small_files_of_the_preset_but_for_the_numbers_of_steps():
    sizes = [path.stat().st_size for path in PHOTOS.rglob("*")]
    assert max(sizes) < 16e6 and sum(sizes) < 25 * 2**20
    saved, preset = load_config(PHOTOS / "config.json"), PRESETS["tiny-imagenet"]()
    steps = replace(saved.transformer_training, steps=preset.transformer_training.steps)
    decoding = replace(saved.decoding, steps=preset.decoding.steps)  # the search found a better policy for more steps
    often = {name: getattr(preset, name) for name in ("precision", "picture_every", "fd_samples", "save_every")}
    assert first_difference(replace(saved, transformer_training=steps, decoding=decoding, **often), preset) is None
    assert "license: other" in (PHOTOS / "README.md").read_text("utf-8")  # the data set's terms, not ours


def test_photographs_are_generated_by_name_and_several_words_must_be_one_argument(tmp_path, capsys):
    out = tmp_path / "photos.png"
    how = ["--pretrained", "photos", "--steps", "3", "--count", "2", "--out", str(out)]
    generate.main([*how, "--label", "school bus", "goldfish"])
    assert Image.open(out).size > (128, 64)
    assert "did you mean school bus" in error_line(capsys, generate, *how, "--label", "school", "bus")


def test_a_generated_photograph_is_edited_without_the_data_set(tmp_path):
    out = tmp_path / "edit.png"
    how = ["--box", "16,16,48,48", "--label", "pizza", "--count", "1", "--steps", "3", "--out", str(out)]
    edit.main(["--pretrained", "photos", "--generated", "monarch", *how])
    assert Image.open(out).size > (128, 64)
