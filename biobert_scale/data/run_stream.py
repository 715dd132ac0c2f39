"""The samples of a whole run, step by step: a sample stream, and how many of its samples each step takes."""

from __future__ import annotations

from dataclasses import dataclass

from biobert_scale.config import BatchSizes
from biobert_scale.data.batches import RankStep
from biobert_scale.data.stream import SampleStream


@dataclass(frozen=True, kw_only=True)
class RunStream:
    """What a run trains on, as a function of the samples consumed before; threads may share it."""

    stream: SampleStream
    sizes: BatchSizes
    micro_batch_size: int

    def size(self, first_sample: int) -> int:
        """Sequences of the step that begins there, over all ranks."""
        return self.sizes.at(first_sample).global_batch_size

    def step(self, first_sample: int, *, world_size: int, rank: int) -> RankStep:
        """See `SampleStream.step`."""
        return self.stream.step(
            first_sample,
            global_batch_size=self.size(first_sample),
            micro_batch_size=self.micro_batch_size,
            world_size=world_size,
            rank=rank,
        )
