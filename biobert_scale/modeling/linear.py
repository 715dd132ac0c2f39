"""Linear layers, also in bf16 on a CPU that has no instruction for it.

The library emulates the missing instruction several times slower than fp32 runs. A product of two bf16
numbers is exact in fp32, and hardware that has the instruction sums in fp32 too, so multiplying in fp32 and
rounding the result to bf16 gives what such hardware gives, at fp32's speed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_CPU_MULTIPLIES_BF16 = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
"""Asked once and here: a compiled layer cannot ask."""


def multiplies_natively(tensor: Tensor) -> bool:
    """Whether matrix products of this tensor's type run on its device without emulation."""
    return tensor.dtype != torch.bfloat16 or tensor.device.type != "cpu" or _CPU_MULTIPLIES_BF16


def autocast_type(tensor: Tensor) -> torch.dtype | None:
    """The type that autocast gives products on the tensor's device; None without autocast."""
    kind = tensor.device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if enabled else None


class Linear(nn.Linear):
    """`nn.Linear` by `linear` below."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return linear(input, self.weight, self.bias)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`nn.functional.linear`, in fp32 where the product's type (autocast's, else the inputs') is bf16 and the
    device has no instruction for it."""
    if inputs.device.type != "cpu" or _CPU_MULTIPLIES_BF16:
        return nn.functional.linear(inputs, weight, bias)
    autocast = autocast_type(inputs)
    if (autocast or inputs.dtype) != torch.bfloat16:
        return nn.functional.linear(inputs, weight, bias)
    with torch.autocast("cpu", enabled=False):  # which would round the copies again
        if autocast:
            inputs, weight = inputs.to(autocast), weight.to(autocast)
            bias = None if bias is None else bias.to(autocast)
        product: Tensor = _Fp32Linear.apply(inputs, weight, bias)  # type: ignore[no-untyped-call]
    return product


class _Fp32Linear(torch.autograd.Function):
    """`linear` of bf16 tensors through fp32 copies; only the bf16 ones are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.bias_type = None if bias is None else bias.dtype
        wide = None if bias is None else bias.float()
        return nn.functional.linear(inputs.float(), weight.float(), wide).to(inputs.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        gradient = gradients[0].float()
        flat = gradient.flatten(0, -2)
        for_inputs = (gradient @ weight.float()).to(inputs.dtype)
        for_weight = (flat.T @ inputs.float().flatten(0, -2)).to(weight.dtype)
        return for_inputs, for_weight, None if ctx.bias_type is None else flat.sum(0).to(ctx.bias_type)
