"""Finds near duplicates among all documents by their MinHash signatures.

Locality-sensitive hashing by bands: Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3. Two
documents are compared where they agree in a whole band (each with the first and with the previous one that
do); with 14 bands of 8 components that is so for 92% of the pairs at similarity 0.8, 99.99% at 0.9, and 5% at
0.5. A pair that is compared is judged by all 112 components.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biobert_scale.compiled import njit

SHINGLE_WORDS = 5
BANDS, ROWS = 14, 8
SIGNATURE_SIZE = BANDS * ROWS
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_FIRST_BITS = 24
_FIRST_SHIFT = np.uint64(64 - _FIRST_BITS)
_HALF = np.uint64(32)
_LATER = np.uint64((1 << 32) - 1)


@dataclass(frozen=True, kw_only=True)
class SignatureFile:
    """Signatures on disk, of which some are compared."""

    path: Path
    """`.npy` of (signatures, SIGNATURE_SIZE) uint32."""
    chosen: NDArray[np.bool_]
    """(signatures,): they are the documents, in this order."""


def near_duplicates(
    files: Sequence[SignatureFile], *, minimum_similarity: float, scratch: Path, threads: int = 1
) -> NDArray[np.bool_]:
    """Mark the documents that are near duplicates of one before them that is not marked itself.

    Every marked document thus resembles one that stays; resemblance is never handed on along a chain. All
    signatures are read once, and those of the pairs that a band suggests once more. Memory: 112 bytes a
    document for the bands' keys, and the signatures of those pairs, which are on disk as well.

    Args:
        files: the documents, in the order of preference; fewer than 2^32.
        minimum_similarity: estimated Jaccard similarity of the sets of runs of five words (standard error at
            0.8: 0.04).
        scratch: a directory that exists, for the signatures of pairs.
        threads: files, bands or pairs that are worked on at once.

    Returns:
        (documents,) bool.
    """
    ends = np.cumsum([np.count_nonzero(file.chosen) for file in files], dtype=np.int64).tolist()
    places = [slice(start, stop) for start, stop in itertools.pairwise([0, *ends])]
    marked = np.zeros(ends[-1] if ends else 0, dtype=np.bool_)
    assert len(marked) < 1 << 32
    with ThreadPoolExecutor(threads) as pool:
        pairs = _candidates(files, places, len(marked), pool)
        earlier, later = (pairs >> _HALF).astype(np.int64), (pairs & _LATER).astype(np.int64)
        involved = np.unique(np.concatenate([earlier, later]))
        signatures = _gather(files, places, involved, scratch, pool)
        left, right = np.searchsorted(involved, earlier), np.searchsorted(involved, later)
        agree = np.zeros(len(pairs), dtype=np.uint16)
        cuts = np.linspace(0, len(pairs), threads + 1).astype(np.int64).tolist()
        shares = [slice(start, stop) for start, stop in itertools.pairwise(cuts)]
        _finish(
            pool.map(lambda share: _agreements(signatures, left[share], right[share], agree[share]), shares)
        )
    alike = agree >= minimum_similarity * SIGNATURE_SIZE
    earlier, later = earlier[alike], later[alike]
    order = np.lexsort((earlier, later))
    _mark(earlier[order], later[order], marked)
    return marked


def _candidates(
    files: Sequence[SignatureFile], places: list[slice], documents: int, pool: Executor
) -> NDArray[np.uint64]:
    """(pairs,) that a band suggests: the earlier document in the upper 32 bits, sorted.

    Args:
        places: of each file's documents among all.
    """
    keys = np.empty((BANDS, documents), dtype=np.uint64)

    def read(file: SignatureFile, place: slice) -> None:
        signatures = np.load(file.path)
        assert signatures.shape == (len(file.chosen), SIGNATURE_SIZE)
        _band_keys(signatures[file.chosen], keys[:, place])

    _finish(pool.map(read, files, places))
    return np.unique(np.concatenate([*pool.map(_pairs_of_band, keys)]))


def _gather(
    files: Sequence[SignatureFile],
    places: list[slice],
    documents: NDArray[np.int64],
    scratch: Path,
    pool: Executor,
) -> NDArray[np.uint32]:
    """The signatures of some documents, (documents,) ascending, in a file that ends with the array."""
    path, shape = scratch / "signatures.npy", (len(documents), SIGNATURE_SIZE)
    signatures = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint32, shape=shape)
    path.unlink()

    def read(file: SignatureFile, place: slice) -> None:
        first, last = np.searchsorted(documents, (place.start, place.stop))
        if last > first:
            rows = np.flatnonzero(file.chosen)[documents[first:last] - place.start]
            signatures[first:last] = np.load(file.path, mmap_mode="r")[rows]

    _finish(pool.map(read, files, places))
    return np.asarray(signatures)


def _finish(work: Iterable[None]) -> None:
    """Wait for all of it; the first error is raised."""
    for _ in work:
        pass


def _pairs_of_band(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(pairs,) documents that agree in a band, each with the first and with the one before it that does."""
    ordered = np.sort(keys)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    # Few keys are: a table of their first bits settles that for nearly all others, which need no sorting.
    prefixes = np.zeros(1 << _FIRST_BITS, dtype=np.bool_)
    prefixes[repeated >> _FIRST_SHIFT] = True
    documents = np.flatnonzero(prefixes[keys >> _FIRST_SHIFT])
    keys = keys[documents]
    order = np.argsort(keys, kind="stable")
    documents, keys = documents[order].astype(np.uint64), keys[order]
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = keys[1:] == keys[:-1]
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    later = np.flatnonzero(same)
    earlier = np.concatenate([documents[later - 1], documents[starts[later]]])
    return earlier << _HALF | np.tile(documents[later], 2)


@njit(nogil=True)
def _band_keys(signatures: NDArray[np.uint32], keys: NDArray[np.uint64]) -> None:
    """Write `keys`, (BANDS, documents)."""
    for document in range(len(signatures)):
        for band in range(BANDS):
            key = np.uint64(0)
            for component in range(band * ROWS, band * ROWS + ROWS):
                key = (key ^ np.uint64(signatures[document, component])) * _PRIME
                key ^= key >> np.uint64(32)
            keys[band, document] = key


@njit(nogil=True)
def _agreements(
    signatures: NDArray[np.uint32],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    agree: NDArray[np.uint16],
) -> None:
    """Write `agree`, (pairs,)."""
    for place in range(len(agree)):
        agree[place] = np.sum(signatures[left[place]] == signatures[right[place]])


@njit()
def _mark(earlier: NDArray[np.int64], later: NDArray[np.int64], marked: NDArray[np.bool_]) -> None:
    """Write `marked`, (documents,); the pairs are sorted by the later document."""
    for place in range(len(later)):
        if not marked[earlier[place]]:
            marked[later[place]] = True
