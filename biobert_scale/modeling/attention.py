"""Attention over concatenated sequences that never crosses a boundary.

Sequences stand one after another in a single row; `cu_seqlens` holds their cumulative lengths. The function plugs
into transformers' models by name through its attention interface, so the encoder itself stays theirs.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from biobert_scale.modeling.emulation import multiplies_natively

PACKED_ATTENTION = "packed"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seqlens: Tensor,
    sequence_lengths: tuple[int, ...],
    **_: Any,
) -> tuple[Tensor, None]:
    """Softmax attention within each sequence of a packed row.

    Args:
        module: the calling layer (transformers' convention; unused).
        query, key, value: (1, heads, tokens, head size).
        attention_mask: must be None: the boundaries are the mask.
        cu_seqlens: (sequences + 1,) int32 on the tensors' device, from 0 to tokens.
        sequence_lengths: the same boundaries as lengths on the host, so that nothing waits for the device.

    Returns:
        (1, tokens, heads, head size), and None in the place of the attention weights.
    """
    assert attention_mask is None and query.shape[0] == 1 and sum(sequence_lengths) == query.shape[2]
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and _has_flash_kernels(query.device):
        # The library call behind F.scaled_dot_product_attention's flash path, which unlike its public variable-length
        # wrapper takes a dropout probability.
        longest = max(sequence_lengths)
        output, *_rest = torch.ops.aten._flash_attention_forward(
            query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1),
            cu_seqlens, cu_seqlens, longest, longest, dropout, False, False, scale=scaling,
        )  # (tokens, heads, head size)  # fmt: skip
        return output.unsqueeze(0), None
    dtype, lengths = query.dtype, list(sequence_lengths)
    if not multiplies_natively(query):
        query, key, value = query.float(), key.float(), value.float()
    parts = [
        nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        for q, k, v in zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).to(dtype), None


@functools.cache
def _has_flash_kernels(device: torch.device) -> bool:
    """FlashAttention 2 is for Ampere and what came after."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def register() -> None:
    """Make `attn_implementation="packed"` known to transformers. Calling it again changes nothing."""
    AttentionInterface.register(PACKED_ATTENTION, packed_attention)
    AttentionMaskInterface.register(PACKED_ATTENTION, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None
