"""Laws of long runs: killed at any moment and resumed, a run ends as one never interrupted, to the bit (lesson 9)."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from minimaskgit import train
from minimaskgit.checkpoint import checkpoints
from minimaskgit.config import load_config

# Every kind of state there is: dropout, dead codes, EMA, an adversary that joins late, batches in parts.
SETTINGS = [
    *("--images.count", "40", "--images.flip", "--report-every", "3", "--save-every", "2", "--picture-every", "5"),
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
STAGES = {"classifier": "tokenizer", "tokenizer": "tokenizer", "transformer": "transformer", "autoregressive": None}
KILLS = 5
processes = multiprocessing.get_context("forkserver")
# What every process would have to import again; the second is what torch's first optimizer imports.
processes.set_forkserver_preload(["minimaskgit.train", "torch._dynamo", "test_survival"])


def train_here(arguments: list[str], stage: str, moment: int, calls) -> None:
    """Train, and at the moment-th function call since the stage began be killed; the calls of the stage are counted."""
    real_fit, real_load_data = train.fit, train.load_data

    def count(frame, event, argument) -> None:
        calls.value += 1
        if calls.value == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def fit(folder, *rest, **options):
        sys.setprofile(count if folder.name == stage else None)
        return real_fit(folder, *rest, **options)

    train.fit = fit
    train.load_data = lambda *args, num_images, **options: real_load_data(*args, num_images=40, **options)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    train.main(arguments)
    sys.setprofile(None)


def in_a_process(folder: Path, stage: str, moment: int = 0) -> tuple[int, int]:
    """Train `stage` in a process of its own, going on if `folder` has a run; gives its exit code and its calls."""
    calls = processes.Value("q", 0, lock=False)
    more = ["--resume"] if (folder / "config.json").exists() else [*SETTINGS, *["--accumulate", "1"] * is_rival(stage)]
    arguments = ["--out", str(folder), "--stage", STAGES.get(stage) or stage, *more]
    process = processes.Process(target=train_here, args=(arguments, stage, moment, calls))
    process.start()
    process.join()
    return process.exitcode, calls.value


def is_rival(stage: str) -> bool:
    return stage in train.RIVALS


def outcome(folder: Path) -> tuple[bytes, str]:
    """What a stage has learned, and what it told on the way."""
    return (folder / "model.safetensors").read_bytes(), (folder / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    for stage in ("tokenizer", "transformer", "autoregressive"):
        assert in_a_process(folder, stage)[0] == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stage", [*STAGES, *train.RIVALS])
def test_a_run_killed_at_any_moment_and_resumed_ends_as_one_never_interrupted(finished, tmp_path, stage):
    start = tmp_path / "start"  # the stages before are there, this one is not
    if not is_rival(stage):
        before = list(STAGES)[: list(STAGES).index(stage)] + ["config.json", "tokens.safetensors"]
        for path in finished.iterdir():
            if path.name in before and path.is_dir():
                shutil.copytree(path, start / path.name)
            elif path.name in before:
                start.mkdir(exist_ok=True)
                shutil.copy(path, start)
    code, total = in_a_process(
        shutil.copytree(start, tmp_path / "whole") if start.exists() else tmp_path / "whole", stage
    )
    assert code == 0 and total > 1000
    whole = outcome(tmp_path / "whole" / stage)
    assert is_rival(stage) or whole == outcome(finished / stage)

    moments, kills, run = random.Random(stage), 0, 0
    folder = tmp_path / "run0"
    while kills < KILLS or not (folder / stage / "model.safetensors").exists():
        if (folder / stage / "model.safetensors").exists():  # done before all kills: once more
            assert outcome(folder / stage) == whole
            run += 1
            folder = tmp_path / f"run{run}"
        if not folder.exists() and start.exists():
            shutil.copytree(start, folder)
        code, _ = in_a_process(folder, stage, moments.randrange(1, total) if kills < KILLS else 0)
        assert code in (0, -signal.SIGKILL)
        kills += code == -signal.SIGKILL
    in_a_process(folder, stage)  # what a kill at the very end left behind goes too
    assert outcome(folder / stage) == whole and not checkpoints(folder / stage)
    assert load_config(folder / "config.json") == load_config(tmp_path / "whole" / "config.json")
