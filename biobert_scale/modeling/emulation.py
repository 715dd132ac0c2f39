"""bf16 on a CPU that has no instruction for it.

The library emulates the missing instruction several times slower than fp32 runs. A product of two bf16 numbers is exact
in fp32, and hardware that has the instruction sums in fp32 too, so multiplying in fp32 and rounding the result to bf16
gives what such hardware gives, at fp32's speed.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn


@functools.cache
def _cpu_multiplies_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def multiplies_natively(tensor: Tensor) -> bool:
    """Whether matrix products of this tensor's type run on its device without emulation."""
    return tensor.dtype != torch.bfloat16 or tensor.device.type != "cpu" or _cpu_multiplies_bf16()


def emulate_in_fp32(model: nn.Module) -> None:
    """Give a model's linear layers a forward that multiplies in fp32 whenever it meets bf16 without the instruction."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = functools.partial(_linear, module)  # type: ignore[method-assign]


def _linear(module: nn.Linear, inputs: Tensor) -> Tensor:
    if multiplies_natively(inputs):
        return nn.functional.linear(inputs, module.weight, module.bias)
    bias = None if module.bias is None else module.bias.float()
    return nn.functional.linear(inputs.float(), module.weight.float(), bias).to(inputs.dtype)
