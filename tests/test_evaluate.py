"""The evaluation end to end on a tiny run, its parts, and its errors for invalid input (lesson 8)."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from command_line import contents, error_line
from hypothesis import given
from hypothesis import strategies as st
from tiny import generator

from minimaskgit import ablate, compare, evaluate, train
from minimaskgit.classifier import Classifier
from minimaskgit.common.errors import UserError
from minimaskgit.data.glyphs import GLYPH_NAMES
from minimaskgit.data.imagenet import imagenet_names
from minimaskgit.data.images import to_float
from minimaskgit.decoders.policy import Policy
from minimaskgit.measuring import evaluation, networks, pictures, scores
from minimaskgit.measuring.evaluation import check_neighbours
from minimaskgit.measuring.networks import Seen, look
from minimaskgit.measuring.pictures import Pictures, held_out, like, sample
from minimaskgit.measuring.scores import feature_scores
from minimaskgit.metrics import inception_score, psnr
from minimaskgit.runs import origin
from minimaskgit.runs.config import (
    ClassifierConfig,
    Config,
    ImagesConfig,
    TokenizerConfig,
    TransformerConfig,
    save_config,
)
from minimaskgit.runs.models import load_model, save_model
from minimaskgit.runs.presets import official, paper
from minimaskgit.runs.run import chosen_work_folder, open_run
from minimaskgit.runs.searched import Found, read_searched, write_searched
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.judge import load_judge
from minimaskgit.transformer import Transformer

CONFIG = Config(
    images=ImagesConfig(count=64),
    classifier=ClassifierConfig(width=8, steps=3, batch_size=8),
    tokenizer=TokenizerConfig(width=16, num_codes=32, code_dim=4),
    transformer=TransformerConfig(width=16, depth=1, heads=2, mlp_width=32),
)
FEW = ("--samples", "24", "--reference", "30")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A run folder as training leaves it, but with untrained models."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    save_config(CONFIG, folder / "config.json")
    (folder / "labels.json").write_text(json.dumps(GLYPH_NAMES), "utf-8")
    torch.manual_seed(0)
    tokenizer = Tokenizer(CONFIG.images.size, **asdict(CONFIG.tokenizer))
    shape = (tokenizer.num_codes, len(GLYPH_NAMES), tokenizer.num_tokens)
    models = {
        "tokenizer": tokenizer,
        "transformer": Transformer(*shape, **asdict(CONFIG.transformer)),
        "autoregressive": Transformer(*shape, causal=True, **asdict(CONFIG.transformer)),
        "judge/classifier": Classifier(len(GLYPH_NAMES), width=8),
    }
    for name, model in models.items():
        save_model(model, folder / name)
    return folder


def measured(folder: Path, out: Path, *arguments: str) -> dict:
    evaluate.main(["--run", str(folder), *FEW, "--json", str(out), *arguments])
    return json.loads(out.read_text("utf-8"))


# --- End to end ---


def test_everything_is_measured_printed_and_written(run_folder, tmp_path, capsys):
    result = measured(run_folder, tmp_path / "deep" / "quality.json", "--metrics", *evaluation.METRICS)
    assert set(result["metrics"]) == set(evaluation.NAMES)
    printed = capsys.readouterr().out
    for name, _ in evaluation.NAMES.values():
        (line,) = (line for line in printed.splitlines() if line.startswith(name + " "))
        falls = any(word in name for word in ("distance", "FD", "memory"))
        assert line.endswith(f"{'lower' if falls else 'higher'} is better")
    for text in (
        "not comparable with published FID",
        "24 generated images",
        "2.4 per class",
        "seed 0",
        "the best to expect",
    ):
        assert text in printed
    assert result["real"] == {"data": "glyphs", "reference": 30, "second": 24}
    for name in ("precision", "recall", "coverage", "cas", "class_accuracy", "palette_accuracy", "without_strays"):
        assert 0 <= result["metrics"][name]["value"] <= 1
    assert 0 <= result["metrics"]["code_usage"]["value"] <= 1
    assert result["metrics"]["palette_accuracy"]["real"] == result["metrics"]["without_strays"]["real"] == 1
    assert result["metrics"]["without_strays"]["value"] == 0  # an untrained model draws no glyphs
    assert result["metrics"]["fd"]["value"] > result["metrics"]["fd"]["real"] > 0
    assert result["metrics"]["reconstruction_fd"]["real"] == result["metrics"]["fd"]["real"]
    assert result["memory"]["training"] == 64 and (run_folder / "evaluation/maskgit-memory.png").exists()


def test_scores_are_the_same_for_the_same_seed_only(run_folder, tmp_path):
    first, again, other = (
        measured(run_folder, tmp_path / "quality.json", "--metrics", "fd", "--seed", seed)["metrics"]["fd"]
        for seed in ("1", "1", "2")
    )
    assert first == again
    assert first["value"] != other["value"] and first["real"] == other["real"]


def test_the_autoregressive_decoder_is_measured_against_the_same_real_images(run_folder, tmp_path):
    options = ("--metrics", "fd", "precision-recall")
    masked = measured(run_folder, tmp_path / "a.json", *options)
    causal = measured(run_folder, tmp_path / "b.json", *options, "--decoder", "autoregressive")
    assert set(causal["metrics"]) == {"fd", "precision", "recall"}
    assert causal["metrics"]["fd"]["real"] == masked["metrics"]["fd"]["real"]
    assert causal["metrics"]["fd"]["value"] != masked["metrics"]["fd"]["value"]


def test_the_tokenizer_alone_needs_no_transformer_and_generates_nothing(run_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("transformer", "autoregressive"))
    result = measured(folder, tmp_path / "quality.json", "--metrics", "tokenizer")
    about_images = {"reconstruction_fd", "reconstruction_without_strays", "psnr", "ssim"}
    assert set(result["metrics"]) == about_images | {"code_usage", "code_perplexity"}
    assert result["samples"] == 0 and "generated" not in capsys.readouterr().out
    evaluate.main(["--run", str(folder), *FEW, "--metrics", "tokenizer"])
    assert [path.name for path in (folder / "evaluation").glob("*.json")] == ["tokenizer.json"]  # no decoder's result


def test_reference_features_are_cached_until_the_network_or_data_change(run_folder, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("evaluation"))
    run, network = open_run(folder), networks.judge_network(load_judge(open_run(folder)))
    reference, _ = held_out(run, 30, 24)
    first = networks.cached_reference(run, network, "classifier", reference)
    with monkeypatch.context() as patch:
        patch.setattr(networks, "look", None)  # not called
        again = networks.cached_reference(run, network, "classifier", reference)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    networks.cached_reference(run, network, "classifier", Pictures(255 - reference.images, reference.labels))
    networks.cached_reference(run, network, "classifier", Pictures(reference.images[:9], reference.labels[:9]))
    networks.cached_reference(run, network, "inception", reference)
    save_model(Classifier(len(GLYPH_NAMES), width=8), folder / "judge/classifier")
    networks.cached_reference(run, network, "classifier", reference)
    assert len(list((folder / "evaluation").iterdir())) == 5


@pytest.mark.slow
def test_a_run_without_a_judge_trains_one_and_keeps_it(run_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("judge", "evaluation"))
    first, again = (measured(folder, tmp_path / "quality.json", "--metrics", "fd", "class") for _ in range(2))
    assert (folder / "judge/classifier/model.safetensors").exists()
    assert first["metrics"] == again["metrics"]


# --- Its parts ---


def test_the_reference_and_the_second_sample_have_no_picture_in_common(run_folder):
    reference, second = held_out(open_run(run_folder), 30, 24)
    assert (len(reference.images), len(second.images)) == (30, 24)
    same = (reference.images[:, None] == second.images[None]).flatten(2).all(-1)  # (30, 24)
    assert not same.any()


def test_real_pictures_to_compare_with_have_the_classes_that_were_asked_for():
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 0, 1])
    pictures = Pictures(torch.arange(8)[:, None, None, None].expand(8, 3, 4, 4).byte(), labels)
    chosen = like(pictures, torch.tensor([0, 1, 2, 0, 1, 2, 1]))  # there is no third of class 1
    assert sorted(chosen.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert sorted(chosen.images[:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 4, 7]
    assert labels[chosen.images[:, 0, 0, 0].long()].equal(chosen.labels)


@pytest.mark.parametrize("available", [4, 7, 40, 53])
def test_too_few_held_out_images_are_shared_between_both(run_folder, monkeypatch, available):
    real = origin.load_data
    monkeypatch.setattr(origin, "load_data", lambda *a, **k: real("glyphs", "valid", 32, available))
    reference, second = held_out(open_run(run_folder), 30, 24)
    assert len(reference.labels) == min(30, available // 2)
    assert len(second.labels) == min(24, available - len(reference.labels))


def test_a_picture_s_features_do_not_depend_on_its_batch(run_folder):
    run = open_run(run_folder)
    network = networks.judge_network(load_judge(run))
    images = torch.randint(256, (pictures.BATCH + 3, 3, 32, 32), generator=generator(0), dtype=torch.uint8)
    seen = look(run, network, images)
    assert seen.features.shape == (len(images), 32) and seen.logits.shape == (len(images), 10)
    alone = look(run, network, images[-1:])
    torch.testing.assert_close(alone.features[0], seen.features[-1])


def test_samples_are_in_order_rounded_and_of_the_requested_classes(run_folder):
    asked, noises = [], []

    def sampler(labels, generator):
        asked.append(labels)
        noises.append(torch.rand(4, generator=generator).tolist())
        return (labels / 255 + 0.001)[:, None, None, None].expand(-1, 3, 2, 2)  # rounded, not truncated

    labels = torch.arange(2 * pictures.BATCH + 1) % 10
    run = open_run(run_folder)
    sampled = sample(run, sampler, labels, seed=0)
    assert torch.equal(torch.cat(asked), labels) and torch.equal(sampled.labels, labels)
    assert torch.equal(sampled.images[:, 0, 0, 0], labels.byte())
    first, second, *_ = noises
    assert first != second
    sample(run, sampler, labels, seed=0)
    assert noises == 2 * noises[: len(noises) // 2]


def test_precision_and_recall_compare_equal_numbers_of_real_and_generated_images():
    reference = Seen(torch.randn(200, 5, generator=generator(0)), torch.zeros(200, 3))
    seen = Seen(torch.randn(20, 5, generator=generator(1)), torch.zeros(20, 3))
    names = ("precision-recall", "density-coverage")
    few = feature_scores(names, seen, Seen(*(tensor[:20] for tensor in reference)))
    assert feature_scores(names, seen, reference) == few


def test_a_tight_cloud_within_the_real_images_is_precise_and_recalls_little():
    wide = Seen(torch.randn(200, 5, generator=generator(0)), torch.zeros(200, 3))
    tight = Seen(0.1 * torch.randn(200, 5, generator=generator(1)), torch.zeros(200, 3))
    names = ("precision-recall", "density-coverage")
    fakes_are_tight, fakes_are_wide = feature_scores(names, tight, wide), feature_scores(names, wide, tight)
    assert fakes_are_tight["precision"] > 0.9 and fakes_are_tight["recall"] < 0.1
    assert fakes_are_wide["precision"] < 0.1 and fakes_are_wide["recall"] > 0.9
    assert fakes_are_tight["density"] > 0.9 and fakes_are_tight["coverage"] < 0.5


def test_real_images_are_scored_with_the_classes_of_the_generated_ones(run_folder):
    labels = torch.arange(60) % 10
    reference, second = pictures.compared(open_run(run_folder), 30, labels)
    assert second.labels.sort().values.equal(labels.sort().values) and not second.labels.equal(labels.sort().values)
    assert len(reference.labels) == 30


def test_the_inception_score_is_that_of_the_classifier_s_probabilities():
    logits = torch.randn(60, 5, generator=generator(0))
    found = feature_scores(("is",), Seen(torch.zeros(60, 2), logits), Seen(torch.zeros(60, 2), logits))
    assert found["is"] == pytest.approx(inception_score(logits.softmax(-1), 10)[0].item())


def test_psnr_and_ssim_are_means_over_all_pictures_whatever_the_size_of_a_part(run_folder, monkeypatch):
    run = open_run(run_folder, "cpu")
    network = networks.judge_network(load_judge(run))
    pixels = torch.randint(256, (12, 3, 32, 32), generator=generator(0), dtype=torch.uint8)
    some = Pictures(pixels, torch.arange(12) % 10)
    noise = torch.randint(64, some.images.shape, generator=generator(1), dtype=torch.uint8)
    codes = torch.zeros(12, 64, dtype=torch.long)
    monkeypatch.setattr(scores, "through_tokenizer", lambda *_: (codes, some.images // 2 + noise))
    expected = psnr(to_float(some.images // 2 + noise), to_float(some.images)).item()
    for size in (5, 12):
        monkeypatch.setattr(scores, "BATCH", size)
        found = scores.tokenizer_scores(run, network, look(run, network, some.images), some)
        assert found["psnr"] == pytest.approx(expected) and 0 < found["ssim"] < 1 < found["psnr"]


@pytest.mark.slow
def test_cas_is_high_for_glyphs_with_right_labels_and_low_with_wrong_ones(run_folder):
    run = open_run(run_folder)
    run = replace(run, config=replace(CONFIG, classifier=ClassifierConfig(width=8, steps=120, batch_size=32)))
    right, test = held_out(run, 400, 200)
    wrong = Pictures(right.images, (right.labels + 1) % 10)
    assert scores.classification_accuracy_score(run, right, test, seed=0) > 0.7
    assert scores.classification_accuracy_score(run, wrong, test, seed=0) < 0.1


# --- Invalid input ---


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--metrics", "fid"], "--metrics fid: expected one or more of fd, is"),
        (["--samples", "19"], "expected 20 or more, two for each of 10 classes"),
        (["--reference", "1"], "expected 2 or more"),
        (["--k", "0"], "expected 1 to 23"),
        (["--k", "24"], "expected 1 to 23"),
        (["--reference", "5"], "density-coverage: 5 neighbours of 5 images; expected 1 to 4: more --samples"),
        (["--steps", "0"], "expected 1 to 64"),
        (["--temperature", "-1"], "expected 0 or more"),
        (["--decoder", "autoregressive", "--steps", "4"], "--steps is a MaskGIT setting"),
        (["--device", "abacus"], "no device"),
        (["--json", "."], "--json . is a folder"),
    ],
)
def test_invalid_options_are_refused_in_one_line(run_folder, capsys, arguments, complaint):
    assert complaint in error_line(capsys, evaluate, "--run", str(run_folder), *FEW, *arguments)


def test_without_a_run_the_error_says_how_to_train_one(tmp_path, capsys):
    assert "minimaskgit.train" in error_line(capsys, evaluate, "--run", str(tmp_path / "none"))


def test_without_an_autoregressive_model_the_error_names_the_missing_one(run_folder, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("autoregressive"))
    printed = error_line(capsys, evaluate, "--run", str(folder), *FEW, "--decoder", "autoregressive")
    assert str(folder / "autoregressive") in printed and "--stage autoregressive" in printed


@pytest.mark.parametrize("metric", scores.GLYPH_METRICS)
def test_only_of_glyphs_the_drawing_is_known(run_folder, tmp_path, capsys, metric):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    save_config(replace(CONFIG, data="photographs"), folder / "config.json")
    printed = error_line(capsys, evaluate, "--run", str(folder), "--metrics", metric)
    assert f"--metrics {metric}" in printed and "photographs" in printed and "glyphs only" in printed


@pytest.mark.parametrize(
    "error, complaint",
    [
        (ModuleNotFoundError("torch_fidelity"), "pip install torch-fidelity"),
        (OSError("<urlopen error [Errno -2] Name or service not known>"), "weights could not be downloaded"),
    ],
)
def test_unavailable_inception_features_are_reported_in_one_line(run_folder, capsys, monkeypatch, error, complaint):
    def unavailable(**options):
        raise error

    monkeypatch.setattr("torchmetrics.image.fid.FrechetInceptionDistance", unavailable)
    printed = error_line(capsys, evaluate, "--run", str(run_folder), *FEW, "--features", "inception", "--metrics", "fd")
    assert complaint in printed and "leave out --features inception" in printed


# --- Pretrained weights ---


@pytest.fixture
def packaged(run_folder, tmp_path, monkeypatch) -> Path:
    """Packaged weights called tiny, without a judge; the current folder is an empty one elsewhere."""
    folder = tmp_path / "site-packages" / "tiny"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("judge", "evaluation"))
    monkeypatch.setattr("minimaskgit.runs.run.PRETRAINED", folder.parent)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_pretrained_weights_are_measured_in_a_folder_outside_of_the_package(packaged, capsys):
    before, own = contents(packaged), Path("runs/pretrained/tiny")
    evaluate.main(["--pretrained", "tiny", *FEW, "--metrics", "fd", "class"])
    assert str(own / "evaluation/maskgit.json") in capsys.readouterr().out
    assert json.loads((own / "evaluation/maskgit.json").read_text("utf-8"))["run"] == str(own)
    assert (own / "judge/classifier/model.safetensors").exists() and list(
        own.glob("evaluation/reference-*.safetensors")
    )
    assert contents(packaged) == before
    (packaged / "labels.json").write_text(json.dumps(GLYPH_NAMES, indent=4), "utf-8")  # another version of the package
    evaluate.main(["--pretrained", "tiny", *FEW, "--metrics", "class"])
    assert (own / "labels.json").read_bytes() == (packaged / "labels.json").read_bytes()


def test_policies_found_for_pretrained_weights_are_kept_until_the_weights_change(packaged):
    own = Path("runs/pretrained/tiny")
    one, two = (Found(Policy((0.0,) * T, (1.0,) * T, (1.0,) * T, (0.0,) * T), {}) for T in (1, 2))
    searched = lambda: list(read_searched(chosen_work_folder(None, "tiny")).policies)
    write_searched(packaged, {2: two})
    assert searched() == [2]
    write_searched(own, {1: one})
    assert searched() == [1]
    model = load_model(Transformer, packaged / "transformer")
    torch.nn.init.ones_(next(model.parameters()))
    save_model(model, packaged / "transformer")
    write_searched(packaged, {2: two})
    assert searched() == [2]


def test_nothing_is_written_into_the_package(packaged, run_folder, capsys):
    before = contents(packaged)
    inside, elsewhere = ("--run", str(packaged)), ("--run", str(run_folder))
    for command, arguments, option in (
        (evaluate, [*inside, *FEW], "--run"),
        (evaluate, [*inside, *FEW, "--json", "x.json"], "--run"),  # the judge and the reference would still be there
        (evaluate, ["--run", str(packaged.parent / "none" / ".." / "tiny"), *FEW], "--run"),
        (evaluate, [*elsewhere, *FEW, "--json", str(packaged / "x.json")], "--json"),
        (compare, [*inside], "--run"),
        (compare, ["--run", str(packaged.parent / "new"), "--showdown"], "--run"),
        (compare, [*elsewhere, "--out", str(packaged)], "--out"),
        (ablate, [*inside, "--quick"], "--run"),
        (ablate, [*elsewhere, "--quick", "--out", str(packaged / "ablation")], "--out"),
        (train, ["--out", str(packaged), "--resume"], "--out"),
    ):
        printed = error_line(capsys, command, *arguments)
        assert printed.startswith(f"error: {option} ") and "nothing is written" in printed, arguments
    for command in (evaluate, compare):
        for arguments in ([], [*inside, "--pretrained", "tiny"]):
            assert "expected either --run FOLDER or --pretrained NAME" in error_line(capsys, command, *arguments)
        assert "available: tiny" in error_line(capsys, command, "--pretrained", "huge")
    assert contents(packaged) == before


def test_pretrained_weights_are_compared_in_a_folder_outside_of_the_package(packaged):
    before = contents(packaged)
    compare.main(["--pretrained", "tiny", "--batches", "1", "--repeats", "1", "--shown", "1"])
    assert Path("runs/pretrained/tiny/compare/compare.json").exists()
    assert contents(packaged) == before


@given(k=st.none() | st.integers(-1, 30), count=st.integers(1, 25))
def test_as_many_neighbours_as_exist_are_accepted(k, count):
    wanted = 3 if k is None else k
    if 1 <= wanted < count:
        check_neighbours(count, ("precision-recall", "fd"), k)
    else:
        with pytest.raises(UserError, match="neighbours of"):
            check_neighbours(count, ("precision-recall", "fd"), k)
    check_neighbours(count, ("fd", "tokenizer"), k)


# --- The paper's numbers ---


def test_the_paper_s_numbers_stand_beside_those_of_the_authors_own_weights_and_no_others(run_folder, tmp_path):
    run = open_run(run_folder, "cpu")
    theirs = replace(run, folder=tmp_path, config=official(), label_names=list(imagenet_names()))
    larger = replace(theirs.config, images=replace(theirs.config.images, size=512))
    assert evaluation.published(theirs) == {"steps": 8, "fd": 6.18, "is": 182.1}
    others = [
        replace(theirs, config=larger),
        replace(theirs, config=paper()),
        replace(theirs, label_names=["cat"] * 1000),
        run,
    ]
    assert not any(map(evaluation.published, others))
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer/evaluation.json").touch()  # the same model, trained here
    assert evaluation.published(theirs) is None


def test_the_table_has_a_column_of_the_paper_s_numbers_only_with_its_network(run_folder, capsys, monkeypatch, tmp_path):
    looks = lambda images: Seen(images.float().mean((2, 3)), images[:, :, 0, 0].float())
    monkeypatch.setattr(evaluation, "inception_network", lambda device: looks)
    monkeypatch.setattr(evaluation, "published", lambda run: {"steps": 8, "fd": 6.18, "is": 182.1})
    given = ["--run", str(run_folder), *FEW, "--metrics", "fd", "is", "precision-recall"]
    for features, seen in (("inception", True), ("classifier", False)):
        evaluate.main([*given, "--features", features, "--json", str(tmp_path / "q.json")])
        page = capsys.readouterr().out
        assert ("paper" in page and "6.18" in page and "182.1" in page) == seen
        assert (json.loads((tmp_path / "q.json").read_text("utf-8"))["paper"] is not None) == seen
