"""The mixing function of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators"): numbers in a row become numbers that look random."""

from __future__ import annotations

import numpy as np

from biobert_scale.compiled import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The generator's n-th state is n times this, from 1."""


@njit(nogil=True)
def mixed(state: np.uint64) -> np.uint64:
    """The generator's output before its last step, `x ^ x >> 31`, which the upper half does not need."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
