"""The training loop: the order of batches, learning rates, interrupting and resuming (lesson 9)."""

import errno
import json
import math
import signal
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from accelerate.state import PartialState
from hypothesis import given
from hypothesis import strategies as st
from sessions import tiny_run, tiny_session
from strategies import seeds
from tiny import generator, tiny_tokenizer, tiny_transformer

from minimaskgit import masking
from minimaskgit.common.errors import UserError
from minimaskgit.data.images import to_float
from minimaskgit.masking import draw_masks, mvtm_loss, random_mask
from minimaskgit.runs.config import ClassifierConfig, ImagesConfig, TokenizerTraining
from minimaskgit.runs.config import TransformerTraining as Training
from minimaskgit.schedules import cosine
from minimaskgit.training import tokenizer, transformer
from minimaskgit.training.batches import batch_indices
from minimaskgit.training.checkpoint import checkpoints, save_checkpoint
from minimaskgit.training.log import Log
from minimaskgit.training.loop import StoppedEarly, fit, seed_everything
from minimaskgit.training.optimizers import (
    averaged,
    clip_gradient,
    cosine_decay,
    make_optimizers,
    set_learning_rate,
    tokenizer_optimizers,
)
from minimaskgit.training.session import start_session
from minimaskgit.training.tokens import all_tokens
from minimaskgit.transformer import Transformer

# --- The order of the data ---


@given(count=st.integers(1, 30), batch_size=st.integers(1, 40), seed=seeds)
def test_every_sample_comes_once_per_epoch(count, batch_size, seed):
    steps = 3 * count  # whole epochs, as many as the batch size
    batches = [batch_indices(count, batch_size, step, seed) for step in range(steps)]
    assert all(batch.shape == (batch_size,) and batch.dtype == torch.int64 for batch in batches)
    for epoch in torch.cat(batches).split(count):
        assert epoch.sort().values.tolist() == list(range(count))


def test_epochs_and_seeds_have_different_orders_and_a_step_always_the_same_samples():
    order = {(seed, step): batch_indices(50, 50, step, seed).tolist() for seed in (0, 1) for step in (0, 1)}
    assert len({tuple(indices) for indices in order.values()}) == 4
    assert all(batch_indices(50, 50, step, seed).tolist() == order[seed, step] for seed, step in order)
    batch_indices(50, 50, 0, 0).zero_()  # changing a batch does not affect the next
    assert batch_indices(50, 50, 0, 0).tolist() == order[0, 0]


@pytest.mark.usefixtures("own_accelerator")
def test_the_tokens_of_mirror_images_follow_those_of_the_images_with_the_same_classes(tmp_path):
    session = tiny_run(tmp_path, images=ImagesConfig(size=16, count=12, flip=True))
    tokenizer = tiny_tokenizer(image_size=16).eval()
    tokens, labels = all_tokens(session, tokenizer)
    images = to_float(session.train.batch(torch.arange(12))[0])
    assert labels.equal(session.train.labels.repeat(2))
    assert tokens[:12].equal(tokenizer.encode(images).int())
    assert tokens[12:].equal(tokenizer.encode(images.flip(-1)).int()) and not tokens[12:].equal(tokens[:12])


# --- Learning rates ---

lengths = st.integers(1, 200)
shapes = st.tuples(lengths, st.integers(0, 50))  # steps and warmup


@given(shape=shapes)
def test_cosine_decay_rises_linearly_to_the_peak_and_falls_along_half_a_cosine(shape):
    steps, warmup = shape
    for step in range(steps):
        after = (step - warmup) / max(1, steps - warmup)
        expected = (step + 1) / warmup if step < warmup else (1 + math.cos(math.pi * after)) / 2
        assert cosine_decay(step, steps, warmup) == pytest.approx(expected) and 0 < expected <= 1
    assert cosine_decay(steps, steps, min(warmup, steps - 1)) == pytest.approx(0, abs=1e-9)


def test_the_learning_rate_is_set_for_all_groups():
    a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = torch.optim.AdamW([{"params": [a], "lr": 1.0}, {"params": [b], "lr": 2.0}])
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


