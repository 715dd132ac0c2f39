"""NSP samples: which two stretches of text make sample `i`, as a compact index of token addresses.

Devlin et al. 2019, appendix A.1: sentences of a document are packed up to the target length (10% of the time a shorter
one, drawn uniformly) and cut at random into A and B; half the time B is text of another document instead, and the
sentences that A did not use are given back. Here nothing is truncated: packing stops before the target is exceeded,
so that every token of every document stands in a sample.
"""

from __future__ import annotations

import numba
import numpy as np

from biobert_scale.config import DataConfig
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE
from biobert_scale.data.philox import PURPOSE_PAIRS, draw_below, philox

INDEX_DTYPE = np.dtype([("a_start", "<u8"), ("b_start", "<u8"), ("a_length", "<u2"), ("b_length", "<u2"), ("is_random", "u1")])
"""One sample: addresses are positions in all documents' tokens laid end to end."""

_PROBABILITY_SCALE = 1 << 32


@numba.njit(cache=True, nogil=True)
def split_long_sentences(lengths: np.ndarray, offsets: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut sentences above `longest` tokens into pieces, so that any two pieces fit into a sample.

    Args:
        lengths: (sentences,) tokens in each sentence, all documents one after another.
        offsets: (documents + 1,) where each document's sentences begin.

    Returns:
        The same two arrays for the pieces.
    """
    pieces = 0
    for length in lengths:
        pieces += max(1, -(-length // longest))
    new_lengths = np.empty(pieces, np.int64)
    new_offsets = np.zeros(len(offsets), np.int64)
    filled = 0
    for document in range(len(offsets) - 1):
        for k in range(offsets[document], offsets[document + 1]):
            rest = int(lengths[k])
            count = max(1, -(-rest // longest))
            for piece in range(count):
                size = rest // (count - piece)
                new_lengths[filled] = size
                rest -= size
                filled += 1
        new_offsets[document + 1] = filled
    return new_lengths, new_offsets


@numba.njit(cache=True, nogil=True)
def _pack(
    lengths: np.ndarray,
    offsets: np.ndarray,
    starts: np.ndarray,
    document: int,
    maximum: int,
    short_threshold: int,
    random_threshold: int,
    seed: int,
    a_start: np.ndarray,
    b_start: np.ndarray,
    a_length: np.ndarray,
    b_length: np.ndarray,
    is_random: np.ndarray,
    at: int,
    write: bool,
) -> int:
    """Pack one document's sentences; returns how many samples it makes. Writes them from `at` on where `write`."""
    documents = len(offsets) - 1
    first, last = offsets[document], offsets[document + 1]
    block, more = np.empty(4, np.uint32), np.empty(4, np.uint32)
    made = 0
    while first < last:
        philox(seed, made * 2, document & 0xFFFFFFFF, document >> 32, PURPOSE_PAIRS, block)
        philox(seed, made * 2 + 1, document & 0xFFFFFFFF, document >> 32, PURPOSE_PAIRS, more)
        target = maximum
        if block[0] < short_threshold:
            target = 2 + draw_below(maximum - 1, block[1])
        # Two sentences at least where there are two: a lone one cannot be followed by its own next.
        end, total = first, 0
        while end < last and (total + lengths[end] <= target or (end - first < 2 and total + lengths[end] <= maximum)):
            total += lengths[end]
            end += 1
        if last - end == 1 and end - first > 2:
            # A last sentence left alone could only get a random next one, and would tip the balance of the two kinds.
            end -= 1
            total -= lengths[end]
        count = end - first
        random_next = count == 1 or (documents > 1 and block[2] < random_threshold)
        a_end = first + 1 + draw_below(max(count - 1, 1), block[3])
        if random_next and last - a_end == 1:
            # Nor is just the last sentence given back.
            if maximum - total >= maximum // 8:
                a_end = last
            elif a_end - first > 1:
                a_end -= 1
        a_tokens = 0
        for k in range(first, a_end):
            a_tokens += lengths[k]
        if random_next and documents > 1:
            other = draw_below(documents - 1, more[0])
            if other >= document:
                other += 1
            sentence = offsets[other] + draw_below(offsets[other + 1] - offsets[other], more[1])
            room = max(target, total) - a_tokens
            if a_end == end and room < maximum // 8:
                room = maximum - a_tokens  # A is all there is: leave B something to be judged by
            b_at, b_tokens = starts[sentence], min(room, starts[offsets[other + 1]] - starts[sentence])
            next_first = a_end
        else:
            b_at, b_tokens = starts[a_end], total - a_tokens
            next_first = end
        if b_tokens > 0:
            if write:
                a_start[at + made], a_length[at + made] = starts[first], a_tokens
                b_start[at + made], b_length[at + made] = b_at, b_tokens
                is_random[at + made] = random_next
            made += 1
            first = next_first
        else:  # a corpus of one document ends with a sentence that has no partner
            first = last
    return made


@numba.njit(cache=True, nogil=True)
def _pack_all(lengths, offsets, starts, maximum, short_threshold, random_threshold, seed, a_start, b_start, a_length, b_length, is_random, write):  # type: ignore[no-untyped-def]
    made = 0
    for document in range(len(offsets) - 1):
        made += _pack(
            lengths, offsets, starts, document, maximum, short_threshold, random_threshold, seed,
            a_start, b_start, a_length, b_length, is_random, made, write,
        )  # fmt: skip
    return made


def build_pairs(sentence_lengths: np.ndarray, sentence_offsets: np.ndarray, config: DataConfig, *, seed: int) -> np.ndarray:
    """The index of all samples of an epoch.

    Args:
        sentence_lengths: (sentences,) tokens in each sentence, all documents one after another; none is zero.
        sentence_offsets: (documents + 1,) where each document's sentences begin; no document is empty.

    Returns:
        (samples,) of `INDEX_DTYPE`, in the documents' order.
    """
    maximum = config.max_seq_length - SPECIAL_TOKENS_PER_SAMPLE
    lengths, offsets = split_long_sentences(np.asarray(sentence_lengths, np.int64), np.asarray(sentence_offsets, np.int64), maximum // 2)
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    thresholds = round(config.short_sequence_probability * _PROBABILITY_SCALE), round(config.random_next_probability * _PROBABILITY_SCALE)
    nothing = np.empty(0, np.int64)
    count = _pack_all(lengths, offsets, starts, maximum, *thresholds, seed, nothing, nothing, nothing, nothing, nothing, False)  # type: ignore[call-arg]
    columns = [np.empty(count, np.int64) for _ in range(5)]
    _pack_all(lengths, offsets, starts, maximum, *thresholds, seed, *columns, True)  # type: ignore[call-arg]
    index = np.empty(count, INDEX_DTYPE)
    for name, column in zip(("a_start", "b_start", "a_length", "b_length", "is_random"), columns, strict=True):
        index[name] = column
    return index
