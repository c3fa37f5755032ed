"""The machine: its name, its memory, and the speed of its matrix products."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil
import torch

from minimaskgit.common.errors import UserError
from minimaskgit.common.precision import DTYPES, Precision, fast_precision, speeds
from minimaskgit.common.timing import timed

# Published peaks of GPUs: dense bfloat16 operations per second by product. All other devices are measured.
PUBLISHED_PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "H100 PCIE": 756e12,
    "H100 NVL": 835e12,
    "A100": 312e12,
    "A100 PCIE": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
}

# Words that do not change the speed: the maker, the form factor of the fastest variant, kind and size of the memory.
UNIMPORTANT = re.compile(r"NVIDIA|GEFORCE|SXM\d?|HBM3E?|\d+GB")

LARGEST_SIDE = {"cpu": 2048, "mps": 4096, "cuda": 8192}  # of the matrices whose product is timed
SHORT = 0.2  # seconds that one timed product may take at most

# Environment variables that limit which instructions a processor uses, for trying what a slower one does.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")

# --- Its name ---


def machine(device: torch.device) -> dict:
    """A description of the machine for the JSON files that hold measurements."""
    cpu = device.type == "cpu"
    return {
        "device": device.type,
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "instructions": instructions() if cpu else [],
        "limits": {name: os.environ[name] for name in LIMITS if cpu and name in os.environ},
        "torch": torch.__version__,
        "gflops": speeds(device),
        "precision": fast_precision(device),
    }


def described(found: dict) -> str:
    """The result of `machine` as text."""
    supported = f" ({', '.join(found['instructions'])})" if found["instructions"] else ""
    limits = f", limited by {' '.join(f'{k}={v}' for k, v in found['limits'].items())}" if found["limits"] else ""
    return f"{found['name']}, {found['cores']} cores{supported}{limits}"


def processor() -> str:
    """The processor's product name, or its architecture if the system does not report a name."""
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        return next(named, platform.machine())  # no such line on ARM
    if sys.platform == "darwin":
        return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    return platform.processor() or platform.machine()


def instructions() -> list[str]:
    """The instruction sets for fast matrix products that the processor supports."""
    known = {"AVX2": "avx2", "AVX-512": "avx512", "AVX-512 BF16": "avx512_bf16", "AMX": "amx_tile"}
    return [name for name, key in known.items() if getattr(torch.cpu, f"_is_{key}_supported", lambda: False)()]


# --- Its speed ---


@cache
def peak_flops(device: torch.device, precision: Precision) -> float:
    """Operations per second of a plain matrix product: the published number, or measured once per process."""
    if published := published_peak(device, precision):
        return published
    work, operations = matmul(device, precision)
    work()  # warms up
    return operations / min(timed(work, device) for _ in range(3))


def published_peak(device: torch.device, precision: Precision) -> float | None:
    """The published bfloat16 operations per second of a GPU, or None if the product or the precision is not listed."""
    if device.type != "cuda" or precision != "bf16":
        return None
    words = re.split(r"[\s-]+", torch.cuda.get_device_name(device).upper())
    return PUBLISHED_PEAKS.get(" ".join(word for word in words if not UNIMPORTANT.fullmatch(word)))


def matmul(device: torch.device, precision: Precision) -> tuple[Callable[[], object], float]:
    """A product of two square matrices, as large as can be multiplied in a short time, and its number of operations."""
    side, speed = LARGEST_SIDE[device.type], 1e9 * speeds(device)[precision]["product"]
    while side > 256 and 2.0 * side**3 > SHORT * speed:
        side //= 2
    a, b = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
    return lambda: a @ b.mT, 2.0 * side**3  # as a linear layer multiplies


# --- Its memory ---


def peak_memory(device: torch.device) -> int:
    """The largest number of bytes this process has used so far: of the GPU's memory, or else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # does not exist on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: torch.device) -> int:
    """Bytes that are still free: of the GPU's memory, or else of the machine's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the best one here.

    UserError if the machine does not have it, or for a number as in cuda:1: `accelerate` has no argument for it, so
    training would take the first GPU all the same.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind, _, number = name.partition(":")
    if not available.get(kind):
        usable = ", ".join(kind for kind, here in available.items() if here)
        raise UserError(f"no device {name!r} here; expected auto or one of: {usable}")
    if number:
        hint = f"; to choose a GPU, set CUDA_VISIBLE_DEVICES={number} and --device cuda" if kind == "cuda" else ""
        raise UserError(f"--device {name}: expected a device without a number, such as {kind}{hint}")
    return torch.device(name)
