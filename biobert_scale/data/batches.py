"""Micro-batches, and one rank's share of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Sequences laid end to end in one row, in NumPy arrays.

    Shapes: `input_ids`, `token_type_ids`, `position_ids` (tokens,) int64; `cu_seqlens` (sequences + 1,)
    int32; `mlm_positions`, `mlm_labels` (predictions,) int64; `nsp_labels` (sequences,) int64 (1: random
    next); `epochs`, `indices` (sequences,) int64 name the samples. Where sources have weights, `epochs` are
    the cycles of the samples' sources.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    position_ids: np.ndarray
    cu_seqlens: np.ndarray
    mlm_positions: np.ndarray
    mlm_labels: np.ndarray
    nsp_labels: np.ndarray
    epochs: np.ndarray
    indices: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RankStep:
    """One rank's share of a global step, and the global counts that its losses are divided by."""

    micro_batches: tuple[MicroBatch, ...]
    global_sequences: int
    global_predictions: int
    global_tokens: int
