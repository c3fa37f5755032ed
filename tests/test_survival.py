"""Long runs: a run that is killed at any moment and resumed ends exactly as an uninterrupted one (lesson 9)."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from minimaskgit import train
from minimaskgit.training import session, stages
from minimaskgit.training.checkpoint import checkpoints

# All kinds of state: dropout, dead codes, EMA, an adversary that joins late, batches in parts.
SETTINGS = [
    *("--images.count", "40", "--images.flip", "--report-every", "3", "--save-every", "2", "--picture-every", "5"),
    *("--fd-samples", "4"),
    *("--classifier.steps", "8", "--classifier.width", "8", "--classifier.batch-size", "8", "--precision", "fp32"),
    *("--tokenizer.width", "8", "--tokenizer.num-codes", "16", "--tokenizer.code-dim", "4"),
    *("--tokenizer.ema", "--tokenizer.revive-after", "3", "--accumulate", "2"),
    *("--tokenizer-training.steps", "8", "--tokenizer-training.batch-size", "4"),
    *("--tokenizer-training.gan-start", "0.4", "--tokenizer-training.gan-width", "8"),
    *("--transformer.width", "16", "--transformer.depth", "1", "--transformer.heads", "2", "--transformer.mlp-width"),
    *("16", "--transformer.dropout", "0.1", "--transformer-training.steps", "8", "--transformer-training.batch-size"),
    *("4", "--transformer-training.class-dropout", "0.1", "--transformer-training.ema-decay", "0.8"),
    *("--gan.width", "8", "--gan.latent", "4", "--gan-training.steps", "6", "--gan-training.batch-size", "4"),
    *("--diffusion.width", "8", "--diffusion-training.steps", "6", "--diffusion-training.batch-size", "4"),
]
STAGES = ("classifier", "tokenizer", "transformer", "autoregressive", "gan", "diffusion")
KILLS = 5
if not hasattr(os, "fork"):
    pytest.skip("Windows has neither fork, without which this takes hours, nor SIGKILL", allow_module_level=True)
processes = multiprocessing.get_context("forkserver")
# Imported once here, so that forked processes need not; the second is imported by torch's first optimizer.
processes.set_forkserver_preload(["minimaskgit.train", "torch._dynamo", "test_survival"])


def train_here(arguments: list[str], stage: str, moment: int, calls) -> None:
    """Train a stage, and be killed at function call number `moment` after the start; the calls are counted."""
    real_fit, real_load_data = session.fit, session.load_data

    def count(frame, event, argument) -> None:
        calls.value += 1
        if calls.value == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def fit(folder, *rest, **options):
        if calls.value:
            sys.exit(0)  # the next stage
        sys.setprofile(count if folder.name == stage else None)
        return real_fit(folder, *rest, **options)

    session.fit = fit
    session.load_data = lambda *args, num_images, **options: real_load_data(*args, num_images=40, **options)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    train.main(arguments)
    sys.setprofile(None)


def in_a_process(folder: Path, stage: str, moment: int = 0) -> tuple[int, int]:
    """Train `stage` in a separate process, resuming if `folder` has a run; returns its exit code and its calls."""
    calls = processes.Value("q", 0, lock=False)
    settings = ["--resume"] if (folder / "config.json").exists() else SETTINGS
    alone = ["--accumulate", "1"] if stage in stages.RIVALS else []
    arguments = ["--out", str(folder), "--stage", "tokenizer" if stage == "classifier" else stage, *settings, *alone]
    process = processes.Process(target=train_here, args=(arguments, stage, moment, calls))
    process.start()
    process.join()
    return process.exitcode, calls.value


def outcome(folder: Path) -> tuple[bytes, str]:
    """A stage's final weights, and everything it reported."""
    return (folder / "model.safetensors").read_bytes(), (folder / "metrics.jsonl").read_text("utf-8")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, tuple[Path, int, tuple[bytes, str]]]:
    """For every stage: the run folder before it, its number of calls, and its outcome."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    for stage in STAGES:
        before = shutil.copytree(folder, tmp_path_factory.mktemp("before") / stage)
        code, calls = in_a_process(folder, stage)
        assert code == 0 and calls > 10_000
        found[stage] = before, calls, outcome(folder / stage)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_at_any_moment_and_resumed_ends_as_an_uninterrupted_one(uninterrupted, tmp_path, stage):
    before, calls, expected = uninterrupted[stage]
    moments, kills, runs = random.Random(stage), 0, itertools.count()
    while kills < KILLS:
        folder = shutil.copytree(before, tmp_path / str(next(runs)))
        while not (folder / stage / "model.safetensors").exists():
            code, _ = in_a_process(folder, stage, moments.randrange(1, calls) if kills < KILLS else 0)
            assert code in (0, -signal.SIGKILL)
            kills += code == -signal.SIGKILL
        if code:  # leftovers of a kill just before the end are removed when the run is resumed
            assert in_a_process(folder, stage)[0] == 0
        assert outcome(folder / stage) == expected and not checkpoints(folder / stage)
