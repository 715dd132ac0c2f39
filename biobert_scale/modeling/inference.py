"""An encoder that only computes, on a CPU: weights laid out once for its kernels, in fp32, bf16 or int8."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

from biobert_scale.compiled import njit
from biobert_scale.modeling.batch import PackedSequences
from biobert_scale.modeling.model import Encoder, Layer, ResidualOutput, SelfAttention

Precision = Literal["fp32", "bf16", "int8"]
"""Of the matrix products: bf16 keeps all states in bf16, int8 keeps all but the products' inputs in fp32."""
_INPUTS, _WEIGHTS = 255, 127
"""The largest numbers of the int8 products' inputs and weights."""
_WEIGHTS_IN_16_BITS = 63
"""The same where a CPU adds two products up in 16 bits: 2 * 255 * 63 < 2**15."""


class Product(Protocol):
    """A linear layer whose weights are laid out."""

    def __call__(self, inputs: Tensor, residual: Tensor | None = None) -> Tensor:
        """(tokens, inputs) -> (tokens, outputs); `residual`, of the output's shape, is added."""
        ...


_Make = Callable[..., Product]


class PackedLinear:
    """A `Product` by oneDNN, in the weights' type.

    Args:
        gelu: apply it to the product, in the same pass.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias, self.after = bias, "gelu" if gelu else "none"

    def __call__(self, inputs: Tensor, residual: Tensor | None = None) -> Tensor:
        operator = torch.ops.mkldnn._linear_pointwise
        product: Tensor
        if residual is None:
            product = operator(inputs, self.weight, self.bias, self.after, [], "none")
        else:
            product = operator.binary(inputs, residual, self.weight, self.bias, "add")
        return product


class Int8Linear:
    """The same with int8 weights, scaled by output, and inputs quantised as they come, by the least and the
    largest of them all."""

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        largest = _WEIGHTS if torch.cpu._is_vnni_supported() else _WEIGHTS_IN_16_BITS
        self.scales = (weight.abs().amax(1) / largest).clamp_min(torch.finfo(torch.float32).tiny)
        numbers = (weight / self.scales[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(numbers, None)
        self.zeros = torch.zeros(len(bias), dtype=torch.int64)
        self.bias, self.after = bias, "gelu" if gelu else "none"

    def __call__(self, inputs: Tensor, residual: Tensor | None = None) -> Tensor:
        numbers, scale, zero = quantised(inputs)
        what = (numbers, scale, zero, self.weight, self.scales, self.zeros)
        in_fp32 = (1.0, 0, torch.float32)
        operator = torch.ops.onednn.qlinear_pointwise
        product: Tensor
        if residual is None:
            product = operator(*what, self.bias, *in_fp32, self.after, [], "none")
        else:
            product = operator.binary(
                *what, residual, self.bias, *in_fp32, 1.0, 0, "add", 1.0, "none", [], "none"
            )
        return product


def quantised(states: Tensor) -> tuple[Tensor, float, int]:
    """uint8 numbers in the shape of fp32 states, a scale and a zero: a state is about (number - zero) *
    scale, and zero is itself."""
    least, largest = (float(each) for each in torch.aminmax(states))
    least, largest = min(least, 0.0), max(largest, 0.0)
    scale = (largest - least) / _INPUTS or 1.0
    zero = round(-least / scale)
    numbers = torch.empty(states.shape, dtype=torch.uint8)
    _quantise(
        states.reshape(-1).numpy(), np.float32(1 / scale), np.float32(zero + 0.5), numbers.view(-1).numpy()
    )
    return numbers, scale, zero


@njit(nogil=True)
def _quantise(states: np.ndarray, steps: np.float32, offset: np.float32, numbers: np.ndarray) -> None:
    for n in range(states.size):
        number = states[n] * steps + offset
        numbers[n] = np.uint8(np.int32(number if number < _INPUTS else np.float32(_INPUTS)))


class FrozenEncoder:
    """An encoder on a CPU, of which hidden states are wanted and no gradient.

    Args:
        encoder: is used up: its weights are laid out anew, or their type changes.
    """

    @torch.no_grad()
    def __init__(self, encoder: Encoder, precision: Precision) -> None:
        kept = torch.bfloat16 if precision == "bf16" else torch.float32
        make: _Make = Int8Linear if precision == "int8" else PackedLinear
        encoder.eval().requires_grad_(False).to(kept)
        self.embeddings = encoder.embeddings
        self.layers = [
            _Layer(cast(Layer, layer), make) for layer in cast(nn.ModuleList, encoder.encoder["layer"])
        ]

    @torch.inference_mode()
    def __call__(self, row: PackedSequences, positions: Tensor) -> Tensor:
        """Last hidden states.

        Args:
            positions: (positions,) int64, indices into the row.

        Returns:
            (positions, hidden) fp32.
        """
        hidden: Tensor = self.embeddings(row.input_ids, row.token_type_ids, row.position_ids)
        *layers, last = self.layers
        for layer in layers:
            hidden = layer(hidden, row.sequence_lengths)
        return last(hidden, row.sequence_lengths, positions).float()


class _Layer:
    """`Layer`, with one product for queries, keys and values, and what follows a product in the same pass."""

    def __init__(self, layer: Layer, make: _Make) -> None:
        attention = cast(SelfAttention, layer.attention["self"])
        inner, outer = cast(ResidualOutput, layer.attention["output"]), layer.output
        parts = attention.query, attention.key, attention.value
        self.mixed = make(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )
        self.head_size = attention.head_size
        gelu = isinstance(layer.intermediate.activation, GELUActivation)
        wide = layer.intermediate.dense
        self.wide = make(wide.weight, wide.bias, gelu=gelu)
        self.activation = nn.Identity() if gelu else layer.intermediate.activation
        self.inner, self.outer = (make(part.dense.weight, part.dense.bias) for part in (inner, outer))
        self.inner_norm, self.outer_norm = inner.LayerNorm, outer.LayerNorm

    def __call__(self, hidden: Tensor, lengths: Sequence[int], positions: Tensor | None = None) -> Tensor:
        """(tokens, hidden) -> the same shape, or (positions, hidden) where they are given."""
        query, key, value = torch.unflatten(self.mixed(hidden), -1, (3, -1, self.head_size)).unbind(1)
        context = _attention(query, key, value, lengths)
        if positions is not None:
            context, hidden = context[positions], hidden[positions]
        hidden = self.inner_norm(self.inner(context, hidden))
        return cast(Tensor, self.outer_norm(self.outer(self.activation(self.wide(hidden)), hidden)))


def _attention(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int]) -> Tensor:
    """(tokens, heads, head size) each -> (tokens, hidden), neighbours of one length together."""
    parts, end = [], 0
    for length, neighbours in itertools.groupby(lengths):
        start, end = end, end + length * len(list(neighbours))
        # (sequences, heads, length, head size)
        q, k, v = (
            torch.unflatten(states[start:end], 0, (-1, length)).transpose(1, 2)
            for states in (query, key, value)
        )
        context = nn.functional.scaled_dot_product_attention(q, k, v)
        parts.append(context.transpose(1, 2).flatten(2).flatten(0, 1))
    return torch.cat(parts)
