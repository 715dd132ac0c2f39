"""A store's memory-mapped shards behind one compiled function: arrays by their addresses.

A corpus has a thousand shards; a compiled loop over samples meets a different one each time. A table of
addresses passes through the compiler as plain numbers, and nothing is copied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from biobert_scale.tokens.shards import TokenStore

_COLUMNS = {"token_offsets": np.int32, "sentence_lengths": np.uint32, "sentence_offsets": np.int32}
_SHARD = np.dtype(
    [(name, np.uint64) for name in ("tokens", *_COLUMNS)]
    + [("token_start", np.int64), ("document_start", np.int64)]
)


class StoreTables(NamedTuple):
    """A `TokenStore` for compiled code; it counts tokens and documents from the first shard on.

    One array holds all of it, because compiled code counts references to each array at each call.

    Attributes:
        shards: (shards + 1,) records. `tokens`, `token_offsets`, `sentence_lengths` and `sentence_offsets`
            are where the arrays of a `TokenShard` are in memory, for `view`; `token_start` and
            `document_start` are the numbers of tokens and documents before it. The last record has the
            store's totals.
        token_type: uint16 or uint32.
    """

    shards: np.ndarray
    token_type: np.dtype[Any]


def store_tables(store: TokenStore) -> StoreTables:
    """The tables of a store, which the caller keeps open as long as it uses them."""
    types = {"tokens": store.shards[0].tokens.dtype, **_COLUMNS}
    shards = np.zeros(len(store.shards) + 1, _SHARD)
    shards["token_start"], shards["document_start"] = store.token_starts, store.document_starts
    for k, shard in enumerate(store.shards):
        for name, dtype in types.items():
            array = getattr(shard, name)
            assert array.dtype == dtype and array.flags.c_contiguous, f"{name}: {array.dtype}"
            shards[name][k] = array.ctypes.data
    return StoreTables(shards, store.shards[0].tokens.dtype)


@intrinsic
def _pointer(_context: Any, _address: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uint64), generate


@numba.njit(inline="always")
def view(address: int, length: int, dtype: DTypeLike) -> np.ndarray:
    """The (length,) array at an address in memory. Compiled code only."""
    return numba.carray(_pointer(address), length, dtype)  # type: ignore[attr-defined,call-arg,arg-type]


@numba.njit(inline="always")
def int64_at(array: np.ndarray, k: int) -> int:
    """Element `k` as a signed number, whatever the array holds. Compiled code only."""
    return np.int64(array[k])  # type: ignore[return-value]  # a machine integer once compiled


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
