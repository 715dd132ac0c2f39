"""Word n-grams as 64-bit hashes, and MinHash signatures over them, at the speed of compiled code.

Broder 1997, "On the resemblance and containment of documents": two documents agree in one component of their
signatures with the probability of their n-gram sets' Jaccard similarity.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from biobert_scale.compiled import njit
from biobert_scale.splitmix import GOLDEN, mixed

# FNV-1a's constants (Fowler, Noll, Vo), and two of SplitMix64's.
_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@functools.lru_cache(maxsize=1)  # one step after the other asks for the same text
def word_hashes(text: str) -> NDArray[np.uint64]:
    """Hash every word of a text, ASCII letters in lower case.

    A word is a run of ASCII letters, ASCII digits and bytes of characters beyond ASCII; all else separates.

    Returns:
        (words,) hashes in the text's order.
    """
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    hashes = np.empty(len(data) // 2 + 1, dtype=np.uint64)
    return hashes[: _hash_words(data, hashes)]


def ngram_hashes(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Hash every run of `n` words.

    Args:
        words: (words,) from `word_hashes`.

    Returns:
        (words - n + 1,), or a single hash of all words where there are fewer than `n`, or none of none.
    """
    if not len(words):
        return words
    return _hash_runs(words, min(n, len(words)))


def minhash(ngrams: NDArray[np.uint64], size: int) -> NDArray[np.uint32]:
    """The MinHash signature of a set of n-grams.

    Args:
        ngrams: (n-grams,) hashes; repetitions do not matter. At least one.
        size: components of the signature.

    Returns:
        (size,) for each of `size` fixed random permutations the smallest value.
    """
    assert len(ngrams)
    multipliers, offsets = _permutations(size)
    return _smallest(ngrams, multipliers, offsets)


@functools.cache
def _permutations(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    states = np.arange(1, 2 * size + 1, dtype=np.uint64) * GOLDEN
    state = np.array([mixed(state) for state in states], dtype=np.uint64)
    state ^= state >> np.uint64(31)
    return state[:size] | np.uint64(1), state[size:]


@njit()
def _hash_words(data: NDArray[np.uint8], hashes: NDArray[np.uint64]) -> int:  # (bytes,), (at least words,)
    count, inside, state = 0, False, _OFFSET
    for byte in data:
        if 65 <= byte <= 90:
            byte += 32
        if byte >= 128 or 97 <= byte <= 122 or 48 <= byte <= 57:
            state = (state ^ np.uint64(byte)) * _PRIME
            inside = True
        elif inside:
            hashes[count] = state
            count += 1
            inside, state = False, _OFFSET
    if inside:
        hashes[count] = state
        count += 1
    return count


@njit()
def _hash_runs(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:  # (words,) -> (words - n + 1,)
    runs = np.empty(len(words) - n + 1, dtype=np.uint64)
    for start in range(len(runs)):
        state = np.uint64(0)
        for position in range(start, start + n):
            state = state * GOLDEN + words[position]
            state = (state ^ (state >> np.uint64(29))) * _MIX_1
        state = (state ^ (state >> np.uint64(30))) * _MIX_2
        runs[start] = state ^ (state >> np.uint64(31))
    return runs


@njit()
def _smallest(
    ngrams: NDArray[np.uint64], multipliers: NDArray[np.uint64], offsets: NDArray[np.uint64]
) -> NDArray[np.uint32]:
    """Multiply-shift hashing (Dietzfelbinger et al. 1997)."""
    smallest = np.full(len(multipliers), np.uint32(0xFFFFFFFF), dtype=np.uint32)
    for ngram in ngrams:
        for component in range(len(multipliers)):
            value = np.uint32((ngram * multipliers[component] + offsets[component]) >> np.uint64(32))
            smallest[component] = min(smallest[component], value)
    return smallest
