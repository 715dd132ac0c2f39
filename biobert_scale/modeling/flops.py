"""Floating-point operations of a training step, counted from the shapes.

Matrix products only (a multiply and an add are two operations), backward twice the forward: the convention of
Kaplan et al. 2020 with the attention term kept, as Chowdhery et al. 2022 (appendix B) define model FLOPs.
"""

from __future__ import annotations

import numpy as np
from transformers import BertConfig


def training_flops(config: BertConfig, sequence_lengths: np.ndarray, predictions: int) -> int:
    """Operations of one forward and backward pass over some unpadded sequences.

    Args:
        sequence_lengths: (sequences,) tokens in each.
        predictions: positions on which the MLM head runs; what is behind the last layer's attention is
            counted on these and [CLS], all that the heads read.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    lengths = np.asarray(sequence_lengths, np.int64)
    # Of a layer, for one token: up to attention's products, and after them.
    before, behind = 6 * hidden * hidden, 2 * hidden * hidden + 4 * hidden * inner
    number, tokens, read = config.num_hidden_layers, int(lengths.sum()), predictions + len(lengths)
    layers = number * tokens * before + ((number - 1) * tokens + read) * behind
    attention = number * 4 * hidden * int((lengths * lengths).sum())
    head = predictions * (2 * hidden * hidden + 2 * hidden * config.vocab_size)
    pooler = len(lengths) * (2 * hidden * hidden + 4 * hidden)
    return 3 * (layers + attention + head + pooler)
