"""Dynamic masking: which tokens of a sample are predicted in which epoch, and what replaces them.

Devlin et al. 2019, section 3.1: 15% of the tokens are predicted; of these 80% become [MASK], 10% a random
entry of the vocabulary, 10% stay. The number of predictions follows from the sample's length alone, so every
rank knows the global count of a step before it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.data.philox import draw_below, philox
from biobert_scale.data.vocabulary import VocabularyTables

SPECIAL_TOKENS_PER_SAMPLE = 3
"""[CLS] A [SEP] B [SEP]."""


def number_of_predictions(lengths: np.ndarray, mlm_probability: float) -> np.ndarray:
    """Predicted tokens in samples of these lengths (special tokens included): rounded, at least one.

    Args:
        lengths: integers, any shape; each at least 5.
    """
    wanted = np.floor(np.asarray(lengths) * mlm_probability + 0.5).astype(np.int64)
    return np.clip(wanted, 1, np.asarray(lengths) - SPECIAL_TOKENS_PER_SAMPLE)


class SampleKey(NamedTuple):
    """What the random numbers of one sample's masks follow from.

    Attributes:
        seed: 64 bits.
        purpose: `philox.PURPOSE_MASKING` or `PURPOSE_VALIDATION`.
        epoch: below 2^29; with weighted sources the source's cycle.
        sample: its index.
    """

    seed: int
    purpose: int
    epoch: int
    sample: int


@njit(nogil=True)
def _draw(key: SampleKey, counter: int) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32]:
    """The sample's random numbers at a counter."""
    return philox(key.seed, counter, key.sample & 0xFFFFFFFF, key.sample >> 32, key.epoch * 8 + key.purpose)


@njit(nogil=True)
def _word_starts(
    input_ids: np.ndarray, second_segment: int, vocabulary: VocabularyTables, words: np.ndarray
) -> int:
    """Where the words of a sample begin, [UNK] left out; returns how many there are."""
    continues, unknown, filled = vocabulary.continues, vocabulary.unknown, 0
    for begin, end in ((1, second_segment - 1), (second_segment, len(input_ids) - 1)):
        after_unknown = True  # the first token of a segment begins a word, whatever it is
        for position in range(begin, end):
            token = input_ids[position]
            is_unknown = token == unknown
            # Written whether it counts or not: branches on text are mispredicted.
            words[filled] = position
            filled += (not is_unknown) & (after_unknown | (not continues[token]))
            after_unknown = is_unknown
    return filled


@njit(nogil=True)
def _choose(
    input_ids: np.ndarray,
    second_segment: int,
    vocabulary: VocabularyTables,
    key: SampleKey,
    blocks: np.ndarray,
) -> np.ndarray:
    """(length,) bool: the positions to predict, one for each of the sample's first `blocks` of random
    numbers."""
    length, wanted, continues = len(input_ids), len(blocks), vocabulary.continues
    chosen, words = np.zeros(length, np.bool_), np.empty(length, np.int64)
    remaining = _word_starts(input_ids, second_segment, vocabulary, words)
    draw, predicted, passed_over = 0, 0, 0
    while predicted < wanted and remaining > 0:
        k = draw_below(remaining, blocks[draw, 0] if draw < wanted else _draw(key, draw)[0])
        draw += 1
        start = words[k]
        remaining -= 1
        words[k] = words[remaining]
        end = start + 1
        while end < length - 1 and end != second_segment - 1 and continues[input_ids[end]]:
            end += 1
        if end - start <= wanted - predicted:
            chosen[start:end] = True
            predicted += end - start
        elif passed_over == 0:
            passed_over = start
    if predicted < wanted and passed_over > 0:
        chosen[passed_over : passed_over + wanted - predicted] = True
        predicted = wanted
    position = 1
    while predicted < wanted and position < length - 1:  # hardly anything but [UNK]
        if not chosen[position] and position != second_segment - 1:
            chosen[position] = True
            predicted += 1
        position += 1
    return chosen


@njit(nogil=True)
def mask(
    input_ids: np.ndarray,
    second_segment: int,
    vocabulary: VocabularyTables,
    key: SampleKey,
    positions: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Mask one sample in place.

    What is drawn are words. A token that continues a word (`vocabulary.continues`) belongs to it. A word that
    does not fit into what is left to predict is passed over, and where only such words are left, the first of
    them is predicted in part: the count remains what the length says. [UNK] is predicted only where nothing
    else is left.

    Args:
        input_ids: (length,) int64, the sample with its special tokens at 0, `second_segment` - 1 and
            length - 1; changed in place.
        second_segment: where segment B begins.
        positions, labels: (predictions,) int64, filled with the predicted positions, ascending, and their
            original entries.
    """
    blocks = np.empty((len(positions), 3), np.uint32)
    for counter in range(len(positions)):
        blocks[counter, 0], blocks[counter, 1], blocks[counter, 2], _ = _draw(key, counter)
    chosen = _choose(input_ids, second_segment, vocabulary, key, blocks)
    replacements, filled = vocabulary.replacements, 0
    for position in range(1, len(input_ids) - 1):
        if chosen[position]:
            positions[filled] = position
            labels[filled] = input_ids[position]
            # A block's other numbers: independent of the one that chose a word.
            kind = draw_below(10, blocks[filled, 1])
            if kind < 8:
                input_ids[position] = vocabulary.mask
            elif kind == 8:
                input_ids[position] = replacements[draw_below(len(replacements), blocks[filled, 2])]
            filled += 1
