"""Steps of made-up samples, for machines without a corpus: lengths and predictions as in pre-training, tokens
drawn at random."""

from __future__ import annotations

import numpy as np

from biobert_scale.data.batches import MicroBatch, RankStep

_FIRST_TOKEN = 200
"""Ids below stand for special tokens and the like."""
_ABSTRACT_MEAN, _ABSTRACT_SPREAD = 290.0, 0.45
"""Tokens of an abstract's sample, and the standard deviation of their logarithm: a mean of about 290 of at
most 512."""


def made_up_steps(
    steps: int,
    *,
    sequences: int,
    micro_batch_size: int,
    max_seq_length: int,
    mlm_probability: float,
    vocabulary_size: int,
    lengths: str,
    seed: int = 1,
) -> list[RankStep]:
    """One rank's steps.

    Args:
        lengths: `full`, or `abstracts`.
    """
    draw, made = np.random.default_rng(seed), []
    for _ in range(steps):
        sizes = np.full(sequences, max_seq_length)
        if lengths == "abstracts":
            normal = draw.normal(
                np.log(_ABSTRACT_MEAN) - _ABSTRACT_SPREAD**2 / 2, _ABSTRACT_SPREAD, sequences
            )
            sizes = np.clip(np.exp(normal) * max_seq_length / 512, 16, max_seq_length).astype(np.int64)
        sizes = np.sort(sizes)[::-1]  # balanced by length, as in the stream
        batches = tuple(
            _micro_batch(
                draw, sizes[start :: sequences // micro_batch_size], mlm_probability, vocabulary_size
            )
            for start in range(sequences // micro_batch_size)
        )
        made.append(
            RankStep(
                micro_batches=batches,
                global_sequences=sequences,
                global_predictions=sum(len(batch.mlm_labels) for batch in batches),
                global_tokens=int(sizes.sum()),
            )
        )
    return made


def _micro_batch(
    draw: np.random.Generator, sizes: np.ndarray, mlm_probability: float, vocabulary_size: int
) -> MicroBatch:
    ends = np.cumsum(sizes)
    positions = np.concatenate([np.arange(size) for size in sizes])
    predicted = np.concatenate(
        [
            start + np.sort(draw.choice(size, max(round(mlm_probability * size), 1), replace=False))
            for start, size in zip(ends - sizes, sizes, strict=True)
        ]
    )
    ids = draw.integers(_FIRST_TOKEN, vocabulary_size, len(positions))
    return MicroBatch(
        input_ids=ids,
        token_type_ids=(positions >= np.repeat(sizes // 2, sizes)).astype(np.int64),
        position_ids=positions,
        cu_seqlens=np.concatenate([[0], ends]).astype(np.int32),
        mlm_positions=predicted,
        mlm_labels=ids[predicted],
        nsp_labels=draw.integers(0, 2, len(sizes)),
        epochs=np.zeros(len(sizes), np.int64),
        indices=np.arange(len(sizes)),
    )
