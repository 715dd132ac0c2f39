"""Other layouts of a micro-batch: rows padded to one length, for comparison; and token counts of a few sizes,
for compiled models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from biobert_scale.data.batches import MicroBatch

IGNORED = -100
"""The label that PyTorch's cross-entropy passes over."""


def padded(batch: MicroBatch, *, pad_token_id: int, length: int | None = None) -> dict[str, np.ndarray]:
    """The arguments of `transformers.BertForPreTraining`.

    Args:
        length: columns of the rows; None for as many as the micro-batch's maximum length.

    Returns:
        `input_ids`, `token_type_ids`, `attention_mask`, `labels` (sequences, length) int64,
        `next_sentence_label` (sequences,) int64.
    """
    lengths = np.diff(batch.cu_seqlens)
    rows, columns = np.repeat(np.arange(len(lengths)), lengths), batch.position_ids
    shape = (len(lengths), int(lengths.max()) if length is None else length)
    found = {
        name: np.full(shape, value)
        for name, value in (
            ("input_ids", pad_token_id),
            ("token_type_ids", 0),
            ("attention_mask", 0),
            ("labels", IGNORED),
        )
    }
    found["input_ids"][rows, columns] = batch.input_ids
    found["token_type_ids"][rows, columns] = batch.token_type_ids
    found["attention_mask"][rows, columns] = 1
    found["labels"][rows[batch.mlm_positions], columns[batch.mlm_positions]] = batch.mlm_labels
    return {**found, "next_sentence_label": batch.nsp_labels}


def fill_bucket(
    batch: MicroBatch, *, bucket: int, max_seq_length: int, mlm_probability: float, pad_token_id: int
) -> MicroBatch:
    """Lengthen a micro-batch to the next multiple of `bucket` tokens, so that a compiled model meets few
    shapes.

    The padding is more sequences in `cu_seqlens`, after the ones that `nsp_labels` counts: always as many as
    a whole bucket needs, none longer than `max_seq_length` (the `max_seqlen` of attention), and the last ones
    of no tokens. Predictions are filled up to as many as that many tokens can have at most, with the label
    `IGNORED`.
    """
    tokens, sequences = len(batch.input_ids), len(batch.nsp_labels)
    size, pieces = -(-tokens // bucket) * bucket, -(-bucket // max_seq_length)
    # Each sequence's number is rounded, and is at least one.
    predictions = int(np.ceil(size * mlm_probability)) + sequences

    def lengthen(array: np.ndarray, wanted: int, value: int) -> np.ndarray:
        return np.concatenate([array, np.full(wanted - len(array), value, array.dtype)])

    return replace(
        batch,
        input_ids=lengthen(batch.input_ids, size, pad_token_id),
        token_type_ids=lengthen(batch.token_type_ids, size, 0),
        position_ids=lengthen(batch.position_ids, size, 0),
        cu_seqlens=np.concatenate(
            [
                batch.cu_seqlens,
                np.minimum(tokens + max_seq_length * np.arange(1, pieces + 1), size).astype(
                    batch.cu_seqlens.dtype
                ),
            ]
        ),
        mlm_positions=lengthen(batch.mlm_positions, predictions, 0),
        mlm_labels=lengthen(batch.mlm_labels, predictions, IGNORED),
    )