@given(seed=seeds, largest=st.floats(0.01, 10))
def test_a_gradient_over_the_limit_is_clipped_and_its_norm_returned(seed, largest):
    model = torch.nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator(seed))
    before = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    assert clip_gradient(model, largest).item() == pytest.approx(before, 1e-5)
    after = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    assert after == pytest.approx(min(before, largest), 1e-4)


def test_randomness_is_a_function_of_seed_stage_and_step():
    def draw(*key):
        seed_everything(*key)
        return torch.rand(1).item()

    keys = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a", 10), (1, "a", 1)]
    drawn = [draw(*key) for key in keys]
    assert len(set(drawn)) == len(keys) and drawn == [draw(*key) for key in keys]


# --- The loop ---


class Lesson:
    """A tiny transformer with dropout, learning random tokens by Muon and AdamW."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = tiny_transformer(dropout=0.2).train()
        matrices = list(self.model.blocks[0].qkv.parameters())[:1]
        others = [p for p in self.model.parameters() if p is not matrices[0]]
        self.optimizers = torch.optim.Muon(matrices, 1e-2), torch.optim.AdamW(others, 1e-2)
        self.parts = {"model": self.model, "muon": self.optimizers[0], "adamw": self.optimizers[1]}
        self.tokens = torch.randint(11, (20, 9), generator=generator(0))
        self.done: list[int] = []

    def step(self, step: int) -> dict[str, torch.Tensor]:
        tokens = self.tokens[batch_indices(20, 4, step, 0)]
        loss = mvtm_loss(self.model, tokens, torch.zeros(4, dtype=torch.long), draw_masks(*tokens.shape, cosine))
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, 1e-2 * cosine_decay(step, 12, 2))
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.done.append(step)
        return {"loss": loss}

    def train(self, steps: int = 12, train_step=None, **options) -> float:
        options = {"report_every": 3, "save_every": 5, "picture_every": 100} | options
        return fit(self.folder, steps, train_step or self.step, self.parts, **options)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def weights(lesson: Lesson) -> list[torch.Tensor]:
    return list(lesson.model.state_dict().values())


def test_every_step_is_done_once_and_the_means_are_written_at_intervals(tmp_path):
    lesson = Lesson(tmp_path)
    lesson.train(8, lambda step: {"number": torch.tensor(float(step)), "twice": 2.0 * step}, report_every=3)
    assert lesson.lines() == [
        {"step": 3, "number": 1.0, "twice": 2.0},
        {"step": 6, "number": 4.0, "twice": 8.0},
        {"step": 8, "number": 6.5, "twice": 13.0},  # what is left at the end
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_training_twice_gives_the_same_weights_to_the_bit(tmp_path):
    first, again, other = (Lesson(tmp_path / place / "stage") for place in "abc")
    for lesson, seed in ((first, 0), (again, 0), (other, 1)):
        lesson.train(4, seed=seed)
    assert all(a.equal(b) for a, b in zip(weights(first), weights(again)))
    assert not all(a.equal(b) for a, b in zip(weights(first), weights(other)))


def test_a_crashed_and_resumed_run_is_exactly_the_uninterrupted_run(tmp_path):
    whole = Lesson(tmp_path / "whole" / "stage")
    whole.train()

    crashed = Lesson(tmp_path / "parts" / "stage")

    def crash(step):
        if step == 8:
            raise OSError("power cut")
        return crashed.step(step)

    with pytest.raises(OSError, match="power cut"):
        crashed.train(train_step=crash)

    torch.manual_seed(12345)  # nothing random is carried over
    resumed = Lesson(tmp_path / "parts" / "stage")
    resumed.train()
    assert resumed.done == list(range(5, 12))  # saved every 5 steps
    assert all(a.equal(b) for a, b in zip(weights(whole), weights(resumed)))
    assert [line["step"] for line in resumed.lines()] == [3, 6, 9, 12]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_finishes_its_step_saves_and_resumes_exactly(tmp_path, number):
    whole = Lesson(tmp_path / "whole" / "stage")
    whole.train()

    stopped = Lesson(tmp_path / "parts" / "stage")

    def stop(step):
        if step == 3:
            signal.raise_signal(number)
        return stopped.step(step)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="saved at step 4 of 12; to resume"):
        stopped.train(train_step=stop)
    assert stopped.done == [0, 1, 2, 3]
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))

    resumed = Lesson(tmp_path / "parts" / "stage")
    resumed.train()
    assert resumed.done == list(range(4, 12))
    assert all(a.equal(b) for a, b in zip(weights(whole), weights(resumed)))


def test_a_stop_in_the_last_step_is_heeded_and_no_step_is_done_again(tmp_path):
    def stop(step):
        if step == 11:
            signal.raise_signal(signal.SIGINT)
        return stopped.step(step)

    stopped, resumed = Lesson(tmp_path), Lesson(tmp_path)
    with pytest.raises(KeyboardInterrupt, match="saved at step 12 of 12; to resume"):
        stopped.train(train_step=stop)
    resumed.train()
    assert not resumed.done and all(a.equal(b) for a, b in zip(weights(stopped), weights(resumed)))


def test_a_kill_after_the_last_step_as_while_the_model_is_evaluated_costs_no_step(tmp_path):
    killed, resumed = Lesson(tmp_path), Lesson(tmp_path)
    seconds = killed.train()
    assert resumed.train() == seconds and not resumed.done
    assert all(a.equal(b) for a, b in zip(weights(killed), weights(resumed)))


def test_a_second_signal_stops_at_once(tmp_path):
    def stop(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal was not heard")

    with pytest.raises(KeyboardInterrupt):
        Lesson(tmp_path).train(train_step=stop)


def test_a_finished_run_does_nothing_more(tmp_path):
    lesson = Lesson(tmp_path)
    save_checkpoint(tmp_path, 12, 0.0, lesson.parts)
    lesson.train(12)
    assert lesson.done == []


def test_the_seconds_of_earlier_sessions_count(tmp_path):
    lesson = Lesson(tmp_path)
    save_checkpoint(tmp_path, 11, 5000.0, lesson.parts)
    assert lesson.train(12) >= 5000 and lesson.done == [11]


def test_a_nan_loss_stops_training_with_one_line_and_keeps_the_last_good_state(tmp_path):
    lesson = Lesson(tmp_path)

    def explode(step):
        return lesson.step(step) if step < 7 else {"loss": torch.tensor(math.nan)}

    with pytest.raises(UserError, match=f"{tmp_path.name}: loss is nan at step 8; try a lower learning rate") as error:
        lesson.train(train_step=explode)
    assert "\n" not in str(error.value)
    resumed = Lesson(tmp_path)
    resumed.train()
    assert resumed.done[0] == 5


def test_too_little_memory_ends_training_in_one_line_that_names_the_cure(tmp_path):
    def explode(step):
        raise torch.OutOfMemoryError("out of memory. Tried to allocate 2.00 GiB.\nAnd more.")

    with pytest.raises(UserError, match=r"too little memory .*2.00 GiB.*with a greater --accumulate") as error:
        Lesson(tmp_path).train(train_step=explode)
    assert "\n" not in str(error.value)


def test_a_state_that_broke_between_two_reports_is_not_saved_over_the_good_one(tmp_path):
    lesson = Lesson(tmp_path)

    def explode(step):
        return lesson.step(step) if step < 7 else {"loss": torch.tensor(math.nan)}

    with pytest.raises(UserError):
        lesson.train(train_step=explode, save_every=2, report_every=100)
    resumed = Lesson(tmp_path)
    resumed.train()
    assert resumed.done[0] <= 7


def test_a_broken_step_is_named_and_the_indices_of_its_samples_are_saved(tmp_path):
    lesson, batch = Lesson(tmp_path), lambda step: batch_indices(20, 4, step, 0)

    def explode(step):
        return lesson.step(step) | {"other": 1.0 if step < 6 else math.inf if step == 6 else 2.0}

    with pytest.raises(UserError, match=r"other is inf at step 7; .*nan.json lists its samples"):
        lesson.train(train_step=explode, batch=batch)
    found = json.loads((tmp_path / "nan.json").read_text("utf-8"))
    assert found == {"step": 7, "metric": "other", "value": "inf", "samples": batch(6).tolist()}


def test_reports_after_a_resume_are_those_of_an_uninterrupted_run(tmp_path):
    whole, parts = Lesson(tmp_path / "whole" / "stage"), Lesson(tmp_path / "parts" / "stage")
    whole.train(report_every=4)

    def crash(step):
        if step == 11:
            raise OSError("power cut")
        return parts.step(step)

    with pytest.raises(OSError, match="power cut"):
        parts.train(train_step=crash, report_every=4)  # saved at 5 and 10, reported at 4 and 8
    with (parts.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 12, "lo')  # and killed while it was writing
    resumed = Lesson(tmp_path / "parts" / "stage")
    resumed.train(report_every=4)
    assert resumed.done == [10, 11] and resumed.lines() == whole.lines()


def test_a_full_disk_ends_the_run_in_one_line_with_the_last_good_checkpoint_intact(tmp_path, monkeypatch):
    lesson = Lesson(tmp_path)

    def no_space(tensors, path, metadata):
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    def full_after_six(step):
        if step == 6:
            monkeypatch.setattr("minimaskgit.training.checkpoint.save_file", no_space)
        return lesson.step(step)

    with pytest.raises(UserError, match=r"00000010.safetensors cannot be written .*No space left.* before is intact"):
        lesson.train(train_step=full_after_six)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-00000005.safetensors"]
    monkeypatch.undo()
    resumed = Lesson(tmp_path)
    resumed.train()
    assert resumed.done[0] == 5


def test_pictures_are_drawn_at_intervals_and_left_to_the_caller_at_the_end(tmp_path):
    drawn = []
    Lesson(tmp_path).train(6, lambda step: {}, picture_every=2, picture=drawn.append)
    assert drawn == [2, 4]


def test_what_a_picture_measures_is_reported_with_its_step_or_with_the_next_report(tmp_path):
    lesson = Lesson(tmp_path)
    lesson.train(8, lambda step: {"loss": float(step)}, picture_every=2, picture=lambda done: {"fd": 10.0 * done})
    assert [line.get("fd") for line in lesson.lines()] == [20.0, 50.0, None]  # of steps 2; 4 and 6; none
    assert [line["step"] for line in lesson.lines()] == [3, 6, 8]


def test_the_speed_of_training_leaves_out_the_time_of_pictures(tmp_path, monkeypatch):
    lesson, speeds, clock = Lesson(tmp_path), [], [0.0]

    def takes(seconds: float) -> dict:
        clock[0] += seconds
        return {}

    monkeypatch.setattr("minimaskgit.training.loop.time.perf_counter", lambda: clock[0])
    how = {"picture_every": 2, "picture": lambda done: takes(100), "speed": lambda each: speeds.append(each) or {}}
    seconds = lesson.train(6, lambda step: takes(2) | {"loss": 0.0}, **how)
    assert speeds == [2, 2] and seconds == 6 * 2 + 2 * 100


def test_closing_the_log_does_not_hide_the_error_of_a_full_disk(tmp_path):
    log = Log(tmp_path, 0)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log.metrics.file.close()
    log.metrics.file = SimpleNamespace(close=full)
    with pytest.raises(UserError, match="cannot be written"), closing(log):
        raise UserError("metrics.jsonl cannot be written")


@given(steps=st.integers(20, 400), decay=st.sampled_from((0.0, 0.9, 0.99, 0.999)))
def test_the_moving_average_of_a_steady_change_is_nine_tenths_of_the_way_or_closer(steps, decay):
    model = torch.nn.Linear(1, 1, bias=False)
    mean = averaged(model, decay)
    for step in range(steps):
        model.weight.data.fill_((step + 1) / steps)
        mean.update_parameters(model)
    way = mean.module.weight.item()
    assert not mean.training and 0.89 <= way <= 1
    assert decay or way == 1
    if decay and steps > 20 / (1 - decay):  # by then it is constant, and the average 1 / (1 - decay) steps behind
        assert way == pytest.approx(1 - decay / (1 - decay) / steps, abs=1e-3)


# --- The package's training steps ---


@pytest.mark.usefixtures("own_accelerator")
def test_the_discriminator_learns_and_from_its_own_loss_only(tmp_path, monkeypatch):
    expected, same, weights = [], [], []
    own_loss, adamw_step = tokenizer.discriminator_loss, torch.optim.AdamW.step

    def loss(discriminator, *pictures):
        found, learning = own_loss(discriminator, *pictures), list(discriminator.parameters())
        expected.append(dict(zip(learning, torch.autograd.grad(found, learning, retain_graph=True))))
        weights.append(torch.cat([each.detach().flatten() for each in learning]))
        return found

    def step(self, *rest, **options):
        for each in (each for group in self.param_groups for each in group["params"] if each in expected[-1]):
            same.append(torch.allclose(each.grad, expected[-1][each], atol=1e-7))
        return adamw_step(self, *rest, **options)

    monkeypatch.setattr(tokenizer, "discriminator_loss", loss)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    tokenizer.train_tokenizer(tiny_session(tmp_path))
    assert len(weights) == 2 and not weights[0].equal(weights[1])
    assert len(same) == 2 * len(expected[0]) and all(same)


RATES = {"learning_rate": 1e-3, "muon_learning_rate": 5e-3}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_each_weight_has_its_optimizer_rate_betas_and_decay(optimizer):
    def groups(optimizers):
        return {
            parameter: (name, peak, group["weight_decay"], group.get("betas"))
            for name, (each, peak) in optimizers.items()
            for group in each.param_groups
            for parameter in group["params"]
        }

    model, settings = tiny_transformer(), Training(optimizer=optimizer, weight_decay=0.03, betas=(0.8, 0.96), **RATES)
    found = groups(make_optimizers(settings, model, "fp32"))
    matrices = {"adamw": ("adamw", 1e-3, 0.03, (0.8, 0.96)), "muon": ("muon", 5e-3, 0.03, None)}[optimizer]
    for name, parameter in model.named_parameters():
        matrix = name.startswith("blocks.") and parameter.ndim == 2
        assert found.pop(parameter) == (matrices if matrix else ("adamw", 1e-3, 0.0, (0.8, 0.96))), name
    assert not found

    model, settings = tiny_tokenizer(), TokenizerTraining(optimizer=optimizer, **RATES)
    found = groups(tokenizer_optimizers(settings, model, "fp32"))
    rest = ("optimizer", 1e-3, 1e-4, (0.9, 0.99))
    kernels = {"adamw": rest, "muon": ("muon", 5e-3, 1e-4, None)}[optimizer]
    for name, parameter in model.named_parameters():
        assert found.pop(parameter) == (kernels if parameter.ndim == 4 else rest), name
    assert not found


@pytest.mark.usefixtures("own_accelerator")
@pytest.mark.parametrize("mean", ["tokens", "images"])
def test_a_training_step_masks_every_sample_by_its_own_ratio_and_scores_only_hidden_tokens(tmp_path, mean):
    ratios, losses, read = [], [], []

    def mask_counts(r, *rest):
        ratios.append(r)
        return masking_mask_counts(r, *rest)

    def masked_cross_entropy(logits, targets, mask, *rest):
        logits.retain_grad()
        losses.append((logits, targets, mask > 0))  # a mean of images passes weights
        return masking_cross_entropy(logits, targets, mask, *rest)

    def forward(model, tokens, labels, *rest):
        read.append(tokens)
        return transformer_forward(model, tokens, labels, *rest)

    masking_mask_counts, masking_cross_entropy = masking.mask_counts, masking.masked_cross_entropy
    transformer_forward = Transformer.forward
    session = tiny_run(tmp_path, transformer_training=Training(steps=2, batch_size=32, loss_mean=mean))
    with (
        patch.object(masking, "mask_counts", mask_counts),
        patch.object(masking, "masked_cross_entropy", masked_cross_entropy),
        patch.object(transformer, "masked_cross_entropy", masked_cross_entropy),
        patch.object(Transformer, "forward", forward),
    ):
        transformer.train_transformer(session, causal=False)
    mask_id = 16 + session.train.num_classes
    assert len(ratios) == len(losses) == 2 and not ratios[0].equal(ratios[1])
    for r, (logits, targets, mask), tokens in zip(ratios, losses, read):
        assert r.shape == (32,) and len(r.unique()) == 32
        assert mask.sum(1).tolist() == torch.ceil(torch.cos(math.pi / 2 * r.double()) * 16).long().tolist()
        assert tokens.equal(targets.masked_fill(mask, mask_id)) and (targets < 16).all()
        assert (logits.grad.abs().sum(-1) > 0).equal(mask)


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=5), smoothing=st.sampled_from([0.0, 0.1]), seed=seeds)
def test_a_mean_of_images_weighs_each_image_the_same_however_much_is_hidden(counts, smoothing, seed):
    model, tokens = tiny_transformer(), torch.randint(11, (len(counts), 9), generator=generator(seed))
    mask, labels = random_mask(torch.tensor(counts), 9, generator(seed)), torch.zeros(len(counts), dtype=torch.long)
    whole = transformer.mean_of_images(model, model.mask_id, tokens, labels, mask, smoothing)
    alone = [
        mvtm_loss(model, *(part[i : i + 1] for part in (tokens, labels, mask)), smoothing) for i in range(len(counts))
    ]
    assert whole.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-4)


@pytest.mark.usefixtures("own_accelerator")
def test_classes_are_dropped_at_the_requested_rate_and_replaced_by_no_class(tmp_path):
    heard = []
    session = tiny_run(tmp_path, transformer_training=Training(steps=1, batch_size=512, class_dropout=0.25))

    def listen(model, tokens, labels, *rest):
        heard.append(labels)
        return masking.mvtm_loss(model, tokens, labels, *rest)

    with patch.object(transformer, "mvtm_loss", listen):
        transformer.train_transformer(session, causal=False)
    share = (heard[0] == session.train.num_classes).double().mean().item()
    assert share == pytest.approx(0.25, abs=0.08) and heard[0].max() == session.train.num_classes


@pytest.mark.usefixtures("own_accelerator")
def test_in_training_the_discriminator_s_loss_has_no_gradient_for_the_tokenizer(tmp_path):
    ways_back = []

    def listen(discriminator, real, fake):
        loss = real_loss(discriminator, real, fake)
        ways_back.append(torch.autograd.grad(loss, fake, retain_graph=True, allow_unused=True)[0])
        return loss

    real_loss = tokenizer.discriminator_loss
    with patch.object(tokenizer, "discriminator_loss", listen):
        tokenizer.train_tokenizer(tiny_session(tmp_path))
    assert ways_back == [None, None]


@pytest.mark.usefixtures("own_accelerator")
def test_one_process_may_train_in_one_precision_and_then_in_another(tmp_path):
    for number, precision in enumerate(("bf16", "fp32", "bf16")):
        session = tiny_session(tmp_path / str(number), precision=precision)
        with session.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float)


@pytest.mark.usefixtures("own_accelerator")
def test_another_device_than_the_process_already_trains_on_is_refused_in_one_line(tmp_path, monkeypatch):
    first = tiny_session(tmp_path / "first")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(UserError, match=r"--device cuda: this process already trains on cpu; .* new process") as error:
        start_session(first.config, tmp_path / "second", "cuda")
    assert "\n" not in str(error.value) and not (tmp_path / "second").exists()
    assert start_session(first.config, tmp_path / "third", "auto").device == first.device
    with (
        patch.dict(PartialState._shared_state, {"device": torch.device("cuda")}),
        pytest.raises(UserError, match=r"--device cpu: this process already trains on cuda; .* new process"),
    ):
        start_session(first.config, tmp_path / "fourth", "cpu")


# --- Every setting counts ---

TOKENIZER = TokenizerTraining(
    steps=3, batch_size=4, optimizer="muon", warmup=0, perceptual_weight=0.5, gan_weight=1, gan_start=0.3, gan_width=8
)
TRANSFORMER = Training(steps=4, batch_size=4, warmup=0, cooldown=0.25)
CHANGES: list[tuple[TokenizerTraining | Training, str, object]] = [
    (TOKENIZER, "batch_size", 2),
    (TOKENIZER, "optimizer", "adamw"),
    (TOKENIZER, "learning_rate", 1e-3),
    (TOKENIZER, "muon_learning_rate", 1e-3),
    (TOKENIZER, "warmup", 2),
    (TOKENIZER, "l1_weight", 0.3),
    (TOKENIZER, "l2_weight", 1.0),
    (TOKENIZER, "perceptual_weight", 2.0),
    (TOKENIZER, "gan_weight", 0.3),
    (TOKENIZER, "gan_start", 0.6),
    (TOKENIZER, "gan_learning_rate", 1e-2),
    (TOKENIZER, "gan_width", 16),
    (TOKENIZER, "gan_layers", 1),
    (TOKENIZER, "clip", 1e-3),
    (TRANSFORMER, "batch_size", 2),
    (TRANSFORMER, "optimizer", "adamw"),
    (TRANSFORMER, "learning_rate", 1e-3),
    (TRANSFORMER, "muon_learning_rate", 1e-3),
    (TRANSFORMER, "betas", (0.5, 0.5)),
    (TRANSFORMER, "weight_decay", 5.0),
    (TRANSFORMER, "warmup", 2),
    (TRANSFORMER, "cooldown", 1.0),
    (TRANSFORMER, "schedule", "linear"),
    (TRANSFORMER, "loss_mean", "images"),
    (TRANSFORMER, "label_smoothing", 0.1),
    (TRANSFORMER, "class_dropout", 0.5),
    (TRANSFORMER, "clip", 1e-3),
    (TRANSFORMER, "ema_decay", 0.9),
]


def learned(folder: Path, settings: TokenizerTraining | Training) -> torch.Tensor:
    """All weights that a tiny model has learned with these settings."""
    few = ClassifierConfig(width=8, steps=1, batch_size=4)
    if isinstance(settings, TokenizerTraining):
        model = tokenizer.train_tokenizer(tiny_session(folder, classifier=few, tokenizer_training=settings))
    else:
        model = transformer.train_transformer(tiny_run(folder, transformer_training=settings), causal=False)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory) -> dict[type, torch.Tensor]:
    """By kind of training, what a model learns with the settings that the others are compared with."""
    return {type(settings): learned(tmp_path_factory.mktemp("same"), settings) for settings in (TOKENIZER, TRANSFORMER)}


@pytest.mark.usefixtures("own_accelerator")
@pytest.mark.parametrize("settings", [TOKENIZER, TRANSFORMER], ids=["tokenizer", "transformer"])
def test_the_same_settings_learn_the_same(settings, unchanged, tmp_path):
    assert learned(tmp_path, settings).equal(unchanged[type(settings)])
    known = {field.name for field in fields(settings)} - {"steps"}
    assert known == {name for base, name, _ in CHANGES if base is settings}


@pytest.mark.usefixtures("own_accelerator")
@pytest.mark.parametrize(
    ("settings", "name", "value"), CHANGES, ids=lambda given: given if isinstance(given, str) else ""
)
def test_every_setting_of_training_changes_what_is_learned(settings, name, value, unchanged, tmp_path):
    assert not learned(tmp_path, replace(settings, **{name: value})).equal(unchanged[type(settings)])


@pytest.mark.usefixtures("own_accelerator")
def test_as_many_checkpoints_are_kept_as_requested_and_activations_recomputed_if_requested(tmp_path, monkeypatch):
    recomputed = []
    again = lambda block, x, **how: recomputed.append(how) or block(x)
    monkeypatch.setattr("minimaskgit.transformer.checkpoint", again)
    session = tiny_run(tmp_path, transformer_training=TRANSFORMER, save_every=1, keep_checkpoints=3, recompute=True)
    with pytest.raises(StoppedEarly):
        transformer.train_transformer(replace(session, stop_at=TRANSFORMER.steps - 1), causal=False)
    assert len(checkpoints(tmp_path / "transformer")) == 3 and len(recomputed) == 3
