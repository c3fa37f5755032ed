"""Timing: how long work takes on a device, and durations as text."""

import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch
from tqdm.auto import tqdm

Key = TypeVar("Key", bound=Hashable)


def interleaved(
    works: Mapping[Key, Callable[[], object]], repeats: int, device: torch.device, name: str = "timing"
) -> dict[Key, list[float]]:
    """Time `repeats` runs of each piece of work, in turns; returns the elapsed seconds of each run.

    Every round runs each piece once, so that a slow moment of the machine affects all of them. The first round is a
    warm-up and is not counted.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in works}
    with tqdm(total=(repeats + 1) * len(works), desc=name, unit="run", dynamic_ncols=True) as bar:
        for round_ in range(repeats + 1):
            for key, work in works.items():
                taken = timed(work, device)
                if round_ > 0:
                    seconds[key].append(taken)
                bar.update()
    return seconds


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes, until the device has finished too."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all work given to it."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def refresh_interval() -> float:
    """Seconds between two updates of a progress bar; in a log file each is a line, so there are few."""
    return 0.5 if sys.stderr.isatty() else 30


def duration(seconds: float) -> str:
    """Seconds as text in a readable unit: 45 s, 12 min, 3.4 h, 12 days."""
    for unit, size, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < most * size:
            value = seconds / size
            return f"{value:.1f} {unit}" if unit == "h" else f"{value:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
