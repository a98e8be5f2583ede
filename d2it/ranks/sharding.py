"""Sharded weights (FSDP2): each rank holds its share of a model's weights, and so of gradients, averages and optimiser.

For models that one GPU does not hold. The forward pass gathers a block's weights as it comes to it.

PyTorch's FSDP takes longer to import than the rest of a stage's own modules together; what shards nothing does without.
"""

from typing import TYPE_CHECKING, TypeGuard, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def shard(model: nn.Module, *, precision: str) -> None:
    """Shard a model's weights in place, before its optimiser is made: all ranks have equal weights, and call this.

    Args:
        model: its lists of layers (`nn.ModuleList`) are gathered layer by layer, all else as one.
        precision: 'bfloat16' gathers weights and computes in it; gradients are summed, and weights kept, in float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
    half = torch.bfloat16 if precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layers in [module for module in model.modules() if isinstance(module, nn.ModuleList)][::-1]:  # inner ones first
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` has had it."""
    return hasattr(module, "set_requires_gradient_sync")


def exchange_gradients(module: nn.Module, now: bool) -> None:
    """Whether the next backward pass of a sharded module sums gradients over ranks, or keeps them for a later one."""
    cast("FSDPModule", module).set_requires_gradient_sync(now)


def whole(x: Tensor) -> Tensor:
    """A sharded tensor gathered, on all ranks, which all call this; any other as it is."""
    return x.full_tensor() if _is_distributed(x) else x


def sharded_as(x: Tensor, model: Tensor) -> Tensor:
    """This rank's part of a whole tensor, laid out as `model` is; whole if that is whole."""
    if not _is_distributed(model):
        return x
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(x.to(model.device), model.device_mesh, model.placements, src_data_rank=None)


def _is_distributed(x: Tensor) -> "TypeGuard[DTensor]":
    return hasattr(x, "full_tensor")
