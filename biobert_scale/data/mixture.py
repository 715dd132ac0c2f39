"""An epoch in which the sources have weights: which sample is where, as a pure function.

A source of n samples with weight w gives every epoch M = w * n samples, rounded: epoch e has numbers e * M to
e * M + M - 1 of the source's own endless sequence. Number c of it is a sample of the source's cycle c div n,
at position c mod n of a permutation that belongs to the cycle. So a weight of 0.5 shows one half of a source
in an epoch and the other half in the next, a weight of 2 shows all of it twice, and after any number of whole
epochs two samples of a source differ by one at most in how often they have been seen. The order within an
epoch is that of `order`, over the samples of all sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.data.addresses import last_not_above
from biobert_scale.data.order import half_bits, permute, permute_one, samples_at
from biobert_scale.data.pairs import unpack
from biobert_scale.data.philox import PURPOSE_SOURCE
from biobert_scale.tokens.sources import SourceRun

_AT_ONCE = 1 << 20


class SourceSamples(NamedTuple):
    """Which samples of an index belong to which source: those whose first segment does.

    Attributes:
        names: the sources, in the order in which they first appear.
        owners: (runs,) int64, the source of each run of samples.
        bounds: (runs + 1,) int64, the samples before each run; at last all samples.
    """

    names: tuple[str, ...]
    owners: np.ndarray
    bounds: np.ndarray

    @classmethod
    def find(cls, index: np.ndarray, runs: tuple[SourceRun, ...]) -> SourceSamples:
        """Of an index of samples, (samples, 2) uint64, whose first segments are in the order of the
        documents: a binary search for the runs' first samples, of all runs at once."""
        addresses = np.cumsum([0, *(run.tokens for run in runs)])
        low, high = np.zeros(len(addresses), np.int64), np.full(len(addresses), len(index))
        while np.any(low < high):
            middle = (low + high) // 2
            before = unpack(index[np.minimum(middle, len(index) - 1)]).a_start < addresses
            low, high = np.where((low < high) & before, middle + 1, low), np.where(before, high, middle)
        names = tuple(dict.fromkeys(run.source for run in runs))
        return cls(names, np.array([names.index(run.source) for run in runs]), low)

    def sizes(self) -> dict[str, int]:
        """Samples of each source."""
        return dict(zip(self.names, _sizes(self).tolist(), strict=True))


class Mixture(NamedTuple):
    """The samples of weighted sources, for compiled code. A sample's rank counts the samples source by
    source.

    Attributes:
        epoch_starts: (sources + 1,) int64, where each source begins in an epoch that is not permuted; at last
            the samples in an epoch.
        sizes: (sources,) int64, the samples of each source.
        half_bits: (sources,) int64, of their permutations; 0 where an epoch has whole cycles, whose samples
            the epoch's order mixes anyway.
        rank_starts: (sources,) int64, the rank of each source's first sample.
        run_ranks, run_firsts: (runs,) int64, the rank of each run's first sample, and its place in the index.
    """

    epoch_starts: np.ndarray
    sizes: np.ndarray
    half_bits: np.ndarray
    rank_starts: np.ndarray
    run_ranks: np.ndarray
    run_firsts: np.ndarray

    @classmethod
    def of(cls, samples: SourceSamples, weights: Mapping[str, float]) -> Mixture:
        """Args:
        weights: of every source; one that would come to less than one sample in an epoch gives one.
        """
        sizes = _sizes(samples)
        counts = [
            max(1, round(Fraction(repr(float(weights[name]))) * size))  # of the decimal as it is written
            for name, size in zip(samples.names, sizes.tolist(), strict=True)
        ]
        by_source = np.argsort(samples.owners, kind="stable")
        return cls(
            epoch_starts=np.cumsum([0, *counts]),
            sizes=sizes,
            half_bits=np.array(
                [
                    half_bits(size) if count % size else 0
                    for count, size in zip(counts, sizes.tolist(), strict=True)
                ]
            ),
            rank_starts=np.cumsum([0, *sizes[:-1]]),
            run_ranks=np.cumsum([0, *np.diff(samples.bounds)[by_source][:-1]]),
            run_firsts=samples.bounds[by_source],
        )

    @property
    def samples_an_epoch(self) -> int:
        return int(self.epoch_starts[-1])

    def counts(self) -> list[int]:
        """Samples of each source in an epoch."""
        return [int(count) for count in np.diff(self.epoch_starts)]

    def samples_at(self, first: int, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Cycles of their sources and indices of the samples that a run consumes from position `first` on.

        Returns:
            Two (count,) int64 arrays. No sample has the same cycle twice.
        """
        epochs, numbers = samples_at(first, count, size=self.samples_an_epoch, seed=seed)
        return _resolve(epochs, numbers, self, seed)


@njit(nogil=True)
def _resolve(
    epochs: np.ndarray, numbers: np.ndarray, mixture: Mixture, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles and indices, of the numbers that samples have in epochs that are not permuted."""
    cycles, indices = np.empty_like(epochs), np.empty_like(numbers)
    for k in range(len(numbers)):
        source = last_not_above(mixture.epoch_starts, numbers[k])
        start, size = mixture.epoch_starts[source], mixture.sizes[source]
        number = epochs[k] * (mixture.epoch_starts[source + 1] - start) + numbers[k] - start
        cycle = number // size
        place, bits = number - cycle * size, mixture.half_bits[source]
        if bits:
            place = permute_one(place, size, seed, 8 * source + PURPOSE_SOURCE, cycle, bits)
        rank = mixture.rank_starts[source] + place
        run = last_not_above(mixture.run_ranks, rank)
        cycles[k], indices[k] = cycle, mixture.run_firsts[run] + rank - mixture.run_ranks[run]
    return cycles, indices


def _sizes(samples: SourceSamples) -> np.ndarray:
    sizes = np.zeros(len(samples.names), np.int64)
    np.add.at(sizes, samples.owners, np.diff(samples.bounds))
    return sizes


def count_seen(epoch: Sequence[tuple[str, int]], consumed_samples: int, *, seed: int) -> dict[str, int]:
    """How many samples of each source a run has seen; one after the other, about 3 million a second, but for
    whole epochs.

    Args:
        epoch: sources and how many of their samples follow each other in an epoch that is not permuted; see
            `SampleStream.epoch`.
    """
    starts = np.cumsum([0, *(samples for _, samples in epoch)])
    epochs, rest = divmod(consumed_samples, int(starts[-1]))
    counts = epochs * np.diff(starts)
    for first in range(0, rest, _AT_ONCE):
        positions = np.arange(first, min(first + _AT_ONCE, rest))
        numbers = permute(positions, size=int(starts[-1]), seed=seed, epoch=epochs)
        counts += np.bincount(np.searchsorted(starts, numbers, "right") - 1, minlength=len(counts))
    seen: dict[str, int] = {}
    for (source, _), count in zip(epoch, counts.tolist(), strict=True):
        seen[source] = seen.get(source, 0) + count
    return seen
