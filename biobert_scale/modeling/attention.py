"""Attention over concatenated sequences that never crosses a boundary.

Sequences stand one after another in a single row; `cu_seqlens` holds their cumulative lengths. The function
plugs into transformers' models by name through its attention interface, so the encoder itself stays theirs.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from biobert_scale.errors import UserError
from biobert_scale.modeling.cpu_attention import attention_with_dropout

PACKED_ATTENTION = "packed"
"""The name in transformers' terms; `packed-sdpa` and `packed-flash-attn` insist on one way, this one takes
the fastest there is."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seqlens: Tensor | None = None,
    sequence_lengths: Tensor | None = None,
    longest: int = 0,
    way: str = "auto",
    **_: Any,
) -> tuple[Tensor, None]:
    """Softmax attention within each sequence of a packed row, or within padded rows.

    Args:
        module: the calling layer (transformers' convention; unused).
        query, key, value: (rows, heads, tokens, head size); one row where it is packed.
        attention_mask: of padded rows, (rows, 1, 1, tokens), true where there is a token; None for a packed
            row: its boundaries are the mask.
        cu_seqlens: (sequences + 1,) int32 on the tensors' device, from 0 to tokens.
        sequence_lengths: (sequences,) int64, the same boundaries as lengths on the host, so that nothing
            waits for the device.
        longest: no sequence has more tokens. The models' limit rather than the row's longest, so that a
            compiled model meets one value.
        way: `auto`, `flash-attn` or `sdpa`.

    Returns:
        (rows, tokens, heads, head size), and None in the place of the attention weights.
    """
    if cu_seqlens is None:
        return (
            nn.functional.scaled_dot_product_attention(
                query, key, value, attention_mask, dropout_p=dropout, scale=scaling
            ).transpose(1, 2),
            None,
        )
    assert attention_mask is None and query.shape[0] == 1 and sequence_lengths is not None
    if way == "flash-attn":
        rows = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
        return (
            _flash_attn()(
                *rows, cu_seqlens, cu_seqlens, longest, longest, dropout_p=dropout, softmax_scale=scaling
            ).unsqueeze(0),
            None,
        )
    if (
        way == "auto"
        and query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and _has_flash_kernels(query.device, query.shape[-1])
    ):
        # The library call behind F.scaled_dot_product_attention's flash path, which unlike its public
        # variable-length wrapper takes a dropout probability.
        output, *_rest = torch.ops.aten._flash_attention_forward(
            *(states.squeeze(0).transpose(0, 1) for states in (query, key, value)),
            cu_seqlens,
            cu_seqlens,
            longest,
            longest,
            dropout,
            False,
            False,
            scale=scaling,
        )  # (tokens, heads, head size)
        return output.unsqueeze(0), None
    if way == "auto" and query.device.type == "cpu" and dropout:
        dtype = query.dtype
        query, key, value = (
            states.squeeze(0).to(torch.promote_types(dtype, torch.float32)) for states in (query, key, value)
        )
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        output = attention_with_dropout(
            query, key, value, sequence_lengths.tolist(), dropout=dropout, scaling=scaling
        )
        return output.transpose(0, 1).unsqueeze(0).to(dtype), None
    return _one_by_one(query, key, value, sequence_lengths, dropout, scaling), None


def _one_by_one(
    query: Tensor, key: Tensor, value: Tensor, sequence_lengths: Tensor, dropout: float, scaling: float | None
) -> Tensor:
    dtype, lengths, device = query.dtype, sequence_lengths.tolist(), query.device.type
    if device == "cpu":
        # Even where the CPU multiplies bf16: the kernel has a product compiled for every new shape of a
        # block, and sequences are seldom of one length.
        query, key, value = (
            states.to(torch.promote_types(dtype, torch.float32)) for states in (query, key, value)
        )
    with torch.autocast(
        device, enabled=torch.is_autocast_enabled(device) and device != "cpu"
    ):  # which would take the types back
        parts = [
            nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
            for q, k, v in zip(
                query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
            )
        ]
    return torch.cat(parts, dim=2).transpose(1, 2).to(dtype)


@functools.cache
def _flash_attn() -> Any:
    try:
        return importlib.import_module("flash_attn").flash_attn_varlen_func
    except ImportError:
        raise UserError(
            "the package flash-attn is not installed",
            where="compute.attention = flash-attn",
            remedy='install it, or use "auto"',
        ) from None


@functools.cache
def _has_flash_kernels(device: torch.device, head_size: int) -> bool:
    """FlashAttention 2 is for Ampere and what came after, and for heads of 8 to 256 in steps of 8."""
    return torch.cuda.get_device_capability(device) >= (8, 0) and head_size % 8 == 0 and head_size <= 256


def register() -> None:
    """Make `attn_implementation="packed"` and the ways of insisting known to transformers. Calling it again
    changes nothing."""
    for way, name in _NAMES.items():
        AttentionInterface.register(name, functools.partial(packed_attention, way=way))
        AttentionMaskInterface.register(name, _no_mask)


def implementation(way: str) -> str:
    """The name that transformers knows a way of `compute.attention` by."""
    return _NAMES[way]


_NAMES = {"auto": PACKED_ATTENTION, "sdpa": "packed-sdpa", "flash-attn": "packed-flash-attn"}


def _no_mask(*_: Any, **__: Any) -> None:
    return None
