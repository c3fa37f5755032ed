"""Training in several processes and in parts: the batch is the same however it is split (lesson 9)."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from sessions import tiny_run, tiny_session
from strategies import seeds
from torch.optim.swa_utils import AveragedModel

from minimaskgit import train
from minimaskgit.common.errors import UserError
from minimaskgit.runs.config import ClassifierConfig, Config, TokenizerTraining, TransformerConfig, TransformerTraining
from minimaskgit.runs.run import open_run
from minimaskgit.training import judge, stages, tokenizer, transformer
from minimaskgit.training.batches import batch_indices, micro_batches
from minimaskgit.training.checkpoint import checkpoints
from minimaskgit.training.lock import locked
from minimaskgit.training.log import Means
from minimaskgit.training.processes import connect
from minimaskgit.training.session import check_shares

# --- Sharing a batch among processes ---


@given(
    processes=st.integers(1, 4), parts=st.integers(1, 3), size=st.integers(1, 5), count=st.integers(1, 40), seed=seeds
)
def test_every_sample_is_seen_once_per_epoch_over_all_processes(processes, parts, size, count, seed):
    batch_size, seen = processes * parts * size, []
    for step in range(2 * count):  # whole epochs
        chosen = batch_indices(count, batch_size, step, seed)
        for rank in range(processes):
            place = SimpleNamespace(num_processes=processes, process_index=rank, gradient_accumulation_steps=parts)
            seen += [chosen[part] for part in micro_batches(batch_size, place)]
    assert all(len(part) == size for part in seen)
    assert torch.cat(seen).bincount(minlength=count).tolist() == [2 * batch_size] * count


def place(processes: int) -> SimpleNamespace:
    return SimpleNamespace(num_processes=processes)


@pytest.mark.parametrize("processes, accumulate, refused", [(1, 1, False), (2, 2, False), (3, 1, True), (2, 3, True)])
def test_a_batch_that_cannot_be_shared_evenly_is_refused(processes, accumulate, refused):
    config = replace(Config(), accumulate=accumulate)
    if not refused:
        return check_shares(config, stages.STAGES, place(processes))
    with pytest.raises(UserError, match=r"batch-size .* expected a multiple of"):
        check_shares(config, stages.STAGES, place(processes))


def test_the_rivals_are_trained_by_one_process():
    check_shares(replace(Config(), accumulate=2), ["gan", "diffusion"], place(1))
    with pytest.raises(UserError, match="--stage gan: 2 processes were started"):
        check_shares(Config(), ["gan"], place(2))


def test_batches_of_models_that_are_not_trained_need_not_be_shared_evenly():
    config = replace(Config(), classifier=ClassifierConfig(batch_size=3))
    for settings in (TokenizerTraining(perceptual_weight=0), TokenizerTraining(steps=0, batch_size=3)):
        check_shares(replace(config, tokenizer_training=settings), ["tokenizer"], place(2))


def test_a_classifier_trained_alone_must_be_shared_evenly_too():
    config = replace(Config(), classifier=ClassifierConfig(batch_size=3))
    check_shares(config, ["transformer"], place(2))
    with pytest.raises(UserError, match=r"--classifier.batch-size 3 .* expected a multiple of 2"):
        check_shares(config, ["classifier"], place(2))
    with pytest.raises(UserError, match=r"--classifier.batch-size 3 .* expected a multiple of 2"):
        check_shares(replace(config, fd_samples=6), ["transformer"], place(2))
    with pytest.raises(UserError, match=r"--classifier.batch-size 3 .* expected a multiple of 2"):
        check_shares(replace(config, fd_samples=6, accumulate=2), ["gan"], place(1))


@pytest.mark.usefixtures("own_accelerator")
@pytest.mark.parametrize("accumulate, batch_size, size", [(4, 8, 2), (4, 2, 1), (4, 6, 3), (8, 3, 3)])
def test_no_part_of_a_judge_s_batch_is_empty_however_the_run_cuts_its_own(
    accumulate, batch_size, size, tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr(judge, "train_classifier", started.append)
    settings = {"accumulate": accumulate, "classifier": ClassifierConfig(batch_size=batch_size)}
    tiny_session(tmp_path, **settings)
    judge.load_judge(open_run(tmp_path, "cpu"))
    (session,) = started
    assert [len(labels) for _, labels in session.micro_batches(0, batch_size)] == (batch_size // size) * [size]
    assert session.config.seed == 1 and session.config.classifier.width == 2 * ClassifierConfig().width


# --- A batch in parts ---


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.usefixtures("own_accelerator")
@pytest.mark.parametrize("causal", [False, True])
def test_a_batch_in_parts_trains_a_transformer_like_the_whole_batch(tmp_path, causal):
    settings = TransformerTraining(steps=6, batch_size=12, class_dropout=0.2, ema_decay=0.5, label_smoothing=0.1)
    models = []
    for accumulate in (1, 3):
        folder = tmp_path / str(accumulate)
        torch.manual_seed(0)  # the same tokenizer
        session = tiny_run(folder, transformer_training=settings, accumulate=accumulate, report_every=1)
        models.append(transformer.train_transformer(session, causal).state_dict())
    for name, value in models[0].items():
        assert value.allclose(models[1][name], rtol=1e-3, atol=1e-5), name  # sums in another order
    stage = "autoregressive" if causal else "transformer"
    for one, parts in zip(*(metrics(tmp_path / str(accumulate) / stage) for accumulate in (1, 3)), strict=True):
        assert one == pytest.approx(parts, rel=1e-5)


@pytest.mark.usefixtures("own_accelerator")
def test_each_part_has_its_own_dropout_in_whichever_process_it_is_computed(tmp_path):
    seeds = []
    shape = TransformerConfig(width=16, depth=1, heads=2, mlp_width=16, dropout=0.5)
    settings = TransformerTraining(steps=1, batch_size=4)
    session = tiny_run(tmp_path, transformer=shape, transformer_training=settings, accumulate=4)
    real = transformer.mvtm_loss

    def listen(*arguments):
        seeds.append(torch.initial_seed())
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "mvtm_loss", listen)
        transformer.train_transformer(session, causal=False)
    assert [seed - seeds[0] for seed in seeds] == [0, 1, 2, 3]  # by its first sample


@pytest.mark.usefixtures("own_accelerator")
def test_a_batch_in_parts_trains_the_tokenizer_without_adversary_like_the_whole_batch(tmp_path):
    settings = TokenizerTraining(steps=6, batch_size=8, perceptual_weight=0, gan_weight=0, learning_rate=1e-3)
    lines = []
    for accumulate in (1, 2):
        folder = tmp_path / str(accumulate)
        tokenizer.train_tokenizer(
            tiny_session(folder, tokenizer_training=settings, accumulate=accumulate, report_every=1)
        )
        lines.append(metrics(folder / "tokenizer"))
    for one, parts in zip(*lines, strict=True):
        for name in ("l1", "commitment", "grad_norm"):  # code usage is counted part by part
            assert one[name] == pytest.approx(parts[name], rel=1e-4)


@pytest.mark.usefixtures("own_accelerator")
def test_the_finished_transformer_is_the_moving_average_if_one_is_requested(tmp_path, monkeypatch):
    frozen = lambda model, decay: AveragedModel(model, multi_avg_fn=lambda *_: None).eval()
    monkeypatch.setattr(transformer, "averaged", frozen)  # it keeps the first step's weights forever
    finished = {}
    for decay in (0.0, 0.9):
        torch.manual_seed(0)
        settings = TransformerTraining(steps=3, batch_size=4, ema_decay=decay)
        finished[decay] = transformer.train_transformer(
            tiny_run(tmp_path / str(decay), transformer_training=settings), False
        )
    assert type(finished[0.0]) is type(finished[0.9])
    torch.manual_seed(0)
    first = transformer.train_transformer(
        tiny_run(tmp_path / "first", transformer_training=TransformerTraining(steps=1, batch_size=4)), False
    )
    weight = {name: model.head[0].weight for name, model in (*finished.items(), ("first", first))}
    assert weight[0.9].equal(weight["first"])
    assert not weight[0.0].equal(weight["first"])


# --- Communication between processes ---


def test_all_processes_report_the_first_broken_step_of_any():
    other = SimpleNamespace(
        num_processes=2,
        device=torch.device("cpu"),
        reduce=lambda value, how: torch.stack([value.float(), torch.tensor(math.nan)]).mean(),
        gather=lambda value: torch.cat([value, torch.tensor([3])]),
    )
    for own in (math.nan, 1.0):  # here it breaks at step 5, or not at all
        means = Means(other)
        for step in range(6):
            means.add(step, {"loss": own if step == 5 else 1.0})
        means.share()
        assert int(means.broken) == 3 and not math.isfinite(means.sums["loss"])


def test_metrics_are_finite_even_if_their_sum_is_not():
    means = Means(None)
    means.add(0, {"loss": torch.tensor(3e38), "grad_norm": torch.tensor(3e38)})
    assert int(means.broken) == -1


def test_the_mean_of_metrics_in_half_precision_keeps_its_digits():
    means = Means(None)
    for step in range(200):
        means.add(step, {"loss": torch.tensor(0.91, dtype=torch.bfloat16)})
    assert means.take()["loss"] == pytest.approx(torch.tensor(0.91, dtype=torch.bfloat16).item(), rel=1e-5)


# --- Real runs of several processes ---

SETTINGS = [
    *("--device", "cpu", "--images.count", "40", "--images.flip", "--report-every", "1", "--save-every", "2"),
    *("--precision", "fp32", "--classifier.steps", "4", "--classifier.width", "8", "--classifier.batch-size", "8"),
    *("--tokenizer.width", "8", "--tokenizer.num-codes", "32", "--tokenizer.code-dim", "4"),
    *("--tokenizer.ema", "--tokenizer.revive-after", "2"),
    *("--tokenizer-training.steps", "8", "--tokenizer-training.batch-size", "8"),
    *("--tokenizer-training.gan-start", "0.4", "--tokenizer-training.gan-width", "8"),
    *("--transformer.width", "16", "--transformer.depth", "1", "--transformer.heads", "2", "--transformer.mlp-width"),
    *("16", "--transformer-training.steps", "6", "--transformer-training.batch-size", "8"),
    *("--transformer-training.class-dropout", "0.2", "--transformer-training.ema-decay", "0.5"),
]
SAME = 1e-4  # relative, of every reported number: float32 sums in another order, over at most eight steps
PROGRAM = """
import os, signal, sys
from minimaskgit import train
from minimaskgit.common import cli
from minimaskgit.training import loop
seed_everything = loop.seed_everything

