"""Attention over concatenated sequences that never crosses a boundary.

Sequences follow one another in a single row; `cu_seqlens` holds their cumulative lengths.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from biobert_scale.errors import UserError
from biobert_scale.modeling.cpu_attention import attention_with_dropout

Backend = Literal["auto", "flash-attn", "sdpa"]


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    sequence_lengths: tuple[int, ...],
    *,
    max_seqlen: int,
    dropout: float = 0.0,
    backend: Backend = "auto",
) -> Tensor:
    """Softmax attention within each sequence of a packed row, scaled by head size ** -0.5.

    Args:
        query, key, value: (tokens, heads, head size).
        cu_seqlens: (sequences + 1,) int32 on the tensors' device, from 0 to tokens.
        sequence_lengths: the same boundaries as lengths on the host, so that nothing waits for the device.
        max_seqlen: no sequence has more tokens. The model's limit rather than the row's longest, so that a
            compiled model meets one value.
        dropout: probability of an attention weight to be dropped.
        backend: of `ComputeConfig.attention`.

    Returns:
        (tokens, heads, head size).

    Raises:
        UserError: the package flash-attn is asked for and not installed.
    """
    scale = query.shape[-1] ** -0.5
    if backend == "flash-attn":
        bounds = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
        output: Tensor = _flash_attn()(query, key, value, *bounds, dropout_p=dropout, softmax_scale=scale)
        return output
    if backend == "auto" and _has_flash_kernels(query.device, query.dtype, query.shape[-1]):
        # The library call behind F.scaled_dot_product_attention's flash path, which unlike its public
        # variable-length wrapper takes a dropout probability.
        output, *_rest = torch.ops.aten._flash_attention_forward(
            *(query, key, value, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen),
            dropout,
            False,  # causal
            False,  # return the mask
            scale=scale,
        )
        return output
    q, k, v = (states.transpose(0, 1) for states in (query, key, value))  # (heads, tokens, head size)
    if query.device.type == "cpu":
        # Even where the CPU multiplies bf16: the kernel has a product compiled for every new shape of a
        # block, and sequences are seldom of one length.
        wide = torch.promote_types(query.dtype, torch.float32)
        q, k, v = q.to(wide), k.to(wide), v.to(wide)
    if backend == "auto" and query.device.type == "cpu" and dropout:
        output = attention_with_dropout(q, k, v, list(sequence_lengths), dropout=dropout, scaling=scale)
    else:
        output = _by_length(q, k, v, sequence_lengths, dropout, scale)
    return output.transpose(0, 1).to(query.dtype)


def _by_length(
    q: Tensor, k: Tensor, v: Tensor, sequence_lengths: tuple[int, ...], dropout: float, scale: float
) -> Tensor:
    """(heads, tokens, head size) by PyTorch's attention, neighbours of one length together."""
    parts, end = [], 0
    # On a CPU autocast would take the types back. What fills a bucket up may be sequences of no token.
    with torch.autocast("cpu", enabled=False) if q.device.type == "cpu" else nullcontext():
        for length, neighbours in itertools.groupby(filter(None, sequence_lengths)):
            start, end = end, end + length * len(list(neighbours))
            # (sequences, heads, length, head size)
            query, key, value = (
                torch.unflatten(states[:, start:end], 1, (-1, length)).transpose(0, 1) for states in (q, k, v)
            )
            context = nn.functional.scaled_dot_product_attention(
                query, key, value, dropout_p=dropout, scale=scale
            )
            parts.append(context.transpose(0, 1).flatten(1, 2))
    return torch.cat(parts, dim=1)


def padded_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, dropout: float) -> Tensor:
    """PyTorch's attention on padded rows.

    Args:
        query, key, value: (rows, tokens, heads, head size).
        mask: (rows, tokens), true where there is a token.

    Returns:
        (rows, tokens, heads, head size).
    """
    q, k, v = (states.transpose(1, 2) for states in (query, key, value))
    return nn.functional.scaled_dot_product_attention(
        q, k, v, mask[:, None, None], dropout_p=dropout, scale=query.shape[-1] ** -0.5
    ).transpose(1, 2)


@functools.cache
def _flash_attn() -> Any:
    try:
        return importlib.import_module("flash_attn").flash_attn_varlen_func
    except ImportError:
        what = "the package flash-attn is not installed"
        remedy = 'install it, or use "auto"'
        raise UserError(what, where="compute.attention = flash-attn", remedy=remedy) from None


@functools.cache
def _has_flash_kernels(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """FlashAttention 2 is for 16 bits, Ampere and what came after, and heads of 8 to 256 in steps of 8. The
    device `meta` stands for a GPU that has it."""
    if device.type not in ("cuda", "meta") or dtype not in (torch.float16, torch.bfloat16):
        return False
    recent = device.type == "meta" or torch.cuda.get_device_capability(device) >= (8, 0)
    return recent and head_size % 8 == 0 and head_size <= 256
