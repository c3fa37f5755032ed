"""One training loop for every stage: step, report, picture, checkpoint, stop and go on (lesson 9).

    for step in ...:  seed(step) ──> train_step(step) ──> metrics ──> metrics.jsonl, TensorBoard, progress bar

Everything random in a step is drawn after seeding by (run seed, stage, step), and the data order is a function of the
step. So nothing random needs to be saved: a run that was stopped and resumed draws what it would have drawn.

Several processes run this loop side by side, each on its part of every batch; the main one alone writes.
"""

import json
import math
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from minimaskgit.checkpoint import Stateful, load_checkpoint, save_checkpoint
from minimaskgit.cli import postponed_stop
from minimaskgit.errors import UserError
from minimaskgit.files import write_text, writing
from minimaskgit.sharding import whole

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
    picture: Callable[[int], Any] | None = None,
    batch: Callable[[int], Tensor] | None = None,
    best: str | None = None,
    speed: Callable[[float], Mapping[str, float]] | None = None,
    keep: int = 2,
    accelerator: Accelerator | None = None,
) -> float:
    """Call `train_step` for every step not yet done, reporting, drawing and saving at intervals; gives the seconds.

    folder: of the stage, whose name is shown; a checkpoint of `parts` found there is resumed. train_step gives its
    metrics as scalars; their means go to folder/metrics.jsonl and TensorBoard. batch: the numbers of a step's samples,
    written to folder/nan.json when a metric of theirs is not finite, which raises UserError. Of the checkpoints the
    newest `keep` stay, and the one where the metric `best` was lowest. speed: what a step's mean seconds come to, told
    beside the metrics in folder/speed.jsonl and TensorBoard. Stopped by Ctrl-C or SIGTERM it saves first. accelerator:
    of the processes that train together, None for one; each calls `picture`. The seconds are those of all sessions
    together.
    """
    main = accelerator is None or accelerator.is_main_process
    means = _Means(accelerator)
    parts = {**parts, "means": means}
    start, seconds_before = load_checkpoint(folder, parts)
    _check_same_start(folder, start, accelerator)
    log = _Log(folder, start) if main else None
    began = told = time.perf_counter()
    bar = tqdm(
        total=steps,
        initial=start,
        desc=folder.name,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        disable=not main,
    )
    alone = accelerator is None or accelerator.num_processes == 1
    told_step = start
    with (
        bar,
        closing(log) if log else nullcontext(),
        postponed_stop(insisting=alone) as stop,
        _told_if_another_died(folder, alone),
    ):
        for step in range(start, steps):
            seed_everything(seed, folder.name, step)
            means.add(step, train_step(step))
            done = step + 1
            bar.update()
            stopping = _any_process(bool(stop), accelerator) and done < steps
            reporting = done % report_every == 0 or done == steps
            saving = (done % save_every == 0 and done < steps) or stopping
            if reporting or saving:
                means.share()
                _check_finite(means, folder, batch, main)  # never over a good state
            if reporting:
                values = means.take()
                if main:
                    log.write(done, values)
                    now = time.perf_counter()
                    if speed:
                        log.write_speed(done, speed((now - told) / (done - told_step)))
                    told, told_step = now, done
                    bar.set_postfix_str(" ".join(f"{name} {value:.3g}" for name, value in values.items()))
            if picture and done % picture_every == 0 and done < steps:
                picture(done)
            if saving:
                seconds = seconds_before + time.perf_counter() - began
                save_checkpoint(folder, done, seconds, parts, log.last.get(best) if main else None, keep, write=main)
            if stopping:
                if not alone:
                    accelerator.wait_for_everyone()  # torchrun gives those who still write half a minute only
                raise KeyboardInterrupt(
                    f"{folder.name} saved at step {done} of {steps}; to go on, run it again (train: with --resume)"
                )
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


def parts_of_batch(batch_size: int, accelerator: Accelerator) -> list[slice]:
    """Which samples of each global batch are this process's, in as many parts as it accumulates gradients over.

    All parts of all processes are equally large and make up the batch; a mean over the batch is the mean of theirs.
    """
    processes, count = accelerator.num_processes, accelerator.gradient_accumulation_steps
    size = batch_size // (processes * count)
    firsts = [(number * processes + accelerator.process_index) * size for number in range(count)]
    return [slice(first, first + size) for first in firsts]


def mean_metrics(parts: Sequence[Metrics]) -> dict[str, Tensor]:
    """Metrics of the parts of a batch as metrics of the batch."""
    return {name: sum(part[name].detach() for part in parts) / len(parts) for name in parts[0]}


def gradient_norm(model: nn.Module, largest: float) -> Tensor:
    """Clip the gradient to the norm `largest` and give the norm it had."""
    return whole(nn.utils.clip_grad_norm_(model.parameters(), largest))


@lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(zlib.crc32(f"{seed}/{epoch}".encode())))


class Ahead:
    """What a function of the step gives, computed in a thread some steps before it is asked for.

    A GPU need not wait while the next images are read and decoded. On a CPU it would be a loss: what a second thread
    computes in parallel has OpenMP threads of its own, and where there are more of those than cores all of them sleep
    between two pieces of work. A step then takes half as long again.
    """

    def __init__(self, work: Callable[[int], Any], depth: int = 3):
        self.work, self.depth = work, depth
        self.pool, self.begun = ThreadPoolExecutor(1), {}

    def __call__(self, step: int) -> Any:
        for later in range(step, step + self.depth):
            if later not in self.begun:
                self.begun[later] = self.pool.submit(self.work, later)
        return self.begun.pop(step).result()


