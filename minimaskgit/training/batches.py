"""Which samples a step trains on, and how processes share them.

step ──batch_indices──> indices of the batch ──micro_batches──> this process's share, in parts that fit in memory
"""

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> Tensor:
    """Which of `count` samples step number `step` trains on: int64 (batch_size,), every sample once per epoch.

    A batch at the end of an epoch continues with the first samples of the next.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // count, (last - 1) // count + 1)
    parts = [_epoch_order(count, seed, e)[max(0, first - e * count) : last - e * count] for e in epochs]
    return torch.cat(parts)


def micro_batches(batch_size: int, accelerator: Accelerator) -> list[slice]:
    """The slices of a global batch that this process trains on, one per step of gradient accumulation.

    The parts of all processes have the same size and together form the batch, so a mean over the batch is the mean of
    the parts' means.
    """
    processes, count = accelerator.num_processes, accelerator.gradient_accumulation_steps
    size = batch_size // (processes * count)
    firsts = [(number * processes + accelerator.process_index) * size for number in range(count)]
    return [slice(first, first + size) for first in firsts]


@lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(zlib.crc32(f"{seed}/{epoch}".encode())))


class Ahead:
    """Calls a function of the step in a thread, some steps before its result is needed.

    A GPU then need not wait while images are read and decoded. On a CPU this would slow training down: the second
    thread starts its own OpenMP threads, and when there are more of these than cores, all of them sleep between two
    pieces of work. A step then takes half as long again.
    """

    def __init__(self, work: Callable[[int], Any], depth: int = 3):
        self.work, self.depth = work, depth
        self.pool, self.started = ThreadPoolExecutor(1), {}

    def __call__(self, step: int) -> Any:
        for later in range(step, step + self.depth):
            if later not in self.started:
                self.started[later] = self.pool.submit(self.work, later)
        return self.started.pop(step).result()
