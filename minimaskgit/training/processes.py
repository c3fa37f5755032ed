"""The processes that train together: connected once, and led by the main process (lesson 9).

torchrun ──> processes ──connect──> Accelerator of each; main_decides: one does it, all learn what came of it
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import PartialState, is_initialized
from accelerate.utils import DistributedType, InitProcessGroupKwargs, broadcast_object_list

from minimaskgit.common.errors import UserError
from minimaskgit.common.machine import pick_device

COPIES = (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)  # each process has all weights (DDP)
Decision = TypeVar("Decision")


def connect(device: str = "auto", accumulate: int = 1) -> Accelerator:
    """Connect this process to those that train with it; accumulate: micro-batches of each process per step.

    UserError for a device that cannot be had, or processes of a kind that cannot train.
    """
    accelerator = Accelerator(
        cpu=_chosen_device(device).type == "cpu",
        mixed_precision="no",  # Session.autocast sets the precision
        gradient_accumulation_steps=accumulate,
        # The others wait while the main process encodes a large data set.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=12))],
    )
    if accelerator.distributed_type not in (DistributedType.NO, *COPIES):
        raise UserError(
            f"{accelerator.distributed_type.value}: expected one copy of the model per process; use torchrun"
        )
    return accelerator


def _chosen_device(name: str) -> torch.device:
    """The device to train on; UserError if this process already trains on another: `accelerate` keeps the first."""
    if not is_initialized():
        return pick_device(name)
    current = PartialState().device
    if name != "auto" and pick_device(name).type != current.type:
        raise UserError(f"--device {name}: this process already trains on {current.type}; start a new process for it")
    return current


def main_decides(accelerator: Accelerator, decide: Callable[[], Decision]) -> Decision:
    """Run `decide` in the main process and return its result in every process; a UserError is raised in all of them."""
    found: list = [None]
    if accelerator.is_main_process:
        try:
            found = [decide()]
        except UserError as error:
            found = [error]
    (answer,) = broadcast_object_list(found)
    if isinstance(answer, UserError):
        raise answer
    return answer
