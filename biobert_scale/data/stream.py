"""From a position in the training to the micro-batches of one rank, and nothing in between that remembers
anything.

Sample `i` of epoch `e` depends on (tokens, seed, e, i) only; a global step trains on the samples at
`global_batch_size` positions of the epochs' permutations, beginning with the number of samples consumed
before. Where sources have weights, the cycle of the sample's source is in the place of the epoch (`mixture`).
Within a step the samples are assigned to ranks and micro-steps by length, so that all carry nearly equal
tokens: the mathematics is the same whoever computes what.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.config import DataConfig
from biobert_scale.data.addresses import StoreTables, last_not_above, store_tables, view
from biobert_scale.data.batches import MicroBatch, RankStep
from biobert_scale.data.load_balancing import balance_by_length
from biobert_scale.data.masking import SampleKey, mask, number_of_predictions
from biobert_scale.data.mixture import Mixture, SourceSamples
from biobert_scale.data.order import samples_at
from biobert_scale.data.pairs import unpack, unpack_row
from biobert_scale.data.philox import PURPOSE_MASKING, PURPOSE_VALIDATION
from biobert_scale.data.samples import index_fingerprint, open_index
from biobert_scale.data.vocabulary import VocabularyTables
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint
from biobert_scale.tokens.shards import TokenStore
from biobert_scale.tokens.sources import SourceRun, read_runs, source_weights


class _Chosen(NamedTuple):
    """The samples to write: `rows` (samples, 2) uint64 of the index, `epochs` and `indices` (samples,) int64;
    `seed` and `purpose` of their masks."""

    rows: np.ndarray
    epochs: np.ndarray
    indices: np.ndarray
    seed: int
    purpose: int


class _Bounds(NamedTuple):
    """Where in the output each sample's `tokens` and `predictions` begin and the last ones end, both
    (samples + 1,) int64, and where the micro-batch that it belongs to begins, (samples,) int64."""

    tokens: np.ndarray
    predictions: np.ndarray
    micro_batches: np.ndarray


class _Output(NamedTuple):
    """All micro-batches end to end: the first three (tokens,) int64, the others (predictions,) int64, of
    which `positions` count from the beginning of the micro-batch."""

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    position_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray


@njit(nogil=True)
def _write_samples(
    chosen: _Chosen, bounds: _Bounds, store: StoreTables, vocabulary: VocabularyTables, output: _Output
) -> None:
    """Write the chosen samples, masked, into `output`, one after another."""
    for k in range(len(chosen.rows)):
        pair = unpack_row(chosen.rows, k)
        begin, end, second = bounds.tokens[k], bounds.tokens[k + 1], pair.a_length + 2
        sample = output.input_ids[begin:end]
        sample[0], sample[second - 1], sample[-1] = vocabulary.cls, vocabulary.sep, vocabulary.sep
        for target, start, length in (
            (1, pair.a_start, pair.a_length),
            (second, pair.b_start, pair.b_length),
        ):
            shard = store.shards[last_not_above(store.shards["token_start"], start)]
            offset = start - shard.token_start
            source = view(shard.tokens, offset + length, store.token_type)
            for j in range(length):
                sample[target + j] = source[offset + j]
        output.token_type_ids[begin : begin + second] = 0
        output.token_type_ids[begin + second : end] = 1
        position_ids = output.position_ids[begin:end]
        for j in range(end - begin):
            position_ids[j] = j
        predicted = slice(bounds.predictions[k], bounds.predictions[k + 1])
        positions, labels = output.positions[predicted], output.labels[predicted]
        key = SampleKey(chosen.seed, chosen.purpose, chosen.epochs[k], chosen.indices[k])
        mask(sample, second, vocabulary, key, positions, labels)
        positions += begin - bounds.micro_batches[k]


class SampleStream:
    """All samples of a split, by epoch and index; opened at once, whatever its size. Threads may share it."""

    def __init__(
        self,
        store: TokenStore,
        index: np.ndarray,
        vocabulary: VocabularyTables,
        config: DataConfig,
        *,
        seed: int,
        purpose: int,
        fingerprint: str = "",
        runs: tuple[SourceRun, ...] = (),
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Bring the parts together; `open` reads them from disk.

        Args:
            index: (samples, 2) uint64, rows as `pairs.unpack` reads them.
            purpose: the masks' stream of random numbers.
            fingerprint: what all samples follow from.
            runs: the sources of the store's documents, where it knows them.
            weights: of every source; None or empty where each sample is in an epoch once.
        """
        self.store, self.index, self.vocabulary, self.config = store, index, vocabulary, config
        self.seed, self.purpose, self.fingerprint, self.runs = seed, purpose, fingerprint, runs
        self.tables = store_tables(store)
        self.mixture = Mixture.of(self.sources, weights) if weights else None

    @classmethod
    def open(
        cls,
        tokens: Path,
        samples: Path,
        config: DataConfig,
        *,
        seed: int,
        split: str = "train",
        phase: int = 0,
    ) -> SampleStream:
        """Open finished token shards and their finished index.

        Args:
            phase: of the run; from the second one on, order and masks have seeds of their own.

        Raises:
            UserError: either is missing or unfinished.
        """
        is_train = split == "train"
        return cls(
            TokenStore.open(tokens / split),
            open_index(samples, split),
            VocabularyTables.read(tokens / "tokenizer", whole_words=config.whole_word_masking),
            config,
            seed=phase_seed(seed, phase),
            purpose=PURPOSE_MASKING if is_train else PURPOSE_VALIDATION,
            fingerprint=stream_fingerprint(tokens, config, seed=seed, phase=phase),
            runs=read_runs(tokens / split),
            weights=source_weights(tokens / split, config.sources) if is_train else None,
        )

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.index) if self.mixture is None else self.mixture.samples_an_epoch

    @cached_property
    def sources(self) -> SourceSamples:
        """Which samples belong to which source, where the store knows its documents' sources."""
        assert sum(run.tokens for run in self.runs) == self.store.tokens, "the runs of other token shards"
        return SourceSamples.find(self.index, self.runs)

    def epoch(self) -> list[tuple[str, int]]:
        """Sources and how many of their samples follow each other in an epoch that is not permuted; see
        `mixture.count_seen`."""
        names, owners, bounds = self.sources
        if self.mixture is not None:
            return list(zip(names, self.mixture.counts(), strict=True))
        return [(names[owner], size) for owner, size in zip(owners, np.diff(bounds).tolist(), strict=True)]

    def samples_at(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Epochs, or with weights their sources' cycles, and indices of the samples from a position on."""
        if self.mixture is not None:
            return self.mixture.samples_at(first, count, seed=self.seed)
        return samples_at(first, count, size=len(self), seed=self.seed)

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Tokens in some samples, special tokens included: (n,) int64."""
        return unpack(self.index[indices]).lengths

    def micro_batches(
        self, epochs: Sequence[np.ndarray], indices: Sequence[np.ndarray]
    ) -> tuple[MicroBatch, ...]:
        """The finished samples, masked, in this order; one row for each pair of arrays."""
        sizes = [len(row) for row in indices]
        all_epochs, all_indices = np.concatenate(epochs), np.concatenate(indices)
        rows = self.index[all_indices]
        pairs = unpack(rows)
        predictions = number_of_predictions(pairs.lengths, self.config.mlm_probability)
        firsts, token_bounds = _cumulative(np.array(sizes)), _cumulative(pairs.lengths)
        bounds = _Bounds(token_bounds, _cumulative(predictions), np.repeat(token_bounds[firsts[:-1]], sizes))
        output = _Output(
            *(np.empty(bounds.tokens[-1], np.int64) for _ in range(3)),
            *(np.empty(bounds.predictions[-1], np.int64) for _ in range(2)),
        )
        chosen = _Chosen(rows, all_epochs, all_indices, self.seed, self.purpose)
        _write_samples(chosen, bounds, self.tables, self.vocabulary, output)
        nsp_labels = pairs.is_random.astype(np.int64)
        batches = []
        for first, last in itertools.pairwise(firsts):
            tokens = slice(bounds.tokens[first], bounds.tokens[last])
            predicted = slice(bounds.predictions[first], bounds.predictions[last])
            batches.append(
                MicroBatch(
                    input_ids=output.input_ids[tokens],
                    token_type_ids=output.token_type_ids[tokens],
                    position_ids=output.position_ids[tokens],
                    cu_seqlens=(bounds.tokens[first : last + 1] - bounds.tokens[first]).astype(np.int32),
                    mlm_positions=output.positions[predicted],
                    mlm_labels=output.labels[predicted],
                    nsp_labels=nsp_labels[first:last],
                    epochs=all_epochs[first:last],
                    indices=all_indices[first:last],
                )
            )
        return tuple(batches)

    def step(
        self, first_sample: int, *, global_batch_size: int, micro_batch_size: int, world_size: int, rank: int
    ) -> RankStep:
        """One rank's micro-batches of a global step, and the step's global counts.

        Args:
            first_sample: samples consumed before this step.
        """
        epochs, indices = self.samples_at(first_sample, global_batch_size)
        lengths = self.lengths(indices)
        mine = balance_by_length(lengths, micro_batch_size=micro_batch_size, world_size=world_size)[:, rank]
        return RankStep(
            micro_batches=self.micro_batches(epochs[mine], indices[mine]),
            global_sequences=global_batch_size,
            global_predictions=int(number_of_predictions(lengths, self.config.mlm_probability).sum()),
            global_tokens=int(lengths.sum()),
        )

    def validation(
        self, sequences: int, *, micro_batch_size: int, world_size: int, rank: int
    ) -> tuple[MicroBatch, ...]:
        """One rank's share of `sequences` samples, drawn once and for all, each exactly once over all ranks;
        masks never change.

        Every rank gets equally many micro-batches, since some engines communicate in every forward pass.

        Raises:
            UserError: there are fewer samples than ranks.
        """
        _, indices = self.samples_at(0, min(sequences, len(self)))
        if len(indices) < world_size:
            raise UserError(
                f"{len(indices)} validation samples cannot be shared by {world_size} ranks",
                where="tokens.validation_fraction",
                remedy="hold out more documents",
            )
        wanted = -(-len(indices) // (micro_batch_size * world_size)) * world_size
        mine = np.array_split(indices, min(wanted, len(indices) // world_size * world_size))[rank::world_size]
        return self.micro_batches([np.zeros_like(slot) for slot in mine], mine)


def phase_seed(seed: int, phase: int) -> int:
    """Of a phase's order and masks: that of the run in the first one."""
    if not phase:
        return seed
    return int(np.random.SeedSequence([seed, phase]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def stream_fingerprint(tokens: Path, config: DataConfig, *, seed: int, phase: int = 0) -> str:
    """What every sample of every epoch follows from; computed without the index."""
    masking = {"mlm_probability": config.mlm_probability, "whole_word_masking": config.whole_word_masking}
    index = index_fingerprint(tokens, config, seed=seed)
    parts: dict[str, Any] = {"index": index, "masking": masking, "seed": seed}
    if phase:
        parts["phase"] = phase
    if weights := source_weights(tokens / "train", config.sources):
        parts["sources"] = {"runs": read_runs(tokens / "train"), "weights": weights}
    return fingerprint(parts)


def _cumulative(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])
