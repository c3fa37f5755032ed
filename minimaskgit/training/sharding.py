"""Weights split between processes (FSDP), for transformers too large for the memory of one GPU.

split(model)              each process keeps its share of every weight, gradient and optimizer state;
                          a block's weights are gathered when it computes, and freed afterwards
whole(tensor)             gathers a tensor from all processes
share_of(tensor, value)   the inverse: this process's share, for loading a checkpoint

Split weights are DTensors. Their module and FSDP's take seconds to import, so only those who split do that.
"""

import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def split(model: nn.Module) -> None:
    """Split the weights of a model with `blocks` between processes, in place; all processes must call it.

    It replaces the parameter objects, so create optimizers afterwards. Only calls of the whole model or of its blocks
    gather weights.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # The logits are a view of a matrix product's result; this is safe because nothing here writes into them.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")


def is_split(value: Tensor | nn.Module) -> bool:
    """Whether `split` left this process only a share of a tensor or of a model's weights."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    return isinstance(value, (DTensor, FSDPModule))


def whole(tensor: Tensor) -> Tensor:
    """Gather a split tensor from all processes, all of which must call this; other tensors are returned unchanged."""
    return tensor.full_tensor() if is_split(tensor) else tensor


def share_of(tensor: Tensor, value: Tensor) -> Tensor:
    """This process's share of `value`, split like `tensor`, which has the same shape; all of it if not split."""
    if not is_split(tensor):
        return value
    from torch.distributed.tensor import distribute_tensor

    # src_data_rank=None: every process already has the whole value, so nothing is sent.
    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)


def whole_model(model: nn.Module, make: Callable[[], nn.Module], here: bool) -> nn.Module:
    """A new model in eval mode with the gathered weights of a split one; without storage where `here` is false.

    make: creates a model of the same shape. All processes must call this.
    """
    with torch.device("meta"):
        fresh = make()
    if here:
        fresh.to_empty(device=next(model.parameters()).device)
    for name, value in model.state_dict().items():
        value = whole(value)  # called by all processes
        if here:
            fresh.load_state_dict({name: value}, strict=False)
    if here:
        for buffer, own in zip(fresh.buffers(), model.buffers(), strict=True):  # a state may lack some: RoPE's angles
            buffer.copy_(own)
    return fresh.eval()
