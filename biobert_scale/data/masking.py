"""Dynamic masking: which tokens of a sample are predicted in which epoch, and what stands in their place.

Devlin et al. 2019, section 3.1: 15% of the tokens are predicted; of these 80% become [MASK], 10% a random entry of the
vocabulary, 10% stay. The number of predictions follows from the sample's length alone, so every rank knows the global
count of a step before it.
"""

from __future__ import annotations

import numba
import numpy as np

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


@numba.njit(cache=True, nogil=True)
def mask(
    input_ids: np.ndarray,
    second_segment: int,
    predictions: int,
    replacements: np.ndarray,
    mask_token_id: int,
    seed: int,
    epoch: int,
    index: int,
    purpose: int,
    positions: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Mask one sample in place.

    Args:
        input_ids: (length,) the sample with its special tokens at 0, `second_segment` - 1 and length - 1; changed in place.
        second_segment: where segment B begins.
        replacements: the vocabulary's ordinary entries (no special tokens).
        positions, labels: (predictions,) filled with the predicted positions, ascending, and their original entries.
    """
    length = len(input_ids)
    block = np.empty(4, np.uint32)
    candidates = np.empty(length - 3, np.int64)
    filled = 0
    for position in range(1, length - 1):
        if position != second_segment - 1:
            candidates[filled] = position
            filled += 1
    for k in range(predictions):
        # One block of four words a prediction: which, what kind, by what.
        philox(seed, k, index & 0xFFFFFFFF, index >> 32, epoch * 8 + purpose, block)
        other = k + draw_below(filled - k, block[0])
        candidates[k], candidates[other] = candidates[other], candidates[k]
        position = candidates[k]
        positions[k] = position
        labels[k] = input_ids[position]
        kind = draw_below(10, block[1])
        if kind < 8:
            input_ids[position] = mask_token_id
        elif kind == 8:
            input_ids[position] = replacements[draw_below(len(replacements), block[2])]
    order = np.argsort(positions)
    positions[:] = positions[order]
    labels[:] = labels[order]