class _Means:
    """Means of metrics since the last report, and the first step at which one was not finite.

    The sums are part of a checkpoint: the first report after it then is the one that an uninterrupted run writes.
    """

    def __init__(self, accelerator: Accelerator | None):
        self.accelerator = accelerator
        self.sums: dict[str, Tensor | float] = {}
        self.counts: Counter[str] = Counter()  # steps summed; a loss may join late
        self.broken: Tensor | int = -1  # a tensor, so that no step has to wait for the device

    def add(self, step: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0) + (value.detach() if isinstance(value, Tensor) else value)
            self.counts[name] += 1
        finite = torch.isfinite(torch.as_tensor(sum(metrics.values()))).detach()
        self.broken = torch.where(finite | (torch.as_tensor(self.broken) >= 0), self.broken, step)

    def share(self) -> None:
        """Give all processes the same sums, the means of theirs, and the earliest broken step."""
        if self.accelerator is None or self.accelerator.num_processes == 1:
            return
        put = lambda value: torch.as_tensor(value, device=self.accelerator.device)
        self.sums = {name: self.accelerator.reduce(put(total), "mean") for name, total in self.sums.items()}
        steps = self.accelerator.gather(put(self.broken)[None])
        self.broken = steps[steps >= 0].min() if (steps >= 0).any() else -1

    def take(self) -> dict[str, float]:
        """The means, which begin anew."""
        means = {name: float(total) / self.counts[name] for name, total in sorted(self.sums.items())}
        self.sums, self.counts = {}, Counter()
        return means

    def state_dict(self) -> dict[str, Tensor]:
        sums = {f"{name}.sum": _exactly(total) for name, total in self.sums.items()}
        return sums | {f"{name}.count": torch.tensor(count) for name, count in self.counts.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.sums = {key.removesuffix(".sum"): value for key, value in state.items() if key.endswith(".sum")}
        self.counts = Counter(
            {key.removesuffix(".count"): int(value) for key, value in state.items() if key.endswith(".count")}
        )


def _exactly(number: Tensor | float) -> Tensor:
    return number if isinstance(number, Tensor) else torch.tensor(number, dtype=torch.float64)


def _check_finite(means: _Means, folder: Path, batch: Callable[[int], Tensor] | None, main: bool) -> None:
    step = int(means.broken)
    if step < 0:
        return
    name = next(name for name, total in means.sums.items() if not math.isfinite(total))
    value, where = float(means.sums[name]), ""
    if batch:
        path = folder / "nan.json"
        where = f"; {path} has the numbers of its samples"
        if main:
            found = {"step": step + 1, "metric": name, "value": str(value), "samples": batch(step).tolist()}
            write_text(path, json.dumps(found) + "\n")
    raise UserError(
        f"{folder.name}: {name} is {value} at step {step + 1}{where}; try a lower learning rate or --precision fp32"
        " (a checkpoint saved before is intact)"
    )


def _any_process(here: bool, accelerator: Accelerator | None) -> bool:
    """Whether it is so in any process; all of them hear the same."""
    if accelerator is None or accelerator.num_processes == 1:
        return here
    if here:
        accelerator.set_trigger()
    return accelerator.check_trigger()


def _check_same_start(folder: Path, start: int, accelerator: Accelerator | None) -> None:
    if accelerator is None or accelerator.num_processes == 1:
        return
    starts = accelerator.gather(torch.tensor([start], device=accelerator.device)).tolist()
    if len(set(starts)) > 1:
        raise UserError(f"{folder}: the processes found different checkpoints, of steps {starts}; is it one folder?")


@contextmanager
def _told_if_another_died(folder: Path, alone: bool) -> Iterator[None]:
    """Turn what a process hears when another one is gone into one line."""
    try:
        yield
    except RuntimeError as error:
        if alone or not any(word in str(error) for word in ("gloo", "NCCL", "Connection", "Broken pipe")):
            raise
        print(  # here and not by a UserError: torchrun's SIGTERM is on its way, and is not postponed outside
            f"\nerror: {folder.name}: another process of this run is gone, so this one ends too;"
            " --resume goes on from the last checkpoint, with any number of processes",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(2)


class _Log:
    """metrics.jsonl, speed.jsonl and TensorBoard, continued from a step; `last` is the metrics' last line.

    Speed has a file of its own: no two runs have the same, and the metrics of two equal runs should be equal.
    """

    def __init__(self, folder: Path, start: int):
        self.metrics, self.speed = _Lines(folder / "metrics.jsonl", start), _Lines(folder / "speed.jsonl", start)
        self.board = SummaryWriter(folder / "tensorboard", purge_step=start + 1 if start else None)

    @property
    def last(self) -> Mapping[str, float]:
        return self.metrics.last

    def write(self, step: int, means: Mapping[str, float]) -> None:
        self.metrics.write(step, means)
        for name, value in means.items():
            self.board.add_scalar(name, value, step)

    def write_speed(self, step: int, values: Mapping[str, float]) -> None:
        self.speed.write(step, values)
        for name, value in values.items():
            self.board.add_scalar(f"speed/{name}", value, step)

    def close(self) -> None:
        self.metrics.file.close()
        self.speed.file.close()
        self.board.close()


class _Lines:
    """A file of JSON lines with the step they are about, continued from a step."""

    def __init__(self, path: Path, start: int):
        kept = [line for line in _whole_lines(path) if line["step"] <= start]  # drop what came after the checkpoint
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))
        self.last: Mapping[str, float] = kept[-1] if kept else {}
        self.path, self.file = path, path.open("a", encoding="utf-8", newline="\n")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.last = {"step": step, **values}
        with writing(self.path):
            self.file.write(json.dumps(self.last) + "\n")
            self.file.flush()


def _whole_lines(path: Path) -> list[dict[str, float]]:
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:  # a line cut short by a kill; no checkpoint is as late as it
            break
    return lines
