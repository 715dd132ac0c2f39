"""The index of samples: which two stretches of text make sample `i`, sixteen bytes a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE

_ADDRESS_BITS, _LENGTH_BITS = 40, 12
MAX_CORPUS_TOKENS = 1 << _ADDRESS_BITS
"""Tokens that an index can address."""
MAX_SAMPLE_TOKENS = (1 << _LENGTH_BITS) - 1
"""Tokens that a sample can have."""
_ADDRESS, _LENGTH = np.uint64(MAX_CORPUS_TOKENS - 1), np.uint64(MAX_SAMPLE_TOKENS)
_A_SHIFT, _B_SHIFT = np.uint64(_ADDRESS_BITS), np.uint64(_ADDRESS_BITS + _LENGTH_BITS)
_RANDOM, _SHORT = np.uint64(_ADDRESS_BITS), np.uint64(_ADDRESS_BITS + 1)


@dataclass(frozen=True)
class Pairs:
    """Some samples' pairs, each field (samples,).

    Attributes:
        a_start, b_start: int64 token addresses (positions in all documents' tokens laid end to end).
        a_length, b_length: int64 tokens.
        is_random: bool, B comes from another document.
        is_short: bool, packed to a target shorter than `max_seq_length`.
    """

    a_start: np.ndarray
    b_start: np.ndarray
    a_length: np.ndarray
    b_length: np.ndarray
    is_random: np.ndarray
    is_short: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(samples,) int64 tokens, special tokens included."""
        both: np.ndarray = self.a_length + self.b_length
        return both + SPECIAL_TOKENS_PER_SAMPLE


def unpack(rows: np.ndarray) -> Pairs:
    """Read rows of an index, (samples, 2) uint64."""
    first, second = rows[..., 0], rows[..., 1]
    one = np.uint64(1)
    return Pairs(
        a_start=(first & _ADDRESS).astype(np.int64),
        b_start=(second & _ADDRESS).astype(np.int64),
        a_length=(first >> _A_SHIFT & _LENGTH).astype(np.int64),
        b_length=(first >> _B_SHIFT).astype(np.int64),
        is_random=(second >> _RANDOM & one).astype(bool),
        is_short=(second >> _SHORT & one).astype(bool),
    )


class Pair(NamedTuple):
    """One sample's pair; fields as in `Pairs`, each a scalar."""

    a_start: int
    a_length: int
    b_start: int
    b_length: int
    is_random: bool
    is_short: bool


@njit(nogil=True)
def unpack_row(rows: np.ndarray, k: int) -> Pair:
    """Read row `k` of an index, (samples, 2) uint64."""
    first, second = rows[k, 0], rows[k, 1]
    one = np.uint64(1)
    a_start, a_length = np.int64(first & _ADDRESS), np.int64(first >> _A_SHIFT & _LENGTH)
    b_start, b_length = np.int64(second & _ADDRESS), np.int64(first >> _B_SHIFT)
    is_random, is_short = np.bool_(second >> _RANDOM & one), np.bool_(second >> _SHORT & one)
    # Machine integers, once compiled.
    return Pair(a_start, a_length, b_start, b_length, is_random, is_short)  # type: ignore[arg-type]


@njit(nogil=True)
def pack_row(rows: np.ndarray, k: int, pair: Pair) -> None:
    """Write row `k` of an index, (samples, 2) uint64."""
    a_length, b_length = np.uint64(pair.a_length), np.uint64(pair.b_length)
    is_random, is_short = np.uint64(pair.is_random), np.uint64(pair.is_short)
    rows[k, 0] = np.uint64(pair.a_start) | a_length << _A_SHIFT | b_length << _B_SHIFT
    rows[k, 1] = np.uint64(pair.b_start) | is_random << _RANDOM | is_short << _SHORT
