"""Which samples a step trains on, and how they are shared out.

step ──batch_indices──> numbers of the batch ──parts_of_batch──> this process's share, in parts that fit in memory
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
    """Which of `count` samples step number `step` trains on: int64 (batch_size,), every sample once an epoch.

    Batches run on over the end of an epoch into the next one's order.
    """
    first = step * batch_size
    places = torch.arange(first, first + batch_size)
    epochs = range(first // count, (first + batch_size - 1) // count + 1)
    order = torch.cat([_epoch_order(count, seed, epoch) for epoch in epochs])
    return order[places - epochs.start * count]


def parts_of_batch(batch_size: int, accelerator: Accelerator) -> list[slice]:
    """Which samples of each global batch are this process's, in as many parts as it accumulates gradients over.

    All parts of all processes are equally large and make up the batch; a mean over the batch is the mean of theirs.
    """
    processes, count = accelerator.num_processes, accelerator.gradient_accumulation_steps
    size = batch_size // (processes * count)
    firsts = [(number * processes + accelerator.process_index) * size for number in range(count)]
    return [slice(first, first + size) for first in firsts]


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
