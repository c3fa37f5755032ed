"""One training loop for every stage: step, report, picture, checkpoint, stop and go on (lesson 9).

    for step in ...:  seed(step) ──> train_step(step) ──> metrics ──> metrics.jsonl, TensorBoard, progress bar

Everything random in a step is drawn after seeding by (run seed, stage, step), and the data order is a function of the
step. So nothing random needs to be saved: a run that was stopped and resumed draws what it would have drawn.
"""

import json
import math
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from minimaskgit.checkpoint import Stateful, load_checkpoint, save_checkpoint
from minimaskgit.cli import postponed_stop
from minimaskgit.errors import UserError

Metrics = Mapping[str, Tensor | float]


def fit(
    folder: Path,
    steps: int,
    train_step: Callable[[int], Metrics],
    parts: Mapping[str, Stateful],
    *,
    seed: int = 0,
    report_every: int = 50,
    save_every: int = 500,
    picture_every: int = 500,
    picture: Callable[[int], Path] | None = None,
) -> float:
    """Call `train_step` for every step not yet done, reporting, drawing and saving at intervals; gives the seconds.

    folder: of the stage, whose name is shown; a checkpoint of `parts` found there is resumed. train_step gives its
    metrics as scalars; their means go to folder/metrics.jsonl and TensorBoard. Stopped by Ctrl-C or SIGTERM it saves
    first. Raises UserError when a metric is no longer finite. The seconds are those of all sessions together.
    """
    path = folder / "checkpoint.safetensors"
    start, seconds_before = load_checkpoint(path, parts)
    log = _Log(folder, start)
    sums: dict[str, Tensor | float] = {}  # since the last report
    counts: Counter[str] = Counter()  # steps summed; a loss may join late
    began = time.perf_counter()
    bar = tqdm(
        total=steps,
        initial=start,
        desc=folder.name,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30,
    )
    with bar, postponed_stop() as stop:
        for step in range(start, steps):
            seed_everything(seed, folder.name, step)
            for name, value in train_step(step).items():
                sums[name] = sums.get(name, 0) + (value.detach() if isinstance(value, Tensor) else value)
                counts[name] += 1
            done = step + 1
            bar.update()
            if done % report_every == 0 or done == steps:
                means = {name: float(total) / counts[name] for name, total in sums.items()}
                _check_finite(means, folder, done)
                log.write(done, means)
                bar.set_postfix_str(" ".join(f"{name} {value:.3g}" for name, value in means.items()))
                sums.clear()
                counts.clear()
            if picture and (done % picture_every == 0 and done < steps):
                picture(done)
            if (done % save_every == 0 or stop) and done < steps:
                _check_finite(sums, folder, done)  # never over a good state
                save_checkpoint(path, done, seconds_before + time.perf_counter() - began, parts)
            if stop and done < steps:
                raise KeyboardInterrupt(
                    f"{folder.name} saved at step {done} of {steps}; to go on, run it again (train: with --resume)"
                )
    log.close()
    return seconds_before + time.perf_counter() - began


def seed_everything(seed: int, stage: str, step: int) -> None:
    """Seed torch's generators by run, stage and step."""
    torch.manual_seed(zlib.crc32(f"{seed}/{stage}/{step}".encode()))


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> Tensor:
    """Which of `count` samples step number `step` trains on: int64 (batch_size,), every sample once an epoch.

    Batches run on over the end of an epoch into the next one's order.
    """
    first = step * batch_size
    places = torch.arange(first, first + batch_size)
    epochs = range(first // count, (first + batch_size - 1) // count + 1)
    order = torch.cat([_epoch_order(count, seed, epoch) for epoch in epochs])
    return order[places - epochs.start * count]


def cosine_decay(step: int, steps: int, warmup: int) -> float:
    """Learning rate as a fraction of its peak: a linear rise over `warmup` steps, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def trapezoid(step: int, steps: int, warmup: int, cooldown: float) -> float:
    """Learning rate as a fraction of its peak: a linear rise, a plateau, a linear fall over the last `cooldown`."""
    rise = min(1.0, (step + 1) / max(1, warmup))
    fall = min(1.0, (steps - step) / max(1, cooldown * steps))
    return rise * fall


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def gradient_norm(model: nn.Module, largest: float) -> Tensor:
    """Clip the gradient to the norm `largest` and give the norm it had."""
    return nn.utils.clip_grad_norm_(model.parameters(), largest)


@lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(zlib.crc32(f"{seed}/{epoch}".encode())))


def _check_finite(metrics: Metrics, folder: Path, step: int) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise UserError(
                f"{folder.name}: {name} is {float(value)} at step {step}; try a lower learning rate or --precision fp32"
                " (a checkpoint saved before is intact)"
            )


class _Log:
    """metrics.jsonl and TensorBoard, continued from a step."""

    def __init__(self, folder: Path, start: int):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        kept = (
            [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= start]
            if path.exists()
            else []
        )
        path.write_text("".join(f"{line}\n" for line in kept))  # drop what came after the checkpoint
        self.file = path.open("a")
        self.board = SummaryWriter(folder / "tensorboard", purge_step=start + 1 if start else None)

    def write(self, step: int, means: Mapping[str, float]) -> None:
        self.file.write(json.dumps({"step": step, **means}) + "\n")
        self.file.flush()
        for name, value in means.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        self.file.close()
        self.board.close()
