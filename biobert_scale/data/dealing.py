"""The dealing of a global step's samples to ranks and micro-steps by length."""

from __future__ import annotations

import heapq

import numpy as np

from biobert_scale.compiled import njit


@njit(nogil=True)
def _deal(
    lengths: np.ndarray, longest_first: np.ndarray, slots: int, slot_size: int
) -> tuple[np.ndarray, np.ndarray]:
    members, filled, loads = (
        np.empty((slots, slot_size), np.int64),
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int64),
    )
    heap = [(np.int64(0), np.int64(slot)) for slot in range(slots)]
    for position in longest_first:
        load, slot = heapq.heappop(heap)
        members[slot, filled[slot]] = position
        filled[slot] += 1
        loads[slot] = load + lengths[position]
        if filled[slot] < slot_size:
            heapq.heappush(heap, (loads[slot], slot))
    return members, loads


def deal(lengths: np.ndarray, *, slot_size: int, world_size: int) -> np.ndarray:
    """Deal samples to micro-steps and ranks, equally many each and nearly equal tokens.

    The longest first, each to the slot with the fewest tokens so far that still has room (Graham 1969). The
    ranks' micro-batches of one micro-step are then the ones most alike, and from micro-step to micro-step the
    ranks take them in turns from either end, so that none always gets the fullest.

    Args:
        lengths: (micro_steps * world_size * slot_size,) int64 tokens of each sample.

    Returns:
        (micro_steps, world_size, slot_size) int64 positions into `lengths`.
    """
    slots = len(lengths) // slot_size
    members, loads = _deal(lengths, np.argsort(-lengths, kind="stable"), slots, slot_size)
    dealt = members[np.argsort(-loads, kind="stable")].reshape(-1, world_size, slot_size)
    dealt[1::2] = dealt[1::2, ::-1]
    return dealt
