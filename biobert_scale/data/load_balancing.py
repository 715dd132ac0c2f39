"""A global step's samples, shared among ranks and micro-steps so that all carry nearly equal tokens."""

from __future__ import annotations

import heapq

import numpy as np

from biobert_scale.compiled import njit


@njit(nogil=True)
def _assign(
    lengths: np.ndarray, longest_first: np.ndarray, micro_batches: int, micro_batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Members of each micro-batch, (micro_batches, micro_batch_size), and its tokens, (micro_batches,)."""
    members = np.empty((micro_batches, micro_batch_size), np.int64)
    filled, loads = np.zeros(micro_batches, np.int64), np.zeros(micro_batches, np.int64)
    heap = [(np.int64(0), np.int64(k)) for k in range(micro_batches)]
    for position in longest_first:
        load, k = heapq.heappop(heap)
        members[k, filled[k]] = position
        filled[k] += 1
        loads[k] = load + lengths[position]
        if filled[k] < micro_batch_size:
            heapq.heappush(heap, (loads[k], k))
    return members, loads


def balance_by_length(lengths: np.ndarray, *, micro_batch_size: int, world_size: int) -> np.ndarray:
    """Assign samples to micro-steps and ranks, equally many each and nearly equal tokens.

    The longest first, each to the micro-batch with the fewest tokens so far that still has room (Graham
    1969). The ranks' micro-batches of one micro-step are then the ones most alike, and from micro-step to
    micro-step the ranks take them in turns from either end, so that none always gets the most tokens.

    Args:
        lengths: (micro_steps * world_size * micro_batch_size,) int64 tokens of each sample.

    Returns:
        (micro_steps, world_size, micro_batch_size) int64 positions into `lengths`.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    members, loads = _assign(lengths, longest_first, len(lengths) // micro_batch_size, micro_batch_size)
    balanced = members[np.argsort(-loads, kind="stable")].reshape(-1, world_size, micro_batch_size)
    balanced[1::2] = balanced[1::2, ::-1]
    return balanced
