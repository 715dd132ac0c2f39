"""The samples of a whole run, step by step: the sample streams of its phases, and how many samples each step
takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from biobert_scale.config import BatchSizes, Config, DataConfig, phases_of
from biobert_scale.data.batches import RankStep
from biobert_scale.data.samples import build_samples
from biobert_scale.data.stream import SampleStream, stream_fingerprint
from biobert_scale.files import fingerprint


class PhaseStream(NamedTuple):
    """A phase's samples, of which the first one is the run's sample `first_sample`."""

    stream: SampleStream
    micro_batch_size: int
    first_sample: int

    def by_source(self) -> dict[str, object]:
        """Its samples by the source of their text; only where the tokens know their sources."""
        own = {"samples": self.stream.sources.sizes(), "epoch": self.stream.epoch()}
        return own | ({"first_sample": self.first_sample} if self.first_sample else {})


@dataclass(frozen=True, kw_only=True)
class RunStream:
    """What a run trains on, as a function of the samples consumed before; threads may share it."""

    phases: tuple[PhaseStream, ...]
    sizes: BatchSizes
    fingerprint: str = ""
    """What all samples follow from."""

    @classmethod
    def open(cls, tokens: Path, samples: Path, config: Config) -> RunStream:
        """Open finished token shards and the finished indexes of a recipe's phases; see `build_indexes`.

        Raises:
            UserError: one is missing or unfinished.
        """
        sizes, phases = BatchSizes.of(config), []
        for number, phase in enumerate(phases_of(config)):
            data = phase.config.data
            index = _index(samples, config, data.max_seq_length)
            stream = SampleStream.open(tokens, index, data, seed=config.seed, phase=number)
            size = phase.config.training.micro_batch_size
            phases.append(PhaseStream(stream, size, sizes.first_sample(number)))
        return cls(phases=tuple(phases), sizes=sizes, fingerprint=run_samples_fingerprint(tokens, config))

    def size(self, first_sample: int) -> int:
        """Sequences of the step that begins there, over all ranks."""
        return self.sizes.at(first_sample).global_batch_size

    def phase(self, first_sample: int) -> PhaseStream:
        """Of the step that begins there."""
        return self.phases[self.sizes.at(first_sample).phase]

    def epoch(self, consumed_samples: int) -> float:
        """Epochs of the phase's samples that are consumed."""
        stream, _, first = self.phase(max(consumed_samples - 1, 0))
        return (consumed_samples - first) / len(stream)

    def step(self, first_sample: int, *, world_size: int, rank: int) -> RankStep:
        """See `SampleStream.step`."""
        stream, micro_batch_size, first = self.phase(first_sample)
        return stream.step(
            first_sample - first,
            global_batch_size=self.size(first_sample),
            micro_batch_size=micro_batch_size,
            world_size=world_size,
            rank=rank,
        )


def build_indexes(tokens: Path, samples: Path, config: Config) -> None:
    """Make the index of samples of every length that a run has, where it is missing: that of
    `data.max_seq_length` in `samples`, others in directories beside it.

    Raises:
        UserError: see `build_samples`.
    """
    for data in {data.max_seq_length: data for data in _data_of(config)}.values():
        build_samples(tokens, _index(samples, config, data.max_seq_length), data, seed=config.seed)


def run_samples_fingerprint(tokens: Path, config: Config) -> str:
    """What every sample of a run follows from; without phases that of its stream."""
    if not config.training.phases:
        return stream_fingerprint(tokens, config.data, seed=config.seed)
    _, *phases = _data_of(config)
    return fingerprint(
        [
            stream_fingerprint(tokens, data, seed=config.seed, phase=number)
            for number, data in enumerate(phases)
        ]
    )


def _data_of(config: Config) -> list[DataConfig]:
    """Of the held-out samples, and of each phase."""
    return [config.data, *(phase.config.data for phase in phases_of(config))]


def _index(samples: Path, config: Config, length: int) -> Path:
    return samples if length == config.data.max_seq_length else samples.with_name(f"{samples.name}-{length}")
