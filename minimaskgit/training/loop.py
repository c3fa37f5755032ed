"""One training loop for every stage: step, report, draw a picture, save, stop and resume (lesson 9).

    for step in ...:  seed(step) ──> train_step(step) ──> metrics ──> metrics.jsonl, TensorBoard, progress bar

Random generators are seeded before each step by (run seed, stage, step), and the order of the data depends only on the
step. So no random state needs to be saved: a run that was stopped and resumed draws the same random numbers.

Several processes can run this loop in parallel, each on its share of every batch; only the main process writes.
"""

import json
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.cli import postponed_stop
from minimaskgit.common.errors import UserError, first_line
from minimaskgit.common.files import write_text
from minimaskgit.common.timing import refresh_interval
from minimaskgit.training.checkpoint import Stateful, load_checkpoint, save_checkpoint
from minimaskgit.training.log import Log, Means, Metrics


class StoppedEarly(Exception):
    """A stage was saved and stopped before its last step, as asked for; the message says where."""


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
    picture: Callable[[int], Metrics | None] | None = None,
    batch: Callable[[int], Tensor] | None = None,
    speed: Callable[[float], Mapping[str, float]] | None = None,
    keep: int = 2,
    accelerator: Accelerator | None = None,
    stop_at: int | None = None,
) -> float:
    """Call `train_step` for all remaining steps, report and save at intervals, and return the elapsed seconds.

    The seconds include those before the run was resumed. Ctrl-C or SIGTERM saves a checkpoint before stopping.

    folder: the stage's folder, named after the stage; training resumes from the newest checkpoint of `parts` in it.
    train_step: returns metrics as scalars; their means are written to folder/metrics.jsonl and TensorBoard.
    picture: draws samples, given the number of steps done, and may return their metrics; every process calls it.
    batch: the indices of a step's samples. If a metric is not finite, they are written to folder/nan.json and UserError
    is raised.
    speed: computes speeds from the mean seconds per step, for folder/speed.jsonl and TensorBoard.
    keep: number of newest checkpoints to keep.
    accelerator: connects the processes that train together; None for a single process.
    stop_at: save after this number of steps and raise StoppedEarly, unless the stage is then done.
    """
    main = accelerator is None or accelerator.is_main_process
    means = Means(accelerator)
    parts = {**parts, "means": means}
    start, seconds_before = load_checkpoint(folder, parts)
    _check_same_start(folder, start, accelerator)
    last = steps if stop_at is None else min(stop_at, steps)
    if last <= start < steps:
        raise StoppedEarly(f"{folder.name}: stopped early at step {start} of {steps}")
    log = Log(folder, start) if main else None
    seconds, start_time = seconds_before, time.perf_counter()
    last_report_time = start_time
    bar = tqdm(
        total=steps,
        initial=start,
        desc=folder.name,
        unit="step",
        dynamic_ncols=True,
        mininterval=refresh_interval(),
        disable=not main or not steps,
    )
    alone = accelerator is None or accelerator.num_processes == 1
    last_report_step = start
    with (
        bar,
        closing(log) if log else nullcontext(),
        postponed_stop(second_raises=alone) as stop,
        _report_failures(folder, alone),
    ):
        for step in range(start, steps):
            seed_everything(seed, folder.name, step)
            means.add(step, train_step(step))
            done = step + 1
            bar.update()
            stopping = _any_process(bool(stop), accelerator)
            reporting = done % report_every == 0 or done == steps
            saving = done % save_every == 0 or stopping or done == last  # what follows the last step may be killed, too
            if picture and done % picture_every == 0 and done < steps:
                before = time.perf_counter()
                means.add(step, picture(done) or {})
                last_report_time += time.perf_counter() - before  # drawing is not part of the training speed
            if reporting or saving:
                means.share()
                _check_finite(means, folder, batch, main)  # before saving, so that no good checkpoint is replaced
            if reporting:
                values = means.take()
                if main:
                    log.write(done, values)
                    now = time.perf_counter()
                    if speed:
                        log.write_speed(done, speed((now - last_report_time) / (done - last_report_step)))
                    last_report_time, last_report_step = now, done
                    bar.set_postfix_str(" ".join(f"{name} {value:.3g}" for name, value in values.items()))
            if saving:
                seconds = seconds_before + time.perf_counter() - start_time
                save_checkpoint(folder, done, seconds, parts, keep, write=main)
            if stopping or done == last < steps:
                if not alone:
                    accelerator.wait_for_everyone()  # torchrun kills a process still writing after half a minute
                if stopping:
                    raise KeyboardInterrupt(
                        f"{folder.name} saved at step {done} of {steps}; to resume, run it again (train: with --resume)"
                    )
                raise StoppedEarly(f"{folder.name}: stopped early at step {done} of {steps}")
    return seconds


def seed_everything(seed: int, stage: str, step: int) -> None:
    """Seed torch's random generators from the run's seed, the stage and the step."""
    torch.manual_seed(zlib.crc32(f"{seed}/{stage}/{step}".encode()))


def _check_finite(means: Means, folder: Path, batch: Callable[[int], Tensor] | None, main: bool) -> None:
    step = int(means.broken)
    if step < 0:
        return
    name = next(name for name, total in means.sums.items() if not math.isfinite(total))
    value, where = float(means.sums[name]), ""
    if batch:
        path = folder / "nan.json"
        where = f"; {path} lists its samples"
        if main:
            found = {"step": step + 1, "metric": name, "value": str(value), "samples": batch(step).tolist()}
            write_text(path, json.dumps(found) + "\n")
    raise UserError(
        f"{folder.name}: {name} is {value} at step {step + 1}{where}; try a lower learning rate or --precision fp32"
        " (earlier checkpoints are intact)"
    )


def _any_process(here: bool, accelerator: Accelerator | None) -> bool:
    """Whether `here` is true in any process; all processes get the same answer."""
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
        raise UserError(
            f"{folder}: the processes found checkpoints of different steps {starts}; expected one folder shared by all"
        )


@contextmanager
def _report_failures(folder: Path, alone: bool) -> Iterator[None]:
    """Turn the errors of too little memory, and of a process when another one has died, into one line."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        cure = "resume with a greater --accumulate, which cuts each batch into more parts"
        raise UserError(f"{folder.name}: too little memory ({first_line(error)}); {cure}") from None
    except RuntimeError as error:
        if alone or not any(word in str(error) for word in ("gloo", "NCCL", "Connection", "Broken pipe")):
            raise
        print(  # not a UserError: torchrun will send SIGTERM, which is postponed only within this context
            f"\nerror: {folder.name}: another process of this run has died, so this one stops too"
            f" ({first_line(error)});"
            " --resume continues from the last checkpoint, with any number of processes",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(2)
