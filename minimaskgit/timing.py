"""How long work takes, and on what machine."""

import os
import platform
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import psutil
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


# Dense bfloat16 operations a second, as published, by what a GPU's name contains; other devices are measured.
PUBLISHED_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12}
MATMUL_SIDE = {"cpu": 2048, "mps": 4096, "cuda": 8192}


def peak_flops(device: torch.device, precision: str) -> float:
    """Operations a second of a plain matrix product: as published for the device, or measured in a moment."""
    if published := published_peak(device, precision):
        return published
    work = matmul_work(device, precision)
    work()  # warms up
    return matmul_flops(device) / min(timed(work, device) for _ in range(3))


def published_peak(device: torch.device, precision: str) -> float | None:
    """Operations a second of a GPU that is known here, in bfloat16; None otherwise."""
    if device.type != "cuda" or precision != "bf16":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in PUBLISHED_PEAKS.items() if key in name), None)


def matmul_work(device: torch.device, precision: str) -> Callable[[], object]:
    """The device's yardstick, a product of two square matrices."""
    side, dtype = MATMUL_SIDE[device.type], torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b.mT  # as a linear layer's; torch's a @ b in bf16 takes minutes on a CPU that does not know bf16


def matmul_flops(device: torch.device) -> float:
    """Operations of `matmul_work`."""
    return 2.0 * MATMUL_SIDE[device.type] ** 3


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held so far: on a GPU of its memory, elsewhere of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # which Windows has not

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken: of a GPU's memory, elsewhere of the machine's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def duration(seconds: float) -> str:
    """As people say it: 45 s, 12 min, 3.4 h, 12 days."""
    for unit, size, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < most * size:
            value = seconds / size
            return f"{value:.1f} {unit}" if unit == "h" else f"{value:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def machine(device: torch.device) -> dict:
    """What the numbers were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device.type, "name": name, "cores": os.cpu_count(), "torch": torch.__version__}
