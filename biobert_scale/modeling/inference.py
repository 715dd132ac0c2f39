"""An encoder that only computes, on a CPU: weights laid out once for its kernels, in fp32, bf16 or int8."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from biobert_scale.modeling.model import Attend, Encoder, Layer, SelfAttention

Precision = Literal["fp32", "bf16", "int8"]
"""Of the matrix products: bf16 keeps all states in bf16, int8 keeps all but the products' inputs in fp32."""
_INT8_LARGEST = 127


class PackedLinear(nn.Module):
    """A linear layer by oneDNN, in the weights' type, with GELU in the same pass.

    Args:
        gelu: apply it to the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias, self.after = bias, "gelu" if gelu else "none"

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            inputs, self.weight, self.bias, self.after, [], "none"
        )
        return product


class Int8Linear(nn.Module):
    """The same with int8 weights, scaled by output, and inputs quantised as they come: by their least
    and their largest value in a pass (PyTorch's dynamic quantisation)."""

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        super().__init__()
        scales = (weight.abs().amax(1) / _INT8_LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        numbers = (weight / scales[:, None]).round().to(torch.int8)
        zeros = torch.zeros_like(scales, dtype=torch.int64)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of the tensors to come
            quantised = torch._make_per_channel_quantized_tensor(numbers, scales, zeros, 0)
        self.packed: Any = torch.ops.quantized.linear_prepack(quantised, bias)
        self.gelu = gelu

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), fp32."""
        product: Tensor = torch.ops.quantized.linear_dynamic(inputs, self.packed)
        return nn.functional.gelu(product) if self.gelu else product


class _Attention(nn.Module):
    """`SelfAttention` with one product for queries, keys and values."""

    def __init__(self, attention: SelfAttention, make: Callable[..., nn.Module]) -> None:
        super().__init__()
        parts = (attention.query, attention.key, attention.value)
        self.product = make(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )
        self.head_size = attention.head_size

    def forward(self, hidden: Tensor, attend: Attend) -> Tensor:
        """(rows, tokens, hidden) -> the same shape."""
        query, key, value = self.product(hidden).unflatten(-1, (3, -1, self.head_size)).unbind(-3)
        return attend(query, key, value, dropout=0.0).flatten(-2)


@torch.no_grad()
def freeze(encoder: Encoder, precision: Precision) -> Encoder:
    """The encoder on a CPU, its layers replaced: it can no longer be trained or saved."""
    encoder.eval().requires_grad_(False)
    if precision == "bf16":
        encoder.to(torch.bfloat16)
    make: Callable[..., nn.Module] = Int8Linear if precision == "int8" else PackedLinear
    for layer in cast(list[Layer], encoder.encoder["layer"]):
        inner = cast(Any, layer.attention["output"])
        layer.attention["self"] = _Attention(cast(SelfAttention, layer.attention["self"]), make)
        for part in (inner, layer.output):
            part.dense = make(part.dense.weight, part.dense.bias)
        wide, gelu = layer.intermediate.dense, encoder.config.hidden_act == "gelu"
        layer.intermediate.dense = cast(Any, make(wide.weight, wide.bias, gelu=gelu))
        if gelu:
            layer.intermediate.activation = nn.Identity()
    return encoder
