"""The ablation of mask schedules: end to end on a tiny run, its parts, and its errors for invalid input."""

import json
import math
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tiny import FixedLogits

from minimaskgit import ablate
from minimaskgit.classifier import Classifier
from minimaskgit.common import cli
from minimaskgit.data.glyphs import GLYPH_NAMES
from minimaskgit.figures import ablation as ablation_figure
from minimaskgit.masking import draw_masks
from minimaskgit.measuring import ablation, findings, yardstick
from minimaskgit.runs.config import (
    ClassifierConfig,
    Config,
    ImagesConfig,
    TokenizerConfig,
    TransformerConfig,
    TransformerTraining,
    save_config,
)
from minimaskgit.runs.models import save_model
from minimaskgit.runs.run import open_run
from minimaskgit.schedules import SCHEDULES
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training import session, transformer
from minimaskgit.training.checkpoint import checkpoints
from minimaskgit.transformer import Transformer

CONFIG = Config(
    report_every=2,
    save_every=2,
    picture_every=100,
    images=ImagesConfig(count=64),
    classifier=ClassifierConfig(width=8),
    tokenizer=TokenizerConfig(width=16, num_codes=32, code_dim=4),
    transformer=TransformerConfig(width=16, depth=1, heads=2, mlp_width=32),
    transformer_training=TransformerTraining(steps=4, batch_size=4),
)
FEW = ("--samples", "20", "--reference", "30", "--steps", "1", "3", "8")


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A run with an untrained tokenizer and an untrained judge, and no transformer."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    save_config(CONFIG, folder / "config.json")
    (folder / "labels.json").write_text(json.dumps(GLYPH_NAMES), "utf-8")
    torch.manual_seed(0)
    save_model(Tokenizer(CONFIG.images.size, **asdict(CONFIG.tokenizer)), folder / "tokenizer")
    save_model(Classifier(len(GLYPH_NAMES), width=8), folder / "judge/classifier")
    return folder


@pytest.fixture(scope="module")
def done(bare, tmp_path_factory) -> Path:
    """The same with a finished ablation of all eight schedules."""
    folder = tmp_path_factory.mktemp("runs") / "done"
    shutil.copytree(bare, folder)
    ablate.main(["--run", str(folder), *FEW])
    return folder


