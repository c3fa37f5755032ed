"""The critic: its loss, the wrong tokens that it learns from, what its decoder takes back, and its stage."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from canvas import MODEL, C, K, N, known_regions, some_labels
from command_line import contents, error_line, spoil
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import stats
from sessions import tiny_run
from strategies import codes, masks, normal, seeds
from tiny import FixedLogits, generator, tiny_transformer
from torch import nn
from views import view

from minimaskgit import ablate, compare, edit, evaluate, export, generate, train
from minimaskgit.common.machine import machine
from minimaskgit.decoders import correction, counts, orders, sampling
from minimaskgit.decoders.critic import Critic, critic_loss, with_features
from minimaskgit.decoders.loop import Decoder, run
from minimaskgit.decoding import guided_logits
from minimaskgit.runs.config import CriticTraining
from minimaskgit.runs.models import save_model
from minimaskgit.runs.run import open_run
from minimaskgit.schedules import cosine
from minimaskgit.training import critic as training
from minimaskgit.training.critic import plant, redraw

PAPER = counts.scheduled(cosine)
model_runs = settings(max_examples=30)
scores_and_truth = st.tuples(normal(3, N), masks(3, N), masks(3, N))


# --- The loss ---


@given(drawn=scores_and_truth)
def test_the_loss_is_the_mean_cross_entropy_of_the_counted_tokens(drawn):
    scores, wrong, counted = (x.double().numpy() for x in drawn)
    p = 1 / (1 + np.exp(-scores))
    losses = -(wrong * np.log(p) + (1 - wrong) * np.log(1 - p))
    assert critic_loss(*drawn).item() == pytest.approx((losses * counted).sum() / counted.sum(), abs=1e-5)
    assert critic_loss(*drawn[:2]).item() == pytest.approx(losses.mean(), abs=1e-5)


@given(drawn=scores_and_truth)
def test_the_loss_raises_the_scores_of_wrong_tokens_lowers_those_of_right_ones_and_leaves_the_others(drawn):
    scores, wrong, counted = drawn
    (slope,) = torch.autograd.grad(critic_loss(scores.requires_grad_(), wrong, counted), scores)
    assert (slope[counted & wrong] < 0).all() and (slope[counted & ~wrong] > 0).all() and not slope[~counted].any()


@given(drawn=scores_and_truth, other=normal(3, N))
def test_the_loss_does_not_see_what_is_not_counted(drawn, other):
    scores, wrong, counted = drawn
    changed = torch.where(counted, scores, 100 * other), wrong ^ ~counted, counted
    assert critic_loss(*changed).item() == pytest.approx(critic_loss(*drawn).item(), abs=1e-5)


def test_where_nothing_is_counted_the_loss_is_0_and_without_a_slope():
    scores, nothing = torch.full((2, N), 1e9, requires_grad=True), torch.zeros(2, N, dtype=torch.bool)
    loss = critic_loss(scores, ~nothing, nothing)
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()


# --- What it looks at ---


@model_runs
@given(canvas=known_regions, guidance=st.sampled_from([0.0, 2.0]))
def test_features_come_from_the_pass_itself_which_stays_as_it_is(canvas, guidance):
    labels, everywhere = some_labels(canvas), torch.arange(N).expand(len(canvas), -1)
    predict = lambda: guided_logits(MODEL, canvas, labels, everywhere, guidance)
    with torch.no_grad():
        logits, features = with_features(MODEL, predict)
        assert logits.equal(predict())
        assert features.shape == (len(canvas), N, len(MODEL.blocks) * MODEL.width)
        # The last block's output, of the half with classes, is what the logits are made from.
        last = MODEL.logits(MODEL.norm(features[..., -MODEL.width :]))
        assert last.allclose(MODEL(canvas, labels), atol=1e-5)
    assert not any(block._forward_hooks for block in MODEL.blocks)


def test_a_failing_pass_leaves_no_hook_behind():
    with pytest.raises(ZeroDivisionError):
        with_features(MODEL, lambda: 1 / 0)
    assert not any(block._forward_hooks for block in MODEL.blocks)


# --- Wrong tokens to learn from ---


@model_runs
@given(x=codes(K, 4, N), seed=seeds)
def test_only_drawn_tokens_differ_and_only_drawn_ones_are_hidden_again(x, seed):
    shown = []
    hook = MODEL.register_forward_pre_hook(lambda model, inputs: shown.append(inputs[0]))
    tokens, hidden = redraw(MODEL, x, torch.arange(4) % C, cosine, generator(seed))
    hook.remove()
    drawn = shown[0] == MODEL.mask_id
    assert shown[0][~drawn].equal(x[~drawn]) and tokens[~drawn].equal(x[~drawn]) and not (hidden & ~drawn).any()
    assert (tokens >= 0).all() and (tokens < K).all()


def test_canvases_to_learn_from_are_anything_from_complete_to_as_masked_as_in_training():
    x = torch.zeros(300, N, dtype=torch.long)
    tokens, hidden = redraw(MODEL, x, torch.arange(300) % C, cosine, generator(0))
    share = hidden.double().mean(1)
    assert share.min() == 0 and share.max() > 0.8 and 0.25 < share.mean() < 0.4  # 1/2 of 2/pi
    assert 0.1 < (tokens != x)[~hidden].double().mean() < 0.9


def test_planted_tokens_are_other_codes_all_equally_often_and_as_many_as_asked():
    x = torch.randint(5, (1000, 20), generator=generator(0))
    planted = plant(x, 0.3, 5, generator(1))
    wrong = planted != x
    assert wrong.double().mean().item() == pytest.approx(0.3, abs=0.02)
    shifts = ((planted - x) % 5)[wrong].bincount(minlength=5)
    assert shifts[0] == 0 and stats.chisquare(shifts[1:]).pvalue > 1e-3
    assert plant(x, 0.0, 5).equal(x)


# --- What its decoder takes back ---


@given(
    seed=seeds,
    part=st.floats(0, 1),
    sure=st.floats(0.05, 0.95),
    step=st.integers(0, 2),
    known=masks(2, N),
    given=masks(2, N),
)
def test_the_most_doubted_are_taken_back_few_and_ever_fewer_and_only_if_the_critic_is_sure(
    seed, part, sure, step, known, given
):
    doubt = torch.randn(2, N, generator=generator(seed))
    given = given & known
    taken = correction.doubted(part, sure)(view(torch.zeros(2, N, K), known, step, doubt=doubt, given=given))
    for row in range(2):
        free = np.flatnonzero((known & ~given)[row])
        most = int(np.floor(np.float32(part * (1 - (step + 1) / 4)) * np.float32((~given[row]).sum().item())))
        worst = [
            i
            for i in sorted(free, key=lambda i: -doubt[row, i].item())[:most]
            if doubt[row, i] > np.log(sure / (1 - sure))
        ]
        assert sorted(worst) == np.flatnonzero(taken[row]).tolist()


class Heard(FixedLogits):
    """Fixed logits, the surest at the first position, and a block through which the canvas passes."""

    def __init__(self):
        super().__init__(torch.eye(3)[torch.arange(8) % 3] * torch.linspace(9, 2, 8)[:, None], C)
        self.blocks = nn.ModuleList([nn.Identity()])

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        self.blocks[0](torch.cat([labels[:, None], tokens], 1)[..., None])
        return super().forward(tokens, labels, where)


def test_a_decoding_by_hand():
    """Of 8 tokens the cosine leaves 7, 5, 3 and 0 masked, and 0.9 (1 - r) x 8 allows to take back 5, 3, 1 and 0."""
    heard, doubts = [], torch.full((4, 8), -1.0)
    doubts[0] = 9.0  # of a blank canvas: nothing to take back
    doubts[1, [0, 5]] = torch.tensor([1.0, 9.0])  # token 0 is known, 5 is not
    doubts[2, [1, 2, 3]] = torch.tensor([2.0, 1.0, 3.0])  # 3 goes; 1 and 2 are over the limit
    doubts[3] = 9.0  # the last step keeps all

    def critic(features: torch.Tensor) -> torch.Tensor:
        heard.append(features[0, :, 0].tolist())
        return doubts[len(heard) - 1][None]

    surest = sampling.tempered(top_p=1e-6)
    decoder = Decoder(orders.confidence(0.0), PAPER, surest, correction.doubted(0.9, sure=0.5), critic=critic)
    M, model = 3 + C, Heard()
    taken = [step.tokens[0].tolist() for step in run(decoder, model, torch.tensor([0]), None, 4)]
    assert taken == [
        [0, M, M, M, M, M, M, M],  # one kept
        [M, 1, 2, 0, M, M, M, M],  # 0 is taken back; as many more are kept as without: 1, 2 and, in its place, 3
        [0, 1, 2, M, 1, 2, M, M],  # 3 is taken back; 0, 4 and 5 are kept
        [0, 1, 2, 0, 1, 2, 0, 1],
    ]
    assert heard == [[M] * 8, *taken[:-1]]  # the critic sees each canvas in the pass that decodes it
    assert len(model.seen) == 4  # and costs no further pass


@model_runs
@given(canvas=known_regions, steps=st.integers(1, 6), seed=seeds)
def test_given_tokens_are_never_taken_back_however_much_they_are_doubted(canvas, steps, seed):
    doubting = Critic(MODEL.width, len(MODEL.blocks)).eval()
    torch.nn.init.constant_(doubting.layers[-1].bias, 100.0)
    decoder = Decoder(orders.confidence(), PAPER, correction=correction.doubted(1.0), critic=doubting)
    known = canvas != MODEL.mask_id
    for step in run(decoder, MODEL, some_labels(canvas), canvas, steps, generator(seed)):
        assert step.tokens[known].equal(canvas[known])
    assert (step.tokens < K).all()


# --- The stage, through the commands ---


@pytest.fixture(scope="module")
def home(run_folder, tmp_path_factory) -> Path:
    """A copy of the run, without a critic."""
    folder = tmp_path_factory.mktemp("critic") / "run"
    return shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("critic", "judge", "evaluation"))


def stage(folder: Path, *options: str) -> None:
    train.main(["--out", str(folder), "--resume", "--stage", "critic", *options])


def test_the_stage_ends_with_a_critic_and_how_well_it_finds_planted_tokens(run_folder):
    found = json.loads((run_folder / "critic/evaluation.json").read_text("utf-8"))
    assert set(found) == {"seconds", "auroc_random_codes", "auroc_own_samples"}
    assert all(0 <= found[name] <= 1 for name in found if name != "seconds")
    shape = open_run(run_folder).config.transformer
    critic = open_run(run_folder).critic()
    assert (critic.width, critic.depth) == (shape.width, shape.depth)


@pytest.mark.usefixtures("own_accelerator")
def test_the_critic_learns_which_visible_tokens_differ_from_the_original(tmp_path, monkeypatch):
    session = tiny_run(tmp_path, critic_training=CriticTraining(steps=1, batch_size=4))
    save_model(tiny_transformer(num_codes=16, num_classes=10, num_tokens=16), tmp_path / "transformer")
    learned, places = [], torch.arange(16).expand(4, 16)
    monkeypatch.setattr(training, "redraw", lambda model, x, *_: (x, places == 0))
    monkeypatch.setattr(training, "plant", lambda x, *_: torch.where(places % 3 == 0, (x + 1) % 16, x))
    monkeypatch.setattr(training, "critic_loss", lambda *given: learned.append(given[1:]) or critic_loss(*given))
    monkeypatch.setattr(training, "areas", lambda *_: {})
    training.train_critic(session)
    ((wrong, counted),) = learned
    assert wrong.equal(places % 3 == 0) and counted.equal(places != 0)


@pytest.mark.usefixtures("own_accelerator")
def test_a_critic_that_knows_all_wrong_tokens_has_areas_of_one(tmp_path, monkeypatch):
    session, uniform = tiny_run(tmp_path), FixedLogits(torch.zeros(16, 16), 10)
    monkeypatch.setattr(training, "features_of", lambda model, tokens, labels: tokens)
    tokenizer = SimpleNamespace(encode=lambda images: torch.zeros(len(images), 16, dtype=torch.long))
    knowing, mistaken = (lambda tokens: (tokens > 0).float()), (lambda tokens: (tokens == 0).float())
    for critic, area in ((knowing, 1), (mistaken, 0)):
        found = training.areas(session, critic, uniform, tokenizer, cosine)
        assert found == {"auroc_random_codes": area, "auroc_own_samples": area}


def test_a_stopped_stage_resumes_to_the_same_critic(home, run_folder, tmp_path):
    folder = shutil.copytree(home, tmp_path / "run")
    before = (folder / "transformer/model.safetensors").read_bytes()
    stage(folder, "--max-steps", "3")
    assert not (folder / "critic/model.safetensors").exists()
    stage(folder)
    weights = [load_file(path / "critic/model.safetensors") for path in (folder, run_folder)]
    assert weights[0].keys() == weights[1].keys() and all(weights[0][k].equal(weights[1][k]) for k in weights[0])
    assert (folder / "transformer/model.safetensors").read_bytes() == before


def test_without_a_critic_its_decoder_says_how_to_train_one(home, capsys):
    for command in (generate, evaluate, compare, edit):
        region = ["--box", "12,12,20,20", "--inpaint"] if command is edit else []
        printed = error_line(capsys, command, "--run", str(home), "--decoder", "critic", *region)
        assert "no trained critic in" in printed and f"--out {home} --stage critic --resume" in printed


def test_no_transformer_in_training_is_decoded_with_a_critic(run_folder, tmp_path, capsys):
    out = tmp_path / "new"
    printed = error_line(capsys, train, "--out", str(out), "--decoding.decoder", "critic")
    assert "--decoding.decoder critic" in printed and not out.exists()
    folder = shutil.copytree(run_folder, tmp_path / "run")
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    settings["decoding"]["decoder"] = "critic"
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    assert "decoder critic" in error_line(capsys, ablate, "--run", str(folder), "--quick")
    assert not (folder / "ablation-quick").exists()
    generate.main(["--run", str(folder), "--count", "1", "--out", str(tmp_path / "x.png")])  # it has one by now


def test_edits_and_the_race_decode_with_a_critic(run_folder, tmp_path):
    critic = ["--run", str(run_folder), "--decoder", "critic"]
    edit.main([*critic, "--box", "12,12,20,20", "--inpaint", "--count", "1", "--out", str(tmp_path / "x.png")])
    race = ["--batches", "1", "--repeats", "1", "--shown", "1", "--out", str(tmp_path / "race")]
    compare.main([*critic, *race])
    assert (tmp_path / "x.png").exists() and (tmp_path / "race/compare.json").exists()


def test_a_critic_learns_with_the_mask_ratios_that_only_training_has(home, tmp_path):
    folder = shutil.copytree(home, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["transformer_training"]["schedule"] = "beta"
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    stage(folder)
    assert (folder / "critic/model.safetensors").exists()


def test_a_critic_needs_a_transformer(home, tmp_path, capsys):
    folder = shutil.copytree(home, tmp_path / "run", ignore=shutil.ignore_patterns("transformer"))
    printed = error_line(capsys, train, "--out", str(folder), "--resume", "--stage", "critic")
    assert "no trained transformer" in printed and "--stage transformer" in printed
    assert not (folder / "critic/model.safetensors").exists()


def test_a_critic_of_another_transformer_is_refused(run_folder, tmp_path, capsys):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    spoil(folder / "transformer/model.safetensors")
    before = contents(folder)
    generating = (generate, "--run", str(folder), "--decoder", "critic", "--out", str(tmp_path / "x.png"))
    training = (train, "--out", str(folder), "--resume", "--stage", "critic")
    for command in (generating, training):
        assert "critic was trained on the features of another transformer than" in error_line(capsys, *command)
    assert contents(folder) == before
    generate.main(["--run", str(folder), "--count", "1", "--out", str(tmp_path / "x.png")])  # the others go on


def test_a_critic_of_another_shape_is_refused(run_folder, tmp_path, capsys):
    folder = shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("trained_on.json"))
    save_model(Critic(16, 3), folder / "critic")
    printed = error_line(capsys, generate, "--run", str(folder), "--decoder", "critic")
    assert "was trained on another transformer" in printed and "--stage critic" in printed


def test_an_export_carries_the_critic(run_folder, tmp_path, monkeypatch):
    def evaluated(*_) -> dict:
        (tmp_path / "out/evaluation").mkdir(exist_ok=True)
        return {"machine": machine(torch.device("cpu"))}

    monkeypatch.setattr(export, "evaluate", evaluated)
    monkeypatch.setattr(export, "table", str)
    export.main(["--run", str(run_folder), "--out", str(tmp_path / "out"), "--samples", "24"])
    generating = ["--run", str(tmp_path / "out"), "--decoder", "critic", "--count", "2"]
    generate.main([*generating, "--out", str(tmp_path / "x.png")])
    assert (tmp_path / "x.png").exists()
