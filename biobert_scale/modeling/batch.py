"""Packed rows as tensors: sequences concatenated without padding, and their boundaries."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from biobert_scale.data.batches import MicroBatch


@dataclass(frozen=True, kw_only=True)
class PackedSequences:
    """One row on one device.

    Shapes: `input_ids`, `token_type_ids`, `position_ids` (tokens,) int64, positions from 0 in every sequence;
    `cu_seqlens` (sequences + 1,) int32; `sequence_lengths` the same boundaries on the host, so that nothing
    waits for the device.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    sequence_lengths: tuple[int, ...]

    def to(self, device: torch.device) -> Self:
        """The row on a device; from page-locked memory the copy runs beside what the device computes."""
        tensors: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True, kw_only=True)
class PackedBatch(PackedSequences):
    """A micro-batch of pre-training. Last sequences that `nsp_labels` does not count are padding.

    Shapes: `mlm_positions` (predictions,) int64, indices into the row; `mlm_labels` (predictions,) int64, a
    negative one is not scored; `nsp_labels` (sequences,) int64, 0 where the second segment follows the first,
    1 where it is a random one.
    """

    mlm_positions: Tensor
    mlm_labels: Tensor
    nsp_labels: Tensor

    @classmethod
    def of(cls, batch: MicroBatch, *, pin: bool = False) -> PackedBatch:
        """Tensors in host memory that share the arrays' bytes, or where `pin` in page-locked memory."""
        arrays = {
            field.name: torch.from_numpy(getattr(batch, field.name))
            for field in fields(cls)
            if field.name != "sequence_lengths"
        }
        return cls(
            **{name: tensor.pin_memory() if pin else tensor for name, tensor in arrays.items()},
            sequence_lengths=tuple(np.diff(batch.cu_seqlens).tolist()),
        )
