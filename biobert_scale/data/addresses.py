"""Many memory-mapped arrays behind one compiled function: arrays by their addresses.

A corpus has a thousand shards; a compiled loop over samples meets a different one each time. A table of
addresses passes through the compiler as plain numbers, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def addresses(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(arrays,) uint64: where each array's first element lies. The caller keeps the arrays alive as long as
    it uses them."""
    assert all(array.flags.c_contiguous and array.dtype == arrays[0].dtype for array in arrays)
    return np.array([array.ctypes.data for array in arrays], np.uint64)


@intrinsic
def _pointer(_context: Any, _address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uint64), generate


@numba.njit(inline="always")
def view(address: int, length: int, like: np.ndarray) -> np.ndarray:
    """The (length,) array of `like`'s dtype at an address. Compiled code only."""
    return numba.carray(_pointer(address), length, like.dtype)


@numba.njit(inline="always")
def last_not_above(starts: np.ndarray, value: int) -> int:
    """The last position whose entry is not above `value`, in ascending `starts` that begin at 0."""
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if starts[middle] <= value:
            low = middle
        else:
            high = middle - 1
    return low
