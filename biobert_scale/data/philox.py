"""Counter-based random numbers: Philox4x32-10, compiled.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (SC '11). A draw is a pure function of a key
and a counter, so any worker can make any sample's numbers without a state to carry, save or skip through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from biobert_scale.compiled import njit

# What a stream of draws is for: two purposes never share a counter.
PURPOSE_PAIRS = 1
PURPOSE_MASKING = 2
PURPOSE_ORDER = 3
PURPOSE_VALIDATION = 4
PURPOSE_SOURCE = 5

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


@njit(nogil=True)
def philox(
    key: int, counter_0: int, counter_1: int, counter_2: int, counter_3: int
) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32]:
    """The block of random numbers that belongs to a 64-bit key and four 32-bit counters."""
    key_0, key_1 = np.uint64(key) & _LOW, np.uint64(key) >> _32
    c0, c1, c2, c3 = (
        np.uint64(counter_0) & _LOW,
        np.uint64(counter_1) & _LOW,
        np.uint64(counter_2) & _LOW,
        np.uint64(counter_3) & _LOW,
    )
    for _ in range(10):
        product_0 = _MULTIPLIER_0 * c0
        product_1 = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product_1 >> _32) ^ c1 ^ key_0,
            product_1 & _LOW,
            (product_0 >> _32) ^ c3 ^ key_1,
            product_0 & _LOW,
        )
        key_0 = (key_0 + _WEYL_0) & _LOW
        key_1 = (key_1 + _WEYL_1) & _LOW
    return np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)


@njit(nogil=True)
def draw_below(bound: int, word: np.unsignedinteger[Any]) -> int:
    """An integer in [0, bound) from one 32-bit word, by Lemire's multiplication; bias below bound / 2^32."""
    return np.int64((np.uint64(bound) * np.uint64(word)) >> _32)  # type: ignore[return-value] # a machine integer once compiled
