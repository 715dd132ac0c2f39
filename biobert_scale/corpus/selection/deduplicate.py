"""Finds near duplicates among all documents by their MinHash signatures.

Locality-sensitive hashing by bands: Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3. Two
documents are compared where they agree in a whole band (each with the first and with the previous one that
do); with 14 bands of 8 components that is so for 92% of the pairs at similarity 0.8, 99.99% at 0.9, and 5% at
0.5. A pair that is compared is judged by all 112 components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biobert_scale.compiled import njit

SHINGLE_WORDS = 5
BANDS, ROWS = 14, 8
SIGNATURE_SIZE = BANDS * ROWS
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def near_duplicates(signatures: NDArray[np.uint32], *, minimum_similarity: float) -> NDArray[np.bool_]:
    """Mark the documents that are near duplicates of one before them that is not marked itself.

    Every marked document thus resembles one that stays; resemblance is never handed on along a chain.

    Args:
        signatures: (documents, SIGNATURE_SIZE), in the order of preference; may be memory-mapped.
        minimum_similarity: estimated Jaccard similarity of the sets of runs of five words (standard error at
            0.8: 0.04).

    Returns:
        (documents,) bool.
    """
    pairs = np.concatenate([_pairs_of_band(signatures, band) for band in range(BANDS)])
    pairs = np.unique(pairs, axis=0)  # sorted by the earlier document, then the later one
    agree = np.zeros(len(pairs), dtype=np.uint16)
    _count_agreements(signatures, pairs, agree)
    pairs = pairs[agree >= minimum_similarity * SIGNATURE_SIZE]
    marked = np.zeros(len(signatures), dtype=np.bool_)
    _mark(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))], marked)
    return marked


def _pairs_of_band(signatures: NDArray[np.uint32], band: int) -> NDArray[np.int64]:
    """(pairs, 2) documents that agree in a band: each with the first and with the one before it that does."""
    keys = np.empty(len(signatures), dtype=np.uint64)
    _band_keys(signatures, band * ROWS, keys)
    order = np.argsort(keys, kind="stable")
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = keys[order][1:] == keys[order][:-1]
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    later = np.flatnonzero(same)
    with_previous = np.stack([order[later - 1], order[later]], axis=1)
    with_first = np.stack([order[starts[later]], order[later]], axis=1)
    return np.concatenate([with_previous, with_first])


@njit()
def _band_keys(signatures: NDArray[np.uint32], start: int, keys: NDArray[np.uint64]) -> None:
    """Write `keys`, (documents,)."""
    for document in range(len(signatures)):
        key = np.uint64(0)
        for component in range(start, start + ROWS):
            key = (key ^ np.uint64(signatures[document, component])) * _PRIME
            key ^= key >> np.uint64(32)
        keys[document] = key


@njit()
def _count_agreements(
    signatures: NDArray[np.uint32], pairs: NDArray[np.int64], agree: NDArray[np.uint16]
) -> None:
    """Write `agree`, (pairs,)."""
    for place in range(len(pairs)):
        left, right = signatures[pairs[place, 0]], signatures[pairs[place, 1]]
        agree[place] = np.sum(left == right)


@njit()
def _mark(pairs: NDArray[np.int64], marked: NDArray[np.bool_]) -> None:
    """Write `marked`, (documents,); the pairs are sorted by the later document."""
    for place in range(len(pairs)):
        if not marked[pairs[place, 0]]:
            marked[pairs[place, 1]] = True
