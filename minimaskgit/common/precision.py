"""Which precision is faster on a device, bfloat16 or float32, found by measuring (lesson 9).

    a small matrix product and a small convolution ──timed in both, once per process──> "bf16" or "fp32"

Matrix units for bfloat16 (tensor cores, AMX, AVX-512 BF16) multiply several times faster in it than in float32.
Processors without them, as in most laptops, emulate bfloat16 and are many times slower. The precision is that of
products under autocast; weights are always float32. So weights trained in one precision work in the other.
"""

import math
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimaskgit.common.errors import UserError
from minimaskgit.common.timing import timed

Precision = Literal["bf16", "fp32"]
AnyPrecision = Literal["auto", "bf16", "fp32"]
DecodingPrecision = Literal[AnyPrecision, "int8"]  # int8 has no gradients
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

TIME_BUDGET = 0.06  # seconds for which measurements are repeated

MUCH_SLOWER = 2.0  # warn if the chosen precision takes this many times as long as the faster one


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which matrix products and convolutions on `device` are computed in `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def double(x: Tensor) -> Tensor:
    """x in float64: on its own device, or on the CPU if that is Apple's MPS, which has no float64."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def in_int8(model: nn.Module) -> nn.Module:
    """The model itself, whose dense layers now multiply 8-bit integers, with a scale for each matrix and each input.

    A pass of a large transformer is then faster on many CPUs, and its logits differ a little. The weights are a quarter
    as large, but rounding them needs more memory at its peak than float32 does. UserError if PyTorch cannot do it.
    """
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError:
        raise UserError("--precision int8: this version of PyTorch lacks it; expected auto, bf16 or fp32") from None
    backend = torch.backends.quantized
    if backend.engine == "none":  # as on Apple's processors, where PyTorch has an engine but chooses none
        backend.engine = next((name for name in backend.supported_engines if name != "none"), "none")
    if backend.engine == "none":
        raise UserError("--precision int8: this PyTorch has no engine for it; expected auto, bf16 or fp32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it will move to torchao, whose own layers are far slower on CPUs today
        return quantize_dynamic(model, {nn.Linear}, inplace=True)


def choose(asked: DecodingPrecision, device: torch.device) -> Precision | Literal["int8"]:
    """The requested precision, or the faster one for "auto"; warns if the other is more than twice as fast."""
    if asked == "int8":
        if device.type != "cpu":
            raise UserError(f"--precision int8 is for the CPU, not for {device.type}; expected auto, bf16 or fp32")
        return asked
    fast = fast_precision(device)
    if asked == "auto":
        return fast
    if seconds(device, asked) > MUCH_SLOWER * seconds(device, fast):
        warn_once(asked, device)
    return asked


def fast_precision(device: torch.device) -> Precision:
    """The precision in which this device multiplies faster."""
    return min(DTYPES, key=lambda precision: seconds(device, precision))


def seconds(device: torch.device, precision: Precision) -> float:
    """Seconds for a billion operations in a matrix product plus a billion in a convolution."""
    return sum(1 / speed if speed else math.inf for speed in speeds(device)[precision].values())


def speed_text(precision: Precision, speed: dict[str, float]) -> str:
    """One precision's entry of `speeds` as readable text."""
    return f"{precision} product {speed['product']:,.3g}, convolution {speed['convolution']:,.3g} GFLOP/s"


@cache
def warn_once(slow: Precision, device: torch.device) -> None:
    """Warn on standard error that a precision is slow here, once per process."""
    fast, found = fast_precision(device), speeds(device)
    print(
        f"warning: {slow} is slow on this machine: {speed_text(slow, found[slow])}, compared with"
        f" {speed_text(fast, found[fast])}; use --precision {fast} for speed",
        file=sys.stderr,
    )


@cache
def speeds(device: torch.device) -> dict[Precision, dict[str, float]]:
    """GFLOP/s of a matrix product and of a convolution in each precision; 0 if the device lacks the operation.

    On a CPU only one core is measured, because threads that wait for each other on a busy machine make times
    unpredictable. Measured once per process: the operations take turns until the time is up, and the fastest run of
    each counts.
    """
    side, batch, channels = (128, 2, 32) if device.type == "cpu" else (2048, 32, 128)
    operations = {"product": 2 * side**3, "convolution": 2 * 9 * channels**2 * batch * 16**2}
    works = {}
    for precision, dtype in DTYPES.items():
        make = lambda *shape, dtype=dtype: torch.full(shape, 0.5, device=device, dtype=dtype)  # uses no random numbers
        a, x, w = make(side, side), make(batch, channels, 16, 16), make(channels, channels, 3, 3)
        works[precision, "product"] = lambda a=a: a @ a
        works[precision, "convolution"] = lambda x=x, w=w: F.conv2d(x, w, padding=1)
    quickest = dict.fromkeys(works, math.inf)
    with one_thread(), torch.no_grad(), torch.autocast(device.type, enabled=False):
        start, rounds = time.perf_counter(), 0
        while rounds < 2 or time.perf_counter() - start < TIME_BUDGET:  # the first round is a warm-up
            for key, work in works.items():
                with suppress(RuntimeError, TypeError):  # raised if the device does not have the operation
                    quickest[key] = min(quickest[key], timed(work, device))
            rounds += 1
    return {p: {name: operations[name] / 1e9 / quickest[p, name] for name in operations} for p in DTYPES}


@contextmanager
def one_thread() -> Iterator[None]:
    """Run CPU operations on one thread within this context."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
