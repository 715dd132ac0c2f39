"""Attention with dropout on a CPU: the library's kernel without dropout is good, and with it there is none.

Its way around is a chain of element-wise passes over (heads, tokens, tokens), each with its own memory. This
one keeps the probabilities and a mask of bytes, and takes the row sums that softmax's gradient needs from the
output, as FlashAttention does (Dao et al. 2022).
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from biobert_scale.modeling.dropout import keep_mask


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        lengths: list[int],
        dropout: float,
        scaling: float,
    ) -> Tensor:
        # Products of one head after another are fastest where a head's rows lie together; and scaling is
        # cheapest before them.
        query, key, value = query * scaling, key.contiguous(), value.contiguous()
        heads, tokens, size = query.shape
        output = query.new_empty(tokens, heads, size).transpose(0, 1)  # as the next layer reads it
        kept, ends, scale = [], [0, *accumulate(lengths)], 1.0
        for begin, end in pairwise(ends):
            probabilities = torch.bmm(query[:, begin:end], key[:, begin:end].transpose(1, 2)).softmax(-1)
            mask, scale = keep_mask(probabilities.shape, dropout)
            dropped = mask.to(query.dtype).mul_(probabilities)
            output[:, begin:end] = torch.bmm(dropped, value[:, begin:end]).mul_(scale)
            kept.append(probabilities.sub_(dropped, alpha=2))  # the sign is the mask: negative where it stays
        ctx.save_for_backward(query, key, value, output, *kept)
        ctx.ends, ctx.scaling, ctx.scale = ends, scaling, scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, *kept = ctx.saved_tensors
        # (heads, tokens, 1): each row's sum of probability times its gradient.
        along = (gradients[0] * output).sum(-1, keepdim=True)
        gradient = gradients[0] * -ctx.scale
        for_query, for_key, for_value = (torch.empty_like(output) for _ in range(3))
        for (begin, end), signed in zip(pairwise(ctx.ends), kept, strict=True):
            # Both negated: their product is not.
            here, dropped = gradient[:, begin:end].contiguous(), signed.clamp(max=0)
            for_value[:, begin:end] = torch.bmm(dropped.transpose(1, 2), here)
            scores = torch.bmm(here, value[:, begin:end].transpose(1, 2)).mul_(dropped)
            scores.sub_(signed.abs().mul_(along[:, begin:end]))
            for_query[:, begin:end] = torch.bmm(scores, key[:, begin:end]).mul_(ctx.scaling)
            for_key[:, begin:end] = torch.bmm(scores.transpose(1, 2), query[:, begin:end])
        return for_query, for_key, for_value, None, None, None


def attention_with_dropout(
    query: Tensor, key: Tensor, value: Tensor, lengths: list[int], *, dropout: float, scaling: float
) -> Tensor:
    """Softmax attention within each of a row's sequences, with dropout on the probabilities.

    Args:
        query, key, value: (heads, tokens, head size), in fp32 or fp64.
        lengths: tokens of each sequence.
        dropout: see `keep_mask`.
        scaling: of the scores.

    Returns:
        (heads, tokens, head size), laid out in memory as (tokens, heads, head size).
    """
    with torch.autocast("cpu", enabled=False):
        output: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
            query, key, value, lengths, dropout, scaling
        )
    return output
