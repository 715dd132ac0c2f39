"""Which sample is where: a keyed permutation per epoch, in constant memory.

A balanced Feistel network over the next even power of two is a bijection whatever its round function;
positions that fall outside the range walk on through it until they fall inside ("cycle walking", Black and
Rogaway 2002).
"""

from __future__ import annotations

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.data.philox import PURPOSE_ORDER, philox

_ROUNDS = 6


@njit(nogil=True)
def _permute(positions: np.ndarray, size: int, seed: int, epoch: int, half_bits: int) -> np.ndarray:
    mask, output = (np.int64(1) << half_bits) - 1, np.empty(len(positions), np.int64)
    for k in range(len(positions)):
        value = positions[k]
        while True:
            left, right = value >> half_bits, value & mask
            for round_number in range(_ROUNDS):
                word = philox(seed, right, round_number, epoch, PURPOSE_ORDER)[0]
                left, right = right, left ^ (np.int64(word) & mask)
            value = (left << half_bits) | right
            if value < size:
                break
        output[k] = value
    return output


def permute(positions: np.ndarray, *, size: int, seed: int, epoch: int) -> np.ndarray:
    """The sample indices at some positions of an epoch.

    Args:
        positions: (n,) int64 in [0, size).
        size: samples in an epoch.

    Returns:
        (n,) int64 in [0, size); over all positions, every index once.
    """
    half_bits = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    return _permute(np.ascontiguousarray(positions, np.int64), size, seed, epoch, half_bits)


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
