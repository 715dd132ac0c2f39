"""The masked-LM loss without the logits in fp32.

Logits are (predictions, vocabulary): in fp32, with the copies that softmax and its gradient make, they are
the largest tensors of a step. Here they exist once, in the precision of training; what needs fp32 is done
some rows at a time, and the backward pass turns them into their own gradient where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from biobert_scale.modeling.linear import autocast_type, multiplies_natively

_ALIGNMENT = 8
"""Rows of the logits begin at multiples of this many elements, 16 bytes, for GPUs' fastest kernels."""
_ROWS_IN_CACHE = 32
"""Rows whose logits a CPU's cache holds from one pass over them to the next."""


def cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, *, rows: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `hidden @ weight.T + bias`, summed, and how many of the largest logits are the
    labels'.

    Args:
        hidden: (predictions, hidden), of the type of training, or of any under autocast.
        weight, bias: (vocabulary, hidden), (vocabulary,).
        labels: (predictions,) int64; a negative one is passed over.
        rows: predictions dealt with at a time.

    Returns:
        Two fp32 scalars; the first has gradients, which can be taken once.
    """
    if dtype := autocast_type(hidden):
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), bias.to(dtype)
    with torch.autocast(hidden.device.type, enabled=False) if dtype else nullcontext():
        loss, correct = _CrossEntropy.apply(hidden, weight, bias, labels, rows)  # type: ignore[no-untyped-call]
    return loss, correct


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, rows: int
    ) -> tuple[Tensor, Tensor]:
        logits = hidden.new_empty(len(hidden), -(-len(weight) // _ALIGNMENT) * _ALIGNMENT)[:, : len(weight)]
        log_sums, picked = torch.empty(2, len(hidden), dtype=torch.float32, device=hidden.device)
        correct = torch.zeros((), dtype=torch.float32, device=hidden.device)
        native = multiplies_natively(hidden)
        matrix, vector = (weight, bias) if native else (weight.float(), bias.float())
        if native:
            torch.addmm(vector, hidden, matrix.T, out=logits)
        else:
            for part in _slices(len(hidden), rows):
                logits[part] = torch.addmm(vector, hidden[part].float(), matrix.T)
        ctx.rows = min(rows, _ROWS_IN_CACHE) if hidden.device.type == "cpu" else rows
        for part in _slices(len(hidden), ctx.rows):
            exact = logits[part].float()
            log_sums[part] = exact.logsumexp(-1)
            picked[part] = exact.gather(1, labels[part, None].clamp(min=0))[:, 0]
            correct += (exact.argmax(-1) == labels[part]).sum()
        ctx.save_for_backward(hidden, weight, labels, log_sums)
        ctx.logits, ctx.bias_type = logits, bias.dtype
        ctx.mark_non_differentiable(correct)
        return (log_sums - picked).mul_(labels >= 0).sum(), correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        hidden, weight, labels, log_sums = ctx.saved_tensors
        logits, ctx.logits = ctx.logits, None
        once = "the logits have become their gradient: a second backward pass needs another forward pass"
        assert logits is not None, once
        for part in _slices(len(hidden), ctx.rows):
            wanted = labels[part, None]
            exact = logits[part].float()  # the logits themselves, in place, where they are in fp32
            exact.sub_(log_sums[part, None]).exp_()
            exact.scatter_add_(1, wanted.clamp(min=0), exact.new_full((len(exact), 1), -1.0))
            exact.mul_(gradients[0] * (wanted >= 0))
            if exact.dtype != logits.dtype:
                logits[part] = exact
        native = multiplies_natively(hidden)
        product = logits if native else logits.float()
        for_hidden = (product @ (weight if native else weight.float())).to(hidden.dtype)
        for_weight = (product.T @ (hidden if native else hidden.float())).to(weight.dtype)
        return for_hidden, for_weight, product.sum(0).to(ctx.bias_type), None, None


def _slices(number: int, size: int) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, number, size))