def at_step(seed, stage, step):
    for number, rank, when in {events}:
        if int(os.environ["RANK"]) == rank and (stage, step) == when:
            os.kill(os.getpid(), number)
    seed_everything(seed, stage, step)

loop.seed_everything = at_step
cli.run(lambda: train.main(sys.argv[1:]))
"""


def two_processes(
    tmp_path: Path,
    *arguments: str,
    events: Sequence = (),
    program: str = PROGRAM,
    count: int = 2,
) -> subprocess.CompletedProcess:
    """Train with torchrun in `count` processes; events: (signal, rank, (stage, step)) that they send themselves."""
    path = tmp_path / "program.py"
    path.write_text(program.format(events=events), "utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(train.__file__).parents[1])}
    return subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=240, env=environment)


@pytest.fixture(scope="module")
def one_process(posix, tmp_path_factory) -> Path:
    """A run of one process with all stages."""
    AcceleratorState._reset_state(reset_partial_state=True)
    folder = tmp_path_factory.mktemp("runs") / "one"
    train.main(["--out", str(folder), *SETTINGS])
    return folder


def assert_same_course(a: Path, b: Path) -> None:
    lines, others = metrics(a), metrics(b)
    assert len(lines) == len(others) >= 4
    for line, other in zip(lines, others, strict=True):
        assert line == pytest.approx(other, rel=SAME, abs=1e-6)


def files(folder: Path) -> list[str]:
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path.parent if path.parent.name == "tensorboard" else path) for path in found)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_and_only_one_writes(one_process, tmp_path):
    folder = tmp_path / "two"
    ended = two_processes(tmp_path, "--out", str(folder), *SETTINGS)
    assert ended.returncode == 0, ended.stderr
    for stage in ("classifier", "tokenizer", "transformer", "autoregressive"):
        assert_same_course(one_process / stage, folder / stage)
    assert files(folder) == files(one_process)
    assert ended.stdout.count("done: ") == ended.stdout.count("samples: ") / 2 == 1


@pytest.mark.slow
def test_if_one_process_dies_all_end_with_a_clear_message_and_a_single_process_can_resume(one_process, tmp_path):
    folder = tmp_path / "two"
    death = (int(signal.SIGKILL), 1, ("tokenizer", 5))
    ended = two_processes(tmp_path, "--out", str(folder), "--stage", "tokenizer", *SETTINGS, events=[death])
    assert ended.returncode != 0
    assert "error: tokenizer: another process of this run has died, so this one stops too (" in ended.stderr
    assert checkpoints(folder / "tokenizer")[-1].name == "checkpoint-00000004.safetensors"
    AcceleratorState._reset_state(reset_partial_state=True)
    train.main(["--out", str(folder), "--stage", "tokenizer", "--resume", "--device", "cpu"])
    assert_same_course(one_process / "tokenizer", folder / "tokenizer")


@pytest.mark.slow
def test_all_processes_end_in_one_line_if_another_training_holds_the_folder(posix, tmp_path):
    folder = tmp_path / "two"
    AcceleratorState._reset_state(reset_partial_state=True)
    with locked(folder, connect("cpu")):
        ended = two_processes(tmp_path, "--out", str(folder), "--stage", "tokenizer", *SETTINGS)
    lines = [line for line in ended.stderr.splitlines() if f"is being trained by process {os.getpid()} on" in line]
    assert ended.returncode != 0 and 1 <= len(lines) <= 2  # torchrun ends the second as soon as the first has ended
    assert not folder.exists()


@pytest.mark.slow
def test_a_signal_to_any_process_stops_all_after_the_same_step(posix, tmp_path):
    folder = tmp_path / "two"
    stop = (int(signal.SIGTERM), 1, ("classifier", 2))
    again = (int(signal.SIGINT), 1, ("classifier", 2))  # as from torchrun and from the terminal
    only = ["--out", str(folder), "--stage", "tokenizer"]
    ended = two_processes(tmp_path, *only, *SETTINGS, events=[stop, again])
    assert ended.returncode != 0 and "classifier saved at step 3 of 4; to resume" in ended.stderr
    assert checkpoints(folder / "classifier")[-1].name == "checkpoint-00000003.safetensors"


@pytest.mark.slow
def test_two_processes_can_resume_a_run_of_one(one_process, tmp_path, monkeypatch):
    folder = tmp_path / "two"
    only = ["--out", str(folder), "--stage", "tokenizer"]

    def crash(session, images, part):
        raise OSError("power cut")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="power cut"):
        AcceleratorState._reset_state(reset_partial_state=True)
        patch.setattr(tokenizer, "last_layer_gradient", crash)  # as soon as the adversary joins, after step 4
        train.main([*only, *SETTINGS])
    assert checkpoints(folder / "tokenizer")[-1].name == "checkpoint-00000004.safetensors"
    ended = two_processes(tmp_path, *only, "--resume", "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert_same_course(one_process / "tokenizer", folder / "tokenizer")


# --- Weights split between processes ---

SHARES = """
import os, torch, torch.distributed as dist
from minimaskgit.training.sharding import share_of, split, whole, whole_model
from minimaskgit.transformer import Transformer

