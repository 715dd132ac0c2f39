"""From a global step to the micro-batches of one rank, and nothing in between that remembers anything.

Sample `i` of epoch `e` depends on (tokens, seed, e, i) only; global step `s` trains on the samples at positions
`s * global_batch_size` onwards of the epochs' permutations. Within a step the samples are dealt to ranks and
micro-steps by length, so that all carry nearly equal tokens: the mathematics is the same whoever computes what.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biobert_scale.config import DataConfig
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE, mask, number_of_predictions
from biobert_scale.data.order import samples_at
from biobert_scale.data.pairs import INDEX_DTYPE, build_pairs
from biobert_scale.data.philox import PURPOSE_MASKING, PURPOSE_VALIDATION
from biobert_scale.errors import UserError
from biobert_scale.files import begin_stage, describe_inputs, finish_stage, read_manifest, stage_key
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.shards import TokenStore
from biobert_scale.tokens.vocabulary import special_ids

STAGE = "samples"


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Sequences laid end to end in one row, in NumPy arrays.

    Shapes: `input_ids`, `token_type_ids`, `position_ids` (tokens,) int64; `cu_seqlens` (sequences + 1,) int32;
    `mlm_positions`, `mlm_labels` (predictions,) int64; `nsp_labels` (sequences,) int64 (1: random next);
    `epochs`, `indices` (sequences,) int64 name the samples.
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


def build_samples(tokens: Path, output: Path, config: DataConfig, *, seed: int, overwrite: bool = False) -> None:
    """Write the index of samples of both splits; a finished one is left alone."""
    inputs = describe_inputs([tokens])
    key = stage_key(STAGE, inputs, {"data": config, "seed": seed})
    if begin_stage(output, stage=STAGE, key=key, overwrite=overwrite):
        return
    counts, files = {}, []
    for split in ("train", "validation"):
        store = TokenStore.open(tokens / split)
        if store.documents < 2:
            raise UserError(
                f"the {split} split has {store.documents} document(s); a random next sentence needs two",
                where=tokens,
                remedy="build a larger corpus, or hold out a larger tokens.validation_fraction",
            )
        index = build_pairs(store.sentence_lengths, store.sentence_offsets, config, seed=seed)
        path = output / f"{split}.npy"
        np.save(path, index)
        files.append(path)
        counts[split] = {"samples": len(index), "random_next": int(index["is_random"].sum())}
    finish_stage(output, stage=STAGE, key=key, inputs=inputs, config={"data": config, "seed": seed}, counts=counts, outputs=files, libraries=["numpy", "numba"])


@dataclass(frozen=True)
class SampleStream:
    """All samples of a split, by epoch and index; opened at once, whatever its size."""

    store: TokenStore
    index: np.ndarray
    config: DataConfig
    seed: int
    special: dict[str, int]
    replacements: np.ndarray
    purpose: int
    fingerprint: str

    @classmethod
    def open(cls, tokens: Path, samples: Path, config: DataConfig, *, seed: int, split: str = "train") -> SampleStream:
        """Open finished token shards and their finished index.

        Raises:
            UserError: either is missing or unfinished.
        """
        vocabulary_size = read_manifest(tokens, TOKENS_STAGE).counts["vocabulary"]
        manifest = read_manifest(samples, STAGE)
        special = special_ids(tokens / "tokenizer")
        index = np.load(samples / f"{split}.npy", mmap_mode="r")
        assert index.dtype == INDEX_DTYPE
        return cls(
            store=TokenStore.open(tokens / split),
            index=index,
            config=config,
            seed=seed,
            special=special,
            replacements=np.setdiff1d(np.arange(vocabulary_size), list(special.values())),
            purpose=PURPOSE_MASKING if split == "train" else PURPOSE_VALIDATION,
            fingerprint=manifest.key,
        )

    def __len__(self) -> int:
        return len(self.index)

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Tokens in some samples, special tokens included: (n,) int64."""
        rows = self.index[indices]
        return rows["a_length"].astype(np.int64) + rows["b_length"] + SPECIAL_TOKENS_PER_SAMPLE

    def micro_batch(self, epochs: np.ndarray, indices: np.ndarray) -> MicroBatch:
        """The finished samples, masked, in this order in one row."""
        lengths = self.lengths(indices)
        predictions = number_of_predictions(lengths, self.config.mlm_probability)
        bounds, prediction_bounds = _cumulative(lengths), _cumulative(predictions)
        input_ids = np.empty(bounds[-1], np.int64)
        token_type_ids = np.zeros(bounds[-1], np.int64)
        positions, labels = np.empty(prediction_bounds[-1], np.int64), np.empty(prediction_bounds[-1], np.int64)
        rows = self.index[indices]
        for k, row in enumerate(rows):
            begin, end, second = bounds[k], bounds[k + 1], int(row["a_length"]) + 2
            sample = input_ids[begin:end]
            sample[0], sample[second - 1], sample[-1] = self.special["[CLS]"], self.special["[SEP]"], self.special["[SEP]"]
            sample[1 : second - 1] = self.store.read(int(row["a_start"]), int(row["a_length"]))
            sample[second:-1] = self.store.read(int(row["b_start"]), int(row["b_length"]))
            token_type_ids[begin + second : end] = 1
            first, last = prediction_bounds[k], prediction_bounds[k + 1]
            mask(
                sample, second, int(predictions[k]), self.replacements, self.special["[MASK]"],
                self.seed, int(epochs[k]), int(indices[k]), self.purpose, positions[first:last], labels[first:last],
            )  # fmt: skip
            positions[first:last] += begin
        return MicroBatch(
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            position_ids=np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths),
            cu_seqlens=bounds.astype(np.int32),
            mlm_positions=positions,
            mlm_labels=labels,
            nsp_labels=rows["is_random"].astype(np.int64),
            epochs=epochs,
            indices=indices,
        )

    def step(self, step: int, *, global_batch_size: int, micro_batch_size: int, world_size: int, rank: int) -> RankStep:
        """One rank's micro-batches of a global step, and the step's global counts.

        Args:
            step: steps taken before this one; the samples are those at `step * global_batch_size` onwards.
        """
        epochs, indices = samples_at(step * global_batch_size, global_batch_size, size=len(self), seed=self.seed)
        lengths = self.lengths(indices)
        slots = deal(lengths, global_batch_size // micro_batch_size, micro_batch_size)
        mine = slots[rank::world_size]
        return RankStep(
            micro_batches=tuple(self.micro_batch(epochs[slot], indices[slot]) for slot in mine),
            global_sequences=global_batch_size,
            global_predictions=int(number_of_predictions(lengths, self.config.mlm_probability).sum()),
            global_tokens=int(lengths.sum()),
        )

    def validation(self, sequences: int, *, micro_batch_size: int, world_size: int, rank: int) -> list[MicroBatch]:
        """One rank's share of the first `sequences` samples, each exactly once over all ranks, masks never changing.

        Every rank gets equally many micro-batches, since some engines communicate in every forward pass.

        Raises:
            UserError: there are fewer samples than ranks.
        """
        indices = np.arange(min(sequences, len(self)))
        if len(indices) < world_size:
            raise UserError(f"{len(indices)} validation samples cannot be shared by {world_size} ranks", where="tokens.validation_fraction", remedy="hold out more documents")
        wanted = -(-len(indices) // (micro_batch_size * world_size)) * world_size
        slots = np.array_split(indices, min(wanted, len(indices) // world_size * world_size))
        return [self.micro_batch(np.zeros(len(slot), np.int64), slot) for slot in slots[rank::world_size]]


def deal(lengths: np.ndarray, slots: int, slot_size: int) -> list[np.ndarray]:
    """Deal samples into equally many-membered slots of nearly equal tokens.

    The longest first, each to the slot with the fewest tokens so far that still has room (Graham 1969). Slots come
    back fullest first, so that slots taken at once by several ranks (neighbours in this list) are alike.

    Args:
        lengths: (slots * slot_size,) tokens of each sample.

    Returns:
        `slots` arrays of `slot_size` positions into `lengths`.
    """
    members: list[list[int]] = [[] for _ in range(slots)]
    heap = [(0, slot) for slot in range(slots)]
    for position in np.argsort(-lengths, kind="stable"):
        load, slot = heapq.heappop(heap)
        members[slot].append(int(position))
        if len(members[slot]) < slot_size:
            heapq.heappush(heap, (load + int(lengths[position]), slot))
    totals = [int(lengths[slot].sum()) for slot in members]
    return [np.asarray(members[slot]) for slot in sorted(range(slots), key=lambda slot: (-totals[slot], slot))]


def _cumulative(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])