@pytest.fixture
def copied(done, tmp_path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(done, folder)
    return folder


def result(folder: Path) -> dict:
    return json.loads((folder / "ablation.json").read_text("utf-8"))


def weights(folder: Path) -> dict:
    return load_file(folder / "model.safetensors")


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def error_line(capsys, *arguments: str) -> str:
    """The error line of a command that refuses its arguments; checks that it is a single line with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: ablate.main(list(arguments)))
    assert stop.value.code == 2
    *progress, printed = capsys.readouterr().err.strip().splitlines()
    assert printed.startswith("error: ") and not any("Traceback" in line for line in progress)
    return printed


# --- End to end ---


def test_every_schedule_is_measured_and_reported_at_every_t(done, capsys):
    ablate.main(["--run", str(done), *FEW])
    printed = capsys.readouterr().out
    found = result(done / "ablation")
    assert [row["schedule"] for row in found["rows"]] == list(yardstick.PAPER)
    assert set(SCHEDULES) == set(yardstick.PAPER)
    for row in found["rows"]:
        assert [point["steps"] for point in row["by_steps"]] == [1, 3, 8]
        assert all(
            point["fd"] > 0 and point["fd_real"] > 0 and 0 <= point["class_accuracy"] <= 1 for point in row["by_steps"]
        )
        assert len({point["fd"] for point in row["by_steps"]}) == 3
        assert row["best"] in row["by_steps"] and row["common"] == row["by_steps"][-1]
        assert row["best"]["fd"] == min(point["fd"] for point in row["by_steps"])
        assert row["schedule"].replace("_", " ") in printed
    for text in (
        "4 training steps",
        "20 images for each T",
        "from seed 0",
        "not comparable with published FID",
        "6.06",
    ):
        assert text in printed
    assert printed.rstrip().endswith(f"{done / 'ablation' / 'ablation.json'}")
    assert Image.open(done / "ablation/ablation.png").size > (1000, 500)
    assert 0 < found["real"]["fd"] < found["real"]["reconstruction_fd_real"]  # the tokenizer's loss is not counted
    assert not (done / "transformer").exists()


def test_training_differs_only_in_the_schedule(done):
    records = [json.loads((done / "ablation" / name / "training.json").read_text("utf-8")) for name in yardstick.PAPER]
    assert [record.pop("schedule") for record in records] == list(yardstick.PAPER)
    assert all(record == records[0] for record in records) and records[0]["steps"] == 4
    models = [weights(done / "ablation" / name) for name in yardstick.PAPER]
    assert not any(equal(model, models[0]) for model in models[1:])


def test_each_trains_and_decodes_with_its_own_schedule_but_bert_decodes_with_the_cosine(bare, tmp_path, monkeypatch):
    trained, decoded = [], []

    def masks(batch, num_tokens, schedule, device):
        trained.append(schedule)
        return real_masks(batch, num_tokens, schedule, device)

    def watched(settings, critics):
        decoded.append((settings.schedule, settings.steps))
        return real_loop(settings, critics)

    real_masks, real_loop = transformer.draw_masks, ablation.decoding_loop
    monkeypatch.setattr(transformer, "draw_masks", masks)
    monkeypatch.setattr(ablation, "decoding_loop", watched)
    names = ["cubic", "logarithmic", "bert"]
    ablate.main(["--run", str(bare), "--out", str(tmp_path), *FEW[:-3], "1", "3", "--schedules", *names])
    assert list(dict.fromkeys(trained)) == [SCHEDULES[name] for name in names]
    assert decoded == [(name, steps) for name in ("cubic", "logarithmic", "cosine") for steps in (1, 3)]


def test_an_ablation_decodes_with_the_chosen_decoder_and_says_so(bare, tmp_path, capsys):
    few = ["--samples", "20", "--reference", "20", "--steps", "4", "--schedules", "linear", "--train-steps", "1"]
    points = {}
    for name in ("maskgit", "margin"):
        ablate.main(["--run", str(bare), "--out", str(tmp_path), *few, "--decoder", name])
        assert ("decoding: decoder margin" in capsys.readouterr().out) == (name == "margin")
        points[name] = result(tmp_path)["rows"][0]["by_steps"]
    assert result(tmp_path)["decoding"]["decoder"] == "margin"
    assert points["maskgit"] != points["margin"]  # measured again, not kept


def test_without_training_the_run_s_own_transformer_is_decoded_with_every_schedule(bare, tmp_path, monkeypatch, capsys):
    run, seen = tmp_path / "run", []
    shutil.copytree(bare, run)
    tokenizer = open_run(run).tokenizer()
    own = Transformer(tokenizer.num_codes, len(GLYPH_NAMES), tokenizer.num_tokens, **asdict(CONFIG.transformer))
    save_model(own, run / "transformer")

    def watched(run, model, name, *others):
        seen.append((name, equal(model.state_dict(), own.state_dict())))
        return real(run, model, name, *others)

    real = ablation.quality
    monkeypatch.setattr(ablation, "quality", watched)
    monkeypatch.setattr(ablation, "train_transformer", None)  # not called
    ablate.main(["--run", str(run), "--train-steps", "0", *FEW[:-3], "8"])
    printed, found = capsys.readouterr().out, result(run / "ablation-decoding")
    assert seen == [(name, True) for name in yardstick.PAPER if name != "bert"]
    assert len({row["nll"] for row in found["rows"]}) == 1
    assert len({row["nll_own"] for row in found["rows"]}) == 7
    assert len({row["by_steps"][-1]["fd"] for row in found["rows"]}) == 7
    assert "one transformer for all, trained with the cosine" in printed and "bert" not in printed
    assert "One transformer, trained with the cosine" in ablation_figure.caption(found)


def test_finished_training_and_measurements_are_kept(copied, monkeypatch, capsys):
    before = result(copied / "ablation")
    with monkeypatch.context() as patch:
        for name in ("train_transformer", "quality", "likelihoods"):
            patch.setattr(ablation, name, None)  # not called
        ablate.main(["--run", str(copied), *FEW])
    assert result(copied / "ablation")["rows"] == before["rows"]
    shutil.rmtree(copied / "ablation/square")
    ablate.main(["--run", str(copied), *FEW])
    assert result(copied / "ablation")["rows"] == before["rows"]  # to the bit


def test_other_sample_counts_are_measured_again_and_not_mixed_with_the_old(copied):
    options = ["--run", str(copied), "--schedules", "cosine"]
    ablate.main([*options, *FEW])
    before = result(copied / "ablation")["rows"][0]["by_steps"]
    ablate.main([*options, *FEW, "--seed", "1"])
    after = result(copied / "ablation")["rows"][0]["by_steps"]
    assert all(a["fd"] != b["fd"] for a, b in zip(before, after))
    ablate.main([*options, *FEW])
    assert result(copied / "ablation")["rows"][0]["by_steps"] == before


def test_an_ablation_interrupted_in_training_and_resumed_ends_as_an_uninterrupted_one(
    done, bare, tmp_path, monkeypatch
):
    original, out = session.batch_indices, tmp_path / "out"

    def interrupting(count, batch_size, step, seed):
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return original(count, batch_size, step, seed)

    options = ["--run", str(bare), "--out", str(out), *FEW, "--schedules", "linear"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="to resume, run it again"):
        patch.setattr(session, "batch_indices", interrupting)
        ablate.main(options)
    assert checkpoints(out / "linear") and not (out / "ablation.json").exists()
    ablate.main(options)
    assert equal(weights(out / "linear"), weights(done / "ablation/linear"))


def test_an_ablation_interrupted_in_measuring_and_resumed_measures_only_the_rest(copied, monkeypatch):
    before, measured = result(copied / "ablation"), []
    (copied / "ablation/cosine/points.json").unlink()
    real = ablation.quality

    def stopping(run, model, name, steps, *others):
        if steps == 8 and measured == [1, 3]:
            measured.append("stop")
            raise KeyboardInterrupt
        measured.append(steps)
        return real(run, model, name, steps, *others)

    monkeypatch.setattr(ablation, "quality", stopping)
    with pytest.raises(KeyboardInterrupt, match="to resume, run it again"):
        ablate.main(["--run", str(copied), *FEW])
    ablate.main(["--run", str(copied), *FEW])
    assert measured == [1, 3, "stop", 8]
    assert result(copied / "ablation")["rows"] == before["rows"]


def test_quick_takes_less_of_everything_and_uses_a_separate_folder(bare):
    run = open_run(bare)
    slow, quick = (ablate.resolve(run, yardstick.Options(run=bare, quick=quick)) for quick in (False, True))
    assert slow.out != quick.out and slow.samples > quick.samples and set(quick.steps) < set(slow.steps)
    assert slow.schedules == quick.schedules == tuple(yardstick.PAPER)
    assert slow.steps[0] == quick.steps[0] == 1 and slow.steps[-1] == quick.steps[-1] == 64
    longer = replace(run, config=replace(CONFIG, transformer_training=TransformerTraining(steps=2200)))
    slow, quick = (ablate.resolve(longer, yardstick.Options(run=bare, quick=quick)) for quick in (False, True))
    assert slow.train_steps == 2200 > quick.train_steps == yardstick.QUICK_TRAINING


# --- Its parts ---


def measures(count: int, num_tokens: int, num_codes: int) -> yardstick.Yardstick:
    tokens = torch.arange(count * num_tokens).view(count, num_tokens) % num_codes
    return yardstick.Yardstick(None, None, None, None, tokens, torch.zeros(count, dtype=torch.long))


def test_the_nll_of_a_uniform_model_is_log_k_under_any_mask(bare):
    run, model = open_run(bare), FixedLogits(torch.zeros(9, 5))
    found = ablation.likelihoods(run, model, measures(7, 9, 5), SCHEDULES["cubic"], seed=0)
    values = [found["nll"], found["nll_own"], *(value for _, value in found["nll_by_masked"])]
    assert values == pytest.approx([math.log(5)] * len(values))


def test_every_masked_token_has_the_same_weight_in_the_nll(bare):
    """A batch with few masked tokens must not have the weight of one with many."""
    run, count = open_run(bare), ablation.BATCH + 1
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    measured = measures(count, 9, 5)
    masks = torch.zeros(count, 9, dtype=torch.bool)
    masks[:-1, 0], masks[-1] = True, True
    chosen = logits.log_softmax(-1).expand(count, -1, -1).gather(-1, measured.tokens[..., None]).squeeze(-1)
    expected = -chosen[masks].mean().item()
    assert ablation.nll(run, FixedLogits(logits), measured, masks) == pytest.approx(expected, rel=1e-5)


def test_all_models_are_measured_on_the_same_masked_tokens(bare):
    run, seen = open_run(bare), []
    for name in ("logarithmic", "exponential"):
        model = FixedLogits(torch.zeros(16, 5))
        ablation.likelihoods(run, model, measures(30, 16, 5), SCHEDULES[name], seed=3)
        seen.append(model.seen)
    same = [torch.equal(a, b) for a, b in zip(*seen)]
    assert (
        same.count(False) == 1 and len(same) == len(ablation.FRACTIONS) + 2
    )  # except for the masks of their own schedules


@pytest.mark.parametrize("fraction", ablation.FRACTIONS)
def test_a_fixed_fraction_of_the_tokens_is_masked_and_all_at_one(fraction):
    masks = draw_masks(20, 64, ablation.constant(fraction))
    assert set(masks.sum(1).tolist()) == {math.ceil(fraction * 64)}


@given(values=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 64)), min_size=1, max_size=8))
def test_the_best_t_has_the_lowest_fd_and_among_equals_the_fewest_steps(values):
    points = [{"fd": float(value), "steps": steps} for value, steps in values]
    chosen = ablation.best(points)
    assert chosen["fd"] == min(point["fd"] for point in points)
    assert chosen["steps"] == min(point["steps"] for point in points if point["fd"] == chosen["fd"])


@given(order=st.permutations([name for name in yardstick.PAPER if name != "bert"]))
def test_the_paper_s_order_agrees_with_itself_and_not_with_its_reverse(order):
    paper = {name: yardstick.PAPER[name][2] for name in order}
    assert findings.pairs_in_order(paper, paper) == (21, 21)
    assert findings.pairs_in_order({name: -value for name, value in paper.items()}, paper) == (0, 21)


def rows_of(fds: dict[str, float]) -> list[dict]:
    return [{"schedule": name, "by_steps": [{"fd": fd}, {"fd": 9.0}]} for name, fd in fds.items()]


def test_concave_before_convex_is_reported_only_if_it_holds():
    ours = dict(zip(yardstick.PAPER, [1.0, 1.1, 1.2, 1.3, 2.0, 3.0, 4.0, 0.5]))  # bert's 0.5 is ignored
    found = findings.findings(rows_of(ours), "fd")
    assert found["concave_linear_convex_each"] and found["concave_linear_convex_on_average"]
    assert found["order"][0] == "exponential" and "bert" not in found["order"]
    found = findings.findings(rows_of(ours | {"exponential": 2.1}), "fd")
    assert found["concave_linear_convex_on_average"] and not found["concave_linear_convex_each"]
    found = findings.findings(rows_of(ours | {"logarithmic": 0.1, "square_root": 0.1}), "fd")
    assert not found["concave_linear_convex_on_average"]


def test_a_schedule_without_a_published_fid_is_ranked_but_not_compared_with_the_paper(monkeypatch):
    monkeypatch.setitem(yardstick.PAPER, "mine", ("concave", None, None, None))
    found = findings.findings(rows_of({"cosine": 1.0, "mine": 0.5, "linear": 2.0}), "fd")
    assert found["order"] == ["mine", "cosine", "linear"]
    assert (found["pairs_in_the_papers_order"], found["pairs"]) == (1, 1)


def test_the_figure_explains_why_bert_fails_and_can_show_any_schedules(done):
    everything = result(done / "ablation")
    assert "100 % masked" in ablation_figure.caption(everything)
    for names in (("cosine",), ("linear", "bert")):
        chosen = everything | {"rows": [row for row in everything["rows"] if row["schedule"] in names]}
        assert ("100 % masked" in ablation_figure.caption(chosen)) == ("bert" in names)
        assert ablation_figure.draw(chosen).size == ablation_figure.draw(everything).size
    assert set(ablation_figure.STYLES) == set(yardstick.PAPER)
    assert (
        len(set(ablation_figure.STYLES.values())) == len({style[0] for style in ablation_figure.STYLES.values()}) == 8
    )


# --- Invalid input ---


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--schedules", "sine"], "--schedules sine: expected one or more of exponential, cubic"),
        (["--samples", "0"], "--samples 0: expected 2 or more"),
        (["--samples", "2"], "--samples 2: expected 20 or more"),
        (["--samples", "19"], "two for each of 10 classes"),
        (["--steps", "65"], "--steps 65: expected 1 to 64"),
        (["--decoder", "halton"], "--decoder halton follows no mask schedule, and mask schedules are compared"),
        (["--decoder", "moment", "--top-p", "0.5"], "--top-p does nothing with --decoder moment"),
        (["--steps", "0"], "--steps 0: expected 1 to 64"),
        (["--train-steps", "-1"], "--train-steps -1: expected 0 or more"),
        (["--train-steps", "0"], "no trained transformer"),
        (["--train-steps", "0", "--schedules", "bert"], "a constant trains but cannot decode"),
        (["--reference", "1"], "--reference 1: expected 2 or more"),
        (["--device", "abacus"], "no device 'abacus'"),
        (["--out", __file__], "is a file; expected a folder"),
    ],
)
def test_invalid_options_are_refused_in_one_line(bare, tmp_path, capsys, arguments, complaint):
    assert complaint in error_line(capsys, "--run", str(bare), "--out", str(tmp_path / "out"), *arguments)
    assert not (tmp_path / "out").exists()


def test_a_critic_is_refused_before_transformers_are_trained_that_it_does_not_know(bare, capsys, monkeypatch):
    monkeypatch.setattr(ablate, "ablate", None)  # not called
    printed = error_line(capsys, "--run", str(bare), *FEW, "--decoder", "critic")
    assert "a transformer in training has no critic" in printed


def test_the_run_s_own_transformer_is_decoded_with_its_critic(run_folder, tmp_path):
    arguments = ("--train-steps", "0", "--decoder", "critic", "--schedules", "cosine", "--out", str(tmp_path))
    ablate.main(["--run", str(run_folder), *FEW, *arguments])
    assert json.loads((tmp_path / "ablation.json").read_text("utf-8"))["decoding"]["decoder"] == "critic"


def test_bert_is_compared_at_the_same_t_even_without_the_common_one():
    points = lambda *fds: [{"steps": T, "fd": fd, "class_accuracy": 0.5} for T, fd in zip((4, 16), fds)]
    nll = {"nll_by_masked": [(fraction, 1.0) for fraction in ablation.FRACTIONS]}
    bert, good = ({"common": None, "by_steps": each} | nll for each in (points(9.0, 10.0), points(3.0, 1.0)))
    for row in (bert, good):
        row["best"] = ablation.best(row["by_steps"])
    assert "T = 4: FD 9.000 and 3.000" in findings.bert_line(bert, good)


def test_without_a_run_or_a_tokenizer_the_error_says_how_to_train_one(bare, tmp_path, capsys):
    assert "minimaskgit.train" in error_line(capsys, "--run", str(tmp_path / "none"))
    folder = tmp_path / "run"
    shutil.copytree(bare, folder, ignore=shutil.ignore_patterns("tokenizer"))
    printed = error_line(capsys, "--run", str(folder))
    assert "no trained tokenizer" in printed and "minimaskgit.train" in printed


def test_transformers_trained_differently_are_refused_and_kept(copied, capsys):
    before = weights(copied / "ablation/cosine")
    printed = error_line(capsys, "--run", str(copied), *FEW, "--train-steps", "3")
    assert "steps is 4 there and 3 here" in printed and "another --out" in printed
    assert equal(weights(copied / "ablation/cosine"), before)
    torch.manual_seed(1)
    save_model(Tokenizer(CONFIG.images.size, **asdict(CONFIG.tokenizer)), copied / "tokenizer")
    assert "tokenizer is" in error_line(capsys, "--run", str(copied), *FEW)


def test_a_damaged_record_is_named(copied, capsys):
    (copied / "ablation/cosine/points.json").write_text("{", "utf-8")
    assert "points.json is damaged" in error_line(capsys, "--run", str(copied), *FEW)
