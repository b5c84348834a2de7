"""Layers whose weights are spread over all processes and gathered while they compute: for what fits no device whole.

In: a model, as many processes as there are. Out: the same model, each layer's weights in parts (FSDP2, torch's
`fully_shard`; Zhao et al. 2023, arXiv 2304.11277). Embeddings and head stay whole in every process.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from yearling.train.loss import body_of


def spread(model: Any, device: str) -> Any:
    """The model with its layers in parts, and all of it on the device; every process calls it."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (dist.get_world_size(),))
    for layer in body_of(model).layers:
        fully_shard(layer, mesh=mesh)
        layer.set_gradient_divide_factor(1.0)  # an update's loss is one sum over all of its labels
        layer.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    return model.to(device)


def is_spread(tensor: Tensor) -> bool:
    """Whether this process holds a part of it only."""
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where it is spread, every process calls this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def alike(value: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor laid out as a weight is: on its device, and spread where it is."""
    value = value.to(weight.device)
    if isinstance(weight, DTensor):
        return distribute_tensor(value, weight.device_mesh, weight.placements)
    return value
