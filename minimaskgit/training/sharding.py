"""Weights split between processes (FSDP), for a transformer too large for the memory of one GPU.

split(model)    each process keeps its share of every weight, and so of its gradient and optimizer state
                a block's shares are put together when it computes, and let go after
whole(tensor)   put together, by all processes
share_of(tensor, value)   the other way round, when a checkpoint is loaded
"""

import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def split(model: nn.Module) -> None:
    """Leave each process its share of the weights of a model with `blocks`, in place; all processes must call it.

    The parameters are other objects afterwards: optimizers are made after it. Only calls of the model as a whole, and
    of its blocks, put weights together.
    """
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # The logits are a view of a matrix product's result; nothing here writes into them, which would be the danger.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together of all processes' shares, all of which must ask for it; one that is not split, itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(tensor: Tensor, value: Tensor) -> Tensor:
    """What this process keeps of `value`, of the shape of `tensor`: all, unless that is split."""
    if not isinstance(tensor, DTensor):
        return value
    # src_data_rank None: every process has read all of the value, so nothing is sent.
    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)


def whole_model(model: nn.Module, make: Callable[[], nn.Module], here: bool) -> nn.Module:
    """A split model's weights in a fresh one, in eval mode, where `here` is true; elsewhere in one without storage.

    make: gives a model of the same shape. All processes must call it.
    """
    with torch.device("meta"):
        fresh = make()
    if here:
        fresh.to_empty(device=next(model.parameters()).device)
    for name, value in model.state_dict().items():
        value = whole(value)  # by all processes
        if here:
            fresh.load_state_dict({name: value}, strict=False)
    return fresh.eval()
