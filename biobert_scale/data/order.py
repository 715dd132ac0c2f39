"""Which sample is where: a keyed permutation per epoch, in constant memory.

A balanced Feistel network over the next even power of two is a bijection whatever its round function;
positions that fall outside the range walk on through it until they fall inside ("cycle walking", Black and
Rogaway 2002).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.data.philox import PURPOSE_ORDER, philox

_ROUNDS = 6


def half_bits(size: int) -> int:
    """Half of the bits of the least even power of two that is not below `size`."""
    return max(1, (max(size - 1, 1).bit_length() + 1) // 2)


@njit(nogil=True)
def permute_one(position: int, size: int, seed: int, purpose: int, epoch: int, half_bits: int) -> int:
    """Where a position in [0, size) goes in the permutation of a seed, a purpose and an epoch.

    Args:
        purpose: below 2^32, of `philox`: no other draws have it and the same seed.
        half_bits: of its size.
    """
    mask: Any = (np.int64(1) << half_bits) - 1
    value = position
    while True:
        left, right = value >> half_bits, value & mask
        for round_number in range(_ROUNDS):
            word = philox(seed, right, round_number, epoch, purpose)[0]
            left, right = right, left ^ (np.int64(word) & mask)
        value = (left << half_bits) | right
        if value < size:
            return int(value)


@njit(nogil=True)
def _permute(positions: np.ndarray, size: int, seed: int, epoch: int, half_bits: int) -> np.ndarray:
    output = np.empty(len(positions), np.int64)
    for k in range(len(positions)):
        output[k] = permute_one(positions[k], size, seed, PURPOSE_ORDER, epoch, half_bits)
    return output


def permute(positions: np.ndarray, *, size: int, seed: int, epoch: int) -> np.ndarray:
    """The sample indices at some positions of an epoch.

    Args:
        positions: (n,) int64 in [0, size).
        size: samples in an epoch.

    Returns:
        (n,) int64 in [0, size); over all positions, every index once.
    """
    return _permute(np.ascontiguousarray(positions, np.int64), size, seed, epoch, half_bits(size))


def samples_at(first: int, count: int, *, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and indices of the samples that a run consumes from position `first` on.

    Returns:
        Two (count,) int64 arrays; epochs follow each other without a gap or a short last batch.
    """
    absolute = np.arange(first, first + count, dtype=np.int64)
    epochs, positions = np.divmod(absolute, size)
    indices = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        indices[chosen] = permute(positions[chosen], size=size, seed=seed, epoch=int(epoch))
    return epochs, indices
