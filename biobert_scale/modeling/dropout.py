"""Dropout on a CPU, where the library's draws one number after another and costs as much as a matrix product.

A mask takes 16 random bits an element, from a generator that is seeded by PyTorch's own at every call: the
state that a checkpoint keeps decides every mask, and a run that goes on draws what the uninterrupted one
would have. The generator, SplitMix64, makes its n-th number from n alone, many in one instruction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biobert_scale.compiled import njit
from biobert_scale.splitmix import GOLDEN, mixed

_LEVELS = 2**16


def keep_mask(shape: torch.Size, probability: float) -> tuple[Tensor, float]:
    """Draw what stays.

    Args:
        probability: of an element to be dropped; in steps of 2**-16.

    Returns:
        uint8 on the CPU, 1 where an element stays; and what those are multiplied by, so that a sum's
        expectation is unchanged.
    """
    threshold = min(round(probability * _LEVELS), _LEVELS - 1)
    number = shape.numel()
    numbers = np.empty(-(-number // 4), np.uint64)
    _fill(np.uint64(torch.empty((), dtype=torch.int64).random_().item()), numbers)
    bits = numbers.view(np.uint16)[:number]
    mask = torch.from_numpy((bits >= np.uint16(threshold)).view(np.uint8)).view(shape)
    return mask, _LEVELS / (_LEVELS - threshold)


@njit(nogil=True)
def _fill(seed: np.uint64, numbers: np.ndarray) -> None:
    for n in range(numbers.size):
        word = mixed(seed + np.uint64(n + 1) * GOLDEN)
        numbers[n] = word ^ (word >> np.uint64(31))


def applied(states: Tensor, mask: Tensor, scale: float) -> Tensor:
    """`states * mask * scale`; the mask is of bytes, a quarter of one in fp32, widened for the product."""
    return mask.to(states.dtype).mul_(scale).mul_(states)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, probability: float) -> Tensor:
        mask, ctx.scale = keep_mask(states.shape, probability)
        ctx.save_for_backward(mask)
        return applied(states, mask, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return applied(gradients[0], mask, ctx.scale), None


class QuickDropout(nn.Dropout):
    """`nn.Dropout` whose mask is drawn by `keep_mask` where the states are on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        dropped: Tensor = _Dropout.apply(input, self.p)  # type: ignore[no-untyped-call]
        return dropped


def drawn_ahead(dropout: nn.Dropout, states: Tensor) -> tuple[Tensor, float] | None:
    """The mask and scale for states of this shape, for code that draws none itself (a compiled graph); None
    where the layer is to be called."""
    on_cpu = isinstance(dropout, QuickDropout) and states.device.type == "cpu"
    return keep_mask(states.shape, dropout.p) if on_cpu and dropout.training and dropout.p > 0 else None
