"""Dynamic masking: which tokens of a sample are predicted in which epoch, and what stands in their place.

Devlin et al. 2019, section 3.1: 15% of the tokens are predicted; of these 80% become [MASK], 10% a random
entry of the vocabulary, 10% stay. The number of predictions follows from the sample's length alone, so every
rank knows the global count of a step before it.
"""

from __future__ import annotations

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.data.philox import draw_below, philox

SPECIAL_TOKENS_PER_SAMPLE = 3
"""[CLS] A [SEP] B [SEP]."""


def number_of_predictions(lengths: np.ndarray, mlm_probability: float) -> np.ndarray:
    """Predicted tokens in samples of these lengths (special tokens included): rounded, at least one.

    Args:
        lengths: integers, any shape; each at least 5.
    """
    wanted = np.floor(np.asarray(lengths) * mlm_probability + 0.5).astype(np.int64)
    return np.clip(wanted, 1, np.asarray(lengths) - SPECIAL_TOKENS_PER_SAMPLE)


@njit(nogil=True)
def _first_pieces(
    input_ids: np.ndarray, second_segment: int, continues: np.ndarray, unknown_id: int, words: np.ndarray
) -> int:
    """Where the words of a sample begin, [UNK] left out; returns how many there are."""
    filled = 0
    for position in range(1, len(input_ids) - 1):
        if position == second_segment - 1 or input_ids[position] == unknown_id:
            continue
        begins_segment = position == 1 or position == second_segment
        if (
            begins_segment
            or len(continues) == 0
            or not continues[input_ids[position]]
            or input_ids[position - 1] == unknown_id
        ):
            words[filled] = position
            filled += 1
    return filled


@njit(nogil=True)
def _choose(
    input_ids: np.ndarray,
    second_segment: int,
    continues: np.ndarray,
    unknown_id: int,
    seed: int,
    epoch: int,
    index: int,
    purpose: int,
    wanted: int,
    chosen: np.ndarray,
) -> None:
    """Mark `wanted` positions in `chosen` (length,), all False before."""
    length = len(input_ids)
    block, words = np.empty(4, np.uint32), np.empty(length, np.int64)
    filled = _first_pieces(input_ids, second_segment, continues, unknown_id, words)
    draw, predicted, passed_over = 0, 0, 0
    while predicted < wanted and filled > 0:
        philox(seed, draw, index & 0xFFFFFFFF, index >> 32, epoch * 8 + purpose, block)
        k = draw_below(filled, block[0])
        draw += 1
        start = words[k]
        filled -= 1
        words[k] = words[filled]
        end = start + 1
        if len(continues) > 0:
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
    for position in range(1, length - 1):  # hardly anything but [UNK]
        if predicted < wanted and not chosen[position] and position != second_segment - 1:
            chosen[position] = True
            predicted += 1


@njit(nogil=True)
def mask(
    input_ids: np.ndarray,
    second_segment: int,
    continues: np.ndarray,
    replacements: np.ndarray,
    unknown_id: int,
    mask_id: int,
    seed: int,
    epoch: int,
    index: int,
    purpose: int,
    positions: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Mask one sample in place.

    What is drawn are words. Without `continues` every token is one. With it a token that continues its word
    goes with it; a word that does not fit into what is left to predict is passed over, and where only such
    words are left, the first of them is predicted in part: the count stays what the length says. [UNK] is
    predicted only where nothing else is left.

    Args:
        input_ids: (length,) the sample with its special tokens at 0, `second_segment` - 1 and length - 1;
            changed in place.
        second_segment: where segment B begins.
        continues: (vocabulary,) bool, whether an entry continues a word; empty to mask tokens whatever their
            words.
        replacements: the vocabulary's ordinary entries (no special tokens).
        positions, labels: (predictions,) filled with the predicted positions, ascending, and their original
            entries.
    """
    chosen, block = np.zeros(len(input_ids), np.bool_), np.empty(4, np.uint32)
    _choose(
        input_ids, second_segment, continues, unknown_id, seed, epoch, index, purpose, len(positions), chosen
    )
    filled = 0
    for position in range(1, len(input_ids) - 1):
        if chosen[position]:
            positions[filled] = position
            labels[filled] = input_ids[position]
            # A block's other words: independent of the one that chose a word.
            philox(seed, filled, index & 0xFFFFFFFF, index >> 32, epoch * 8 + purpose, block)
            kind = draw_below(10, block[1])
            if kind < 8:
                input_ids[position] = mask_id
            elif kind == 8:
                input_ids[position] = replacements[draw_below(len(replacements), block[2])]
            filled += 1
