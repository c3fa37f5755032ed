"""How long work takes, and on what machine."""

import os
import platform
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch
from tqdm.auto import tqdm

Key = TypeVar("Key", bound=Hashable)


def interleaved(
    works: Mapping[Key, Callable[[], object]], repeats: int, device: torch.device, name: str = "timing"
) -> dict[Key, list[float]]:
    """Seconds of `repeats` runs of each of some works.

    Round by round, so that a slow spell of the machine hits all alike; a first round only warms up.
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
    """Seconds that `work` takes, the device's part included."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def machine(device: torch.device) -> dict:
    """What the numbers were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device.type, "name": name, "cores": os.cpu_count(), "torch": torch.__version__}
