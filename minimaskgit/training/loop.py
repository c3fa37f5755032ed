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
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.cli import postponed_stop
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_text
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
    picture: Callable[[int], Any] | None = None,
    batch: Callable[[int], Tensor] | None = None,
    best: str | None = None,
    speed: Callable[[float], Mapping[str, float]] | None = None,
    keep: int = 2,
    accelerator: Accelerator | None = None,
    stop_at: int | None = None,
) -> float:
    """Call `train_step` for every step not yet done, reporting, drawing and saving at intervals; gives the seconds.

    folder: of the stage, whose name is shown; a checkpoint of `parts` found there is resumed. train_step gives its
    metrics as scalars; their means go to folder/metrics.jsonl and TensorBoard. batch: the numbers of a step's samples,
    written to folder/nan.json when a metric of theirs is not finite, which raises UserError. Of the checkpoints the
    newest `keep` stay, and the one where the metric `best` was lowest. speed: what a step's mean seconds come to, told
    beside the metrics in folder/speed.jsonl and TensorBoard. Stopped by Ctrl-C or SIGTERM it saves first. accelerator:
    of the processes that train together, None for one; each calls `picture`. stop_at: the number of steps done after
    which to save and raise StoppedEarly, unless the stage is then done. The seconds are those of all sessions together.
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
            saving = (done % save_every == 0 and done < steps) or stopping or done == last < steps
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
            if done == last < steps:
                raise StoppedEarly(f"{folder.name}: stopped early at step {done} of {steps}")
    return seconds_before + time.perf_counter() - began


def seed_everything(seed: int, stage: str, step: int) -> None:
    """Seed torch's generators by run, stage and step."""
    torch.manual_seed(zlib.crc32(f"{seed}/{stage}/{step}".encode()))


def _check_finite(means: Means, folder: Path, batch: Callable[[int], Tensor] | None, main: bool) -> None:
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
