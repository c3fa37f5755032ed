"""Training at scale: estimates, random crops, reading ahead, and less memory (lesson 9)."""

import json
import threading
from dataclasses import replace

import pytest
import torch
from accelerate.state import GradientState
from hypothesis import given
from hypothesis import strategies as st
from sessions import tiny_run, tiny_session
from strategies import seeds
from tiny import generator, tiny_tokenizer, tiny_transformer
from torch import nn

from minimaskgit.common import timing
from minimaskgit.common.errors import UserError
from minimaskgit.data.images import ImageData, mirror, shift, to_float
from minimaskgit.runs.config import Config, ImagesConfig, TransformerConfig, TransformerTraining, load_config
from minimaskgit.runs.presets import full, paper
from minimaskgit.training import estimate, stages, transformer
from minimaskgit.training.batches import Ahead, micro_batches
from minimaskgit.training.estimate import (
    Cost,
    cost,
    cuts_to_fit,
    estimates,
    tokens_per_second,
    training_flops,
    transformer_flops,
)
from minimaskgit.training.session import ROOM
from minimaskgit.transformer import Transformer

# --- Estimates ---

sizes = st.integers(1, 6)


@given(depth=sizes, width=sizes, mlp=sizes, codes=sizes, sequence=sizes, batch=sizes)
def test_a_training_step_costs_three_products_per_matrix(depth, width, mlp, codes, sequence, batch):
    def product(rows, inner, columns):  # forward; backward costs two more of the same size
        return 3 * 2 * rows * inner * columns

    a_layer = 4 * product(sequence, width, width) + 2 * product(sequence, width, mlp)
    a_layer += 2 * product(sequence, width, sequence)  # q k^T, and the weights times v
    head = product(sequence, width, width) + product(sequence, width, codes)
    found = training_flops(depth, width, mlp, codes, sequence, batch)
    assert found == pytest.approx(batch * (depth * a_layer + head))


@given(batch=sizes, tokens=sizes, steps=sizes, seconds=st.floats(0.1, 10))
def test_tokens_per_second_times_seconds_are_all_tokens(batch, tokens, steps, seconds):
    assert tokens_per_second(batch, tokens, steps, seconds) * seconds == pytest.approx(batch * tokens * steps)


def test_the_formula_agrees_with_torch_s_count_for_a_forward_pass():
    with torch.device("meta"):
        model = Transformer(11, 3, 9, width=16, depth=2, heads=2, mlp_width=32)
    flops = cost(Config(precision="fp32"), model, (9,), ()).flops
    # The formula passes all ten rows through the head; the model drops the class token's row first.
    head = 2 * (16 * 16 + 16 * 11)
    assert 3 * (flops + head) == pytest.approx(transformer_flops(model, 1))


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("bf16", 2)])
def test_the_cost_and_memory_of_a_convolution_are_counted_for_a_sample_without_its_weights(precision, size):
    with torch.device("meta"):
        layer = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    assert cost(Config(precision=precision), layer, (3, 8, 8)) == Cost(2 * 64 * 5 * 27, size * 3 * 64)


