"""The logs of a stage: metrics.jsonl, speed.jsonl and TensorBoard.

metrics of every step ──mean over the steps between two reports──> one line in each file
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from minimaskgit.common.files import write_text, writing

Metrics = Mapping[str, Tensor | float]


def mean_metrics(parts: Sequence[Metrics]) -> dict[str, Tensor]:
    """Average the metrics of the micro-batches into those of the batch."""
    return {name: sum(part[name].detach() for part in parts) / len(parts) for name in parts[0]}


class Means:
    """Means of metrics since the last report, and the first step at which a metric was not finite.

    The sums are saved in checkpoints, so that a resumed run writes the same reports as an uninterrupted one.
    """

    def __init__(self, accelerator: Accelerator | None):
        self.accelerator = accelerator
        self.sums: dict[str, Tensor | float] = {}
        self.counts: Counter[str] = Counter()  # steps summed per metric; a loss may start late
        self.broken: Tensor | int = -1  # the step, as a tensor so that no step waits for the device

    def add(self, step: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            value = value.detach().float() if isinstance(value, Tensor) else value  # sums in bf16 lose digits
            self.sums[name] = self.sums.get(name, 0) + value
            self.counts[name] += 1
        finite = torch.as_tensor(sum(0 * value for value in metrics.values())).detach() == 0  # else it is NaN
        self.broken = torch.where(finite | (torch.as_tensor(self.broken) >= 0), self.broken, step)

    def share(self) -> None:
        """Replace the sums by their mean over all processes, and `broken` by the earliest broken step."""
        if self.accelerator is None or self.accelerator.num_processes == 1:
            return
        put = lambda value: torch.as_tensor(value, device=self.accelerator.device)
        self.sums = {name: self.accelerator.reduce(put(total), "mean") for name, total in self.sums.items()}
        steps = self.accelerator.gather(put(self.broken)[None])
        self.broken = steps[steps >= 0].min() if (steps >= 0).any() else -1

    def take(self) -> dict[str, float]:
        """Return the means since the last call, and start new ones."""
        means = {name: float(total) / self.counts[name] for name, total in sorted(self.sums.items())}
        self.sums, self.counts = {}, Counter()
        return means

    def state_dict(self) -> dict[str, Tensor]:
        sums = {f"{name}.sum": _exact_tensor(total) for name, total in self.sums.items()}
        return sums | {f"{name}.count": torch.tensor(count) for name, count in self.counts.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.sums = {key.removesuffix(".sum"): value for key, value in state.items() if key.endswith(".sum")}
        self.counts = Counter(
            {key.removesuffix(".count"): int(value) for key, value in state.items() if key.endswith(".count")}
        )


def _exact_tensor(number: Tensor | float) -> Tensor:
    return number if isinstance(number, Tensor) else torch.tensor(number, dtype=torch.float64)


class Log:
    """Writes metrics.jsonl, speed.jsonl and TensorBoard, continued from a step; `last` is the last line of metrics.

    Speeds go to a separate file because they differ between runs, while equal runs should write equal metrics.
    """

    def __init__(self, folder: Path, start: int):
        self.metrics, self.speed = _Lines(folder / "metrics.jsonl", start), _Lines(folder / "speed.jsonl", start)
        self.board = SummaryWriter(folder / "tensorboard", purge_step=start + 1 if start else None)

    def write(self, step: int, means: Mapping[str, float]) -> None:
        self.metrics.write(step, means)
        for name, value in means.items():
            self.board.add_scalar(name, value, step)

    def write_speed(self, step: int, values: Mapping[str, float]) -> None:
        self.speed.write(step, values)
        for name, value in values.items():
            self.board.add_scalar(f"speed/{name}", value, step)

    def close(self) -> None:
        for each in (self.metrics.file, self.speed.file, self.board):
            with suppress(OSError):  # of a full disk, which `write` has reported
                each.close()


class _Lines:
    """A file of JSON lines, one per reported step, continued from a step."""

    def __init__(self, path: Path, start: int):
        kept = [line for line in _whole_lines(path) if line["step"] <= start]  # drop lines after the checkpoint
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))
        self.path, self.file = path, path.open("a", encoding="utf-8", newline="\n")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        with writing(self.path):
            self.file.write(json.dumps({"step": step, **values}) + "\n")
            self.file.flush()


def _whole_lines(path: Path) -> list[dict[str, float]]:
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:  # a line cut short by a kill, and thus later than any checkpoint
            break
    return lines