dist.init_process_group("gloo")
torch.manual_seed(0)
make = lambda: Transformer(7, 3, 4, width=16, depth=2, heads=2, mlp_width=32, rope=True)
model, before = make(), make()
before.load_state_dict(model.state_dict())
split(model)
held = sum(p.to_local().numel() for p in model.parameters())
assert held < 0.6 * sum(p.numel() for p in before.parameters()), held
for split_one, one in zip(model.parameters(), before.parameters()):
    assert whole(split_one).equal(one)
    assert share_of(split_one, one.detach()).to_local().equal(split_one.to_local())
    assert whole(one) is one and share_of(one, one) is one
main = dist.get_rank() == 0
again = whole_model(model, make, here=main)
assert all(p.is_meta is not main for p in again.parameters())
if main:
    assert all(p.equal(one) for p, one in zip(again.parameters(), before.parameters()))
    assert all(b.equal(one) for b, one in zip(again.buffers(), before.buffers()))
dist.barrier()
print("held a share", flush=True)
os._exit(0)  # as cli.run does
"""


@pytest.mark.slow
def test_each_process_holds_its_share_of_split_weights_and_together_they_are_complete(posix, tmp_path):
    ended = two_processes(tmp_path, program=SHARES)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("held a share") == 2


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["transformer", "autoregressive"])
def test_a_split_transformer_has_the_losses_of_one_process_and_any_number_can_resume(one_process, tmp_path, stage):
    folder = tmp_path / "split"
    shutil.copytree(one_process, folder, ignore=shutil.ignore_patterns("config.json", "transformer", "autoregressive"))
    for kind in ("classifier", "tokenizer"):
        shutil.copy(one_process / kind / "config.json", folder / kind)
    options, stop = ["--out", str(folder), "--stage", stage], int(signal.SIGTERM)
    ended = two_processes(tmp_path, *options, "--shard", *SETTINGS, events=[(stop, 1, (stage, 1))])
    assert f"{stage} saved at step 2 of 6" in ended.stderr, ended.stderr
    options += ["--resume", "--device", "cpu"]
    ended = two_processes(tmp_path, *options, events=[(stop, 0, (stage, 3))], count=1)
    assert f"{stage} saved at step 4 of 6" in ended.stderr, ended.stderr
    ended = two_processes(tmp_path, *options)
    assert ended.returncode == 0, ended.stderr
    assert "warning" not in ended.stderr.lower(), ended.stderr
    assert_same_course(one_process / stage, folder / stage)
    alone, split = (load_file(path / stage / "model.safetensors") for path in (one_process, folder))
    assert alone.keys() == split.keys()
    for name, value in alone.items():
        assert split[name].allclose(value, rtol=1e-3, atol=1e-4), name