def test_training_is_estimated_in_its_own_precision_and_without_what_is_done(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(stages, "estimates", lambda config, classes, names, *_: asked.append((config, names)) or [])
    auto = replace(tiny_run(tmp_path).config, precision="auto")
    stages.train(auto, tmp_path, ["tokenizer", "transformer"], resume=True, estimate=True)
    ((config, names),) = asked
    assert config.precision in ("fp32", "bf16") and names == ["transformer"]


def test_an_estimate_leaves_out_the_stages_and_the_steps_that_are_done(tmp_path):
    found = [estimate.Estimate(stage, 1, 500, 8, 1.0, 1, 1) for stage in ("classifier", "tokenizer", "transformer")]
    for name in ("classifier/model", "tokenizer/checkpoint-00000090", "tokenizer/checkpoint-00000120"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.safetensors").touch()
    left = {e.stage: e.steps for e in stages.remaining(found, tmp_path)}
    assert left == {"tokenizer": 380, "transformer": 500}


def test_the_published_model_is_counted_without_computing_anything():
    found = {e.stage: e for e in estimates(paper(), 1000, ["tokenizer", "transformer"])}
    assert list(found) == ["classifier", "tokenizer", "transformer"]
    assert found["transformer"].parameters == 172_457_193
    assert found["transformer"].memory > 16 * found["transformer"].parameters
    assert found["transformer"].steps == paper().transformer_training.steps


def test_more_processes_more_parts_and_recomputation_need_less_memory():
    def memory(processes=1, **settings):
        return estimates(replace(full(), **settings), 200, ["transformer"], processes)[0].memory

    assert memory() > memory(recompute=True) and memory() > memory(accumulate=2)
    assert memory(processes=2) == memory(accumulate=2)
    assert memory(processes=2, shard=True) == memory() / 2


def test_the_table_shows_the_time_at_the_speed_it_names():
    found = [estimate.Estimate("transformer", 2_000_000, 1000, 8, 3e12, 2**29, 2**29)]
    text = estimate.table(found, 1e12, 0.3, processes=2)  # 1000 x 3 / (2 x 0.3) seconds
    assert "83 min" in text and "30% of the 2 processes" in text and "3,000" in text


def test_times_are_taken_in_turns_and_the_first_round_does_not_count(monkeypatch):
    taken, order = iter([9.0, 8.0, 1.0, 2.0, 3.0, 4.0]), []
    monkeypatch.setattr(timing, "timed", lambda work, device: order.append(work) or next(taken))
    assert timing.interleaved({"a": "A", "b": "B"}, 2, torch.device("cpu")) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert order == list("ABABAB")


@pytest.mark.parametrize("seconds, text", [(45, "45 s"), (720, "12 min"), (12_240, "3.4 h"), (1_036_800, "12 days")])
def test_durations_are_easy_to_read(seconds, text):
    assert timing.duration(seconds) == text


@given(
    state=st.floats(0, 100),
    kept=st.floats(0, 100),
    free=st.floats(0, 200),
    batch=st.sampled_from([1, 6, 12, 16]),
    shares=st.sampled_from([1, 2]),
)
def test_a_batch_is_split_into_as_few_parts_as_fit(state, kept, free, batch, shares):
    batch *= shares
    cuts = cuts_to_fit([estimate.Estimate("x", 1, 1, batch, 1.0, state, kept)], free, shares)
    assert batch % (cuts * shares) == 0
    if state + kept / cuts > free:  # it cannot be split further
        assert batch % (2 * cuts * shares)
    if cuts > 1:
        assert state + kept / (cuts // 2) > free


def trained_with(folder, monkeypatch, free=None):
    """Train a tiny transformer as if `free` bytes of memory were free; returns its metrics and settings."""
    if free is not None:
        monkeypatch.setattr("minimaskgit.training.session.free_memory", lambda device: free)
    torch.manual_seed(0)  # the same tokenizer
    session = tiny_run(folder, transformer_training=TransformerTraining(steps=3, batch_size=8), precision="fp32")
    stages.train(session.config, folder, ["transformer"], estimate=True)
    return (folder / "transformer/metrics.jsonl").read_text("utf-8"), load_config(folder / "config.json")


@pytest.mark.usefixtures("own_accelerator")
def test_if_memory_is_short_the_batch_is_split_and_the_training_is_the_same(tmp_path, monkeypatch, capsys):
    whole, config = trained_with(tmp_path / "whole", monkeypatch)
    assert config.accumulate == 1 and "--accumulate" not in capsys.readouterr().out
    (found,) = estimates(config, 4, ["transformer"])
    free = (found.state + 0.3 * found.activations) / ROOM  # room for a quarter
    cut, config = trained_with(tmp_path / "cut", monkeypatch, free)
    printed = capsys.readouterr().out
    assert config.accumulate == GradientState().num_steps == 4
    assert "in 4 parts (--accumulate 4)" in printed and "warning" not in printed
    for a, b in zip(whole.splitlines(), cut.splitlines(), strict=True):
        assert json.loads(a) == pytest.approx(json.loads(b), rel=1e-3)
    stages.train(config, tmp_path / "cut", ["transformer"], resume=True)
    assert load_config(tmp_path / "cut/config.json").accumulate == 4


@pytest.mark.usefixtures("own_accelerator")
def test_if_even_the_smallest_parts_do_not_fit_a_warning_comes_first(tmp_path, monkeypatch, capsys):
    _, config = trained_with(tmp_path, monkeypatch, free=1000)
    assert config.accumulate == 8
    assert "warning: transformer needs" in capsys.readouterr().out


@pytest.mark.usefixtures("own_accelerator")
def test_a_second_stage_may_be_split_differently_from_the_first(tmp_path, monkeypatch):
    _, config = trained_with(tmp_path, monkeypatch, free=1000)
    stages.train(replace(config, accumulate=1), tmp_path, ["autoregressive"])


# --- Crops ---


@given(seed=seeds, most=st.integers(1, 3))
def test_a_crop_is_a_window_of_the_mirrored_image(seed, most):
    images = torch.rand(4, 3, 6, 6, generator=generator(seed))
    moves = torch.randint(2 * most + 1, (4, 2), generator=generator(seed))
    padded = nn.functional.pad(images, (most,) * 4, mode="reflect")
    for image, (down, right), found in zip(padded, moves.tolist(), shift(images, moves, most)):
        assert found.equal(image[:, down : down + 6, right : right + 6])


def test_a_crop_in_the_middle_is_the_image():
    images = torch.rand(2, 3, 8, 8)
    assert shift(images, torch.full((2, 2), 3), 3).equal(images)


@pytest.mark.usefixtures("own_accelerator")
def test_crops_and_mirrors_are_drawn_for_the_batch_and_the_same_in_parts(tmp_path):
    seen = []
    for accumulate in (1, 2):
        settings = replace(tiny_session(tmp_path / "x").config.images, crop=2, flip=True)
        session = tiny_session(tmp_path / str(accumulate), images=settings, accumulate=accumulate)
        torch.manual_seed(1)
        seen.append(torch.cat([images for images, _ in session.micro_batches(0, 8)]))
        assert len(micro_batches(8, session.accelerator)) == accumulate
    assert seen[0].equal(seen[1])


@pytest.mark.usefixtures("own_accelerator")
@pytest.mark.parametrize(("crop", "flips"), [(2, False), (0, True), (0, False)])
def test_each_of_crops_and_mirrors_works_without_the_other(tmp_path, crop, flips):
    session = tiny_session(tmp_path, images=ImagesConfig(size=16, count=64, crop=crop, flip=flips))
    torch.manual_seed(1)
    ((seen, _),) = session.micro_batches(0, 8)
    torch.manual_seed(1)
    mirrored, moves = torch.rand(8) < 0.5, torch.randint(2 * crop + 1, (8, 2))
    plain = session.train.batch(session.indices(64, 8, 0))[0]
    expected = to_float(mirror(plain, mirrored) if flips else plain)
    assert seen.equal(shift(expected, moves, crop) if crop else expected) and mirrored.any()


# --- Reading ahead ---


@given(depth=st.integers(1, 5), steps=st.lists(st.integers(0, 3), max_size=6))
def test_values_computed_ahead_are_those_of_the_requested_steps(depth, steps):
    ahead, step = Ahead(lambda step: step * step, depth), 0
    for stride in steps:  # steps may be left out
        step += stride + 1
        assert ahead(step) == step**2


def test_the_next_steps_are_computed_in_the_background():
    begun = [threading.Event() for _ in range(4)]
    ahead = Ahead(lambda step: begun[step].set(), depth=3)
    ahead(0)
    assert begun[2].wait(10) and not begun[3].is_set()


def test_an_error_while_reading_ahead_is_raised_when_the_step_is_requested():
    def broken(step):
        if step == 1:
            raise ValueError("broken image")
        return step

    ahead = Ahead(broken)
    assert ahead(0) == 0
    with pytest.raises(ValueError, match="broken image"):
        ahead(1)


@pytest.mark.usefixtures("own_accelerator")
def test_on_a_cpu_the_training_thread_also_reads(tmp_path, monkeypatch):
    readers, session = [], tiny_session(tmp_path)
    batch = ImageData.batch
    monkeypatch.setattr(ImageData, "batch", lambda *given: readers.append(threading.current_thread()) or batch(*given))
    assert len(list(session.micro_batches(0, 4))) == 1
    assert readers == [threading.main_thread()]


def test_images_decoded_on_access_are_in_order():
    read = lambda index: torch.full((3, 2, 2), index, dtype=torch.uint8)
    data = ImageData(["a"], 2, torch.arange(9), read=read)
    images, labels = data.batch(torch.tensor([5, 0, 8]))
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [5, 0, 8]


# --- Less memory, and compiled ---


@pytest.mark.parametrize("causal", [False, True])
def test_recomputed_activations_give_the_same_gradients(causal):
    gradients = []
    for recompute in (False, True):
        model = tiny_transformer(causal=causal, dropout=0.2).train()
        model.recompute = recompute
        torch.manual_seed(0)
        model(torch.arange(9)[None] % 11, torch.tensor([1])).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert gradients[0] and all(a.equal(b) for a, b in zip(*gradients, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("own_accelerator")
def test_a_compiled_transformer_learns_the_same(tmp_path, monkeypatch):
    # A kernel cached by a process with other instruction sets can abort this one.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    losses = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        torch.manual_seed(0)
        session = tiny_run(
            folder,
            compile=compiled,
            transformer=TransformerConfig(width=16, depth=1, heads=2, mlp_width=16, dropout=0.0),
            transformer_training=TransformerTraining(steps=3, batch_size=4),
            report_every=1,
        )
        transformer.train_transformer(session, causal=False)
        lines = (folder / "transformer/metrics.jsonl").read_text("utf-8").splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0][0] != losses[0][1]


def test_a_tokenizer_s_cost_grows_with_its_pictures():
    with torch.device("meta"):
        models = {size: tiny_tokenizer(image_size=size).eval() for size in (8, 16)}
    small, large = (cost(Config(), model, (3, size, size)) for size, model in models.items())
    assert large.flops == 4 * small.flops > 0 and large.kept > 3 * small.kept > 0


@pytest.mark.usefixtures("own_accelerator")
def test_compiling_without_a_compiler_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("minimaskgit.training.session.shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler"):
        tiny_session(tmp_path, compile=True)
