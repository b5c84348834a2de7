"""Adapted layers in fewer steps: what PEFT computes of a plain LoRA layer, and no copy in 32 bits of all that enters.

In: a model with adapters. Out: the same model, whose layers take this way while they learn. Those that do more than
add a low-rank product (dropout, DoRA, 4 bits) are left to PEFT, and so is all that is computed in evaluation.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Identity, Linear, functional


def hasten(model: Any) -> Any:
    """The model, its plain LoRA layers changed in place; what is saved of it does not change."""
    if not hasattr(model, "peft_config"):
        return model
    from peft.tuners.lora.layer import Linear as Adapted

    for layer in model.modules():
        if type(layer) is Adapted and type(layer.base_layer) is Linear and len(layer.lora_A) == 1:
            (name,) = layer.lora_A
            plain = name not in layer.lora_variant and isinstance(layer.lora_dropout[name], Identity)
            if plain and layer.lora_B[name].bias is None:
                layer.forward = partial(_forward, layer, name)
    return model


def _forward(layer: Any, name: str, inputs: Tensor) -> Any:
    if not layer.training or layer.disable_adapters or layer.merged or name not in layer.active_adapters:
        return type(layer).forward(layer, inputs)
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _Product.apply(inputs, layer.base_layer, down, up, layer.scaling[name])


class _Product(torch.autograd.Function):
    """x W' + b + scale (x A') B', and its gradients by x, A and B; the base's W and b are frozen.

    `inputs` x is (…, in), W (out, in), `down` A (rank, in), `up` B (out, rank). All products are made in the dtype of
    the inputs; A and B and their gradients stay in their own.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, base: Linear, down: Tensor, up: Tensor, scale: float) -> Tensor:
        flat = inputs.reshape(-1, inputs.shape[-1])
        a, b = down.to(flat.dtype), up.to(flat.dtype)
        low = flat @ a.t()
        out = functional.linear(flat, base.weight, base.bias).addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(flat, a, b, low)
        ctx.base, ctx.scale, ctx.shape, ctx.dtype = base, scale, inputs.shape, down.dtype
        return out.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, a, b, low = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        back = (grad @ b).mul_(ctx.scale)
        of_inputs = None
        if ctx.needs_input_grad[0]:
            of_inputs = (grad @ ctx.base.weight).addmm_(back, a).view(ctx.shape)
        of_up = (grad.t() @ low).mul_(ctx.scale)
        return of_inputs, None, (back.t() @ flat).to(ctx.dtype), of_up.to(ctx.dtype), None
