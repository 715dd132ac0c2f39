from __future__ import annotations

import hashlib
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biobert_scale.config import BatchSizes, DataConfig, LoaderConfig
from biobert_scale.data.batches import MicroBatch, RankStep
from biobert_scale.data.layouts import IGNORED, fill_bucket, padded
from biobert_scale.data.loader import StepLoader
from biobert_scale.data.masking import number_of_predictions
from biobert_scale.data.run_stream import PhaseStream, RunStream
from biobert_scale.data.stream import SampleStream, stream_fingerprint
from biobert_scale.errors import UserError
from tests.factories import write_samples, write_tokens

CONFIG = DataConfig(max_seq_length=64)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def stream(tokens: Path) -> SampleStream:
    return SampleStream.open(tokens, write_samples(tokens, tokens.parent / "samples", CONFIG), CONFIG, seed=1)


def contents(batch: MicroBatch) -> dict[tuple[int, int], bytes]:
    """Every sample's content, masks and labels included, by (epoch, index)."""
    found = {}
    for k, (begin, end) in enumerate(itertools.pairwise(batch.cu_seqlens)):
        inside = (batch.mlm_positions >= begin) & (batch.mlm_positions < end)
        parts = [batch.input_ids[begin:end], batch.token_type_ids[begin:end], batch.position_ids[begin:end]]
        parts += [batch.mlm_positions[inside] - begin, batch.mlm_labels[inside], batch.nsp_labels[k : k + 1]]
        found[(int(batch.epochs[k]), int(batch.indices[k]))] = b"".join(
            np.ascontiguousarray(part, np.int64).tobytes() for part in parts
        )
    return found


def run_stream(stream: SampleStream, *, micro_batch_size: int) -> RunStream:
    """Steps of 32 samples."""
    sizes = BatchSizes.constant(global_batch_size=32, max_seq_length=stream.config.max_seq_length)
    return RunStream(phases=(PhaseStream(stream, micro_batch_size, 0),), sizes=sizes)


def take(
    stream: SampleStream,
    steps: int,
    *,
    world_size: int,
    rank: int = 0,
    consumed: int = 0,
    workers: int = 1,
    bucket: int = 0,
) -> list[RankStep]:
    with StepLoader(
        run_stream(stream, micro_batch_size=2),
        consumed_samples=consumed,
        world_size=world_size,
        rank=rank,
        prepare=lambda step: step,
        config=LoaderConfig(workers=workers, pad_to_multiple_of=bucket),
    ) as loader:
        return list(itertools.islice(loader, steps))


def global_steps(
    stream: SampleStream, steps: int, *, world_size: int, workers: int = 1
) -> list[dict[tuple[int, int], bytes]]:
    """What all ranks together train on, step by step; a multiset, since a sample twice would show in the
    count."""
    ranks = [
        take(stream, steps, world_size=world_size, rank=rank, workers=workers) for rank in range(world_size)
    ]
    found = []
    for shares in zip(*ranks, strict=True):
        batches = [batch for share in shares for batch in share.micro_batches]
        together = {key: content for batch in batches for key, content in contents(batch).items()}
        assert sum(len(batch.indices) for batch in batches) == len(together) == 32
        assert {len(batch.indices) for batch in batches} == {2} and len(
            {len(share.micro_batches) for share in shares}
        ) == 1
        for share in shares:
            assert share.global_tokens == sum(len(batch.input_ids) for batch in batches)
            assert share.global_predictions == sum(len(batch.mlm_labels) for batch in batches)
        found.append(together)
    return found


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("world_size", [1, 2, 4, 16])
def test_a_step_is_the_same_at_every_world_size_and_number_of_workers(
    stream: SampleStream, world_size: int, workers: int
) -> None:
    assert global_steps(stream, 5, world_size=world_size, workers=workers) == global_steps(
        stream, 5, world_size=1
    )


def digest(step: RankStep) -> str:
    state = hashlib.sha256(
        repr((step.global_sequences, step.global_predictions, step.global_tokens)).encode()
    )
    for batch in step.micro_batches:
        for name in batch.__dataclass_fields__:
            state.update(getattr(batch, name).tobytes())
    return state.hexdigest()


@pytest.mark.parametrize("workers", [1, 3])
def test_resuming_at_any_step_continues_the_stream_byte_for_byte(stream: SampleStream, workers: int) -> None:
    steps = 2 * len(stream) // 32 + 3  # into the third epoch
    whole = [digest(step) for step in take(stream, steps, world_size=2, rank=1)]
    for begin in (0, 1, 7, len(stream) // 32, steps - 1):
        again = take(
            stream, min(3, steps - begin), world_size=2, rank=1, consumed=begin * 32, workers=workers
        )
        assert [digest(step) for step in again] == whole[begin : begin + 3]


def test_the_loader_s_state_is_what_was_consumed(stream: SampleStream) -> None:
    with StepLoader(
        run_stream(stream, micro_batch_size=4),
        consumed_samples=64,
        world_size=1,
        rank=0,
        prepare=digest,
        config=LoaderConfig(workers=4),
    ) as loader:
        next(loader)
        following = next(loader)
        assert loader.consumed_samples == 128, "steps made ahead are not consumed"
    with StepLoader(
        run_stream(stream, micro_batch_size=4),
        consumed_samples=96,
        world_size=1,
        rank=0,
        prepare=digest,
    ) as again:
        assert next(again) == following


@pytest.mark.fault("an error in a thread that makes batches", "reaches the trainer as it was raised")
def test_an_error_in_a_worker_reaches_the_trainer(stream: SampleStream) -> None:
    def fail(_: RankStep) -> None:
        raise ZeroDivisionError

    with (
        StepLoader(
            run_stream(stream, micro_batch_size=4),
            consumed_samples=0,
            world_size=1,
            rank=0,
            prepare=fail,
        ) as loader,
        pytest.raises(ZeroDivisionError),
    ):
        next(loader)


def test_an_epoch_holds_every_sample_once_and_every_token_as_it_was_written(stream: SampleStream) -> None:
    size = len(stream)
    (batch,) = stream.micro_batches([np.zeros(size, np.int64)], [np.arange(size)])
    restored = batch.input_ids.copy()
    restored[batch.mlm_positions] = batch.mlm_labels
    special = stream.vocabulary
    for k in range(0, size, 17):
        sample = restored[batch.cu_seqlens[k] : batch.cu_seqlens[k + 1]]
        row = stream.index[k]
        a_start, a_length, b_length, b_start = (
            int(row[0]) % 2**40,
            int(row[0]) >> 40 & 4095,
            int(row[0]) >> 52,
            int(row[1]) % 2**40,
        )
        expected = [
            special.cls,
            *stream.store.read(a_start, a_length),
            special.sep,
            *stream.store.read(b_start, b_length),
            special.sep,
        ]
        assert sample.tolist() == expected
        kinds = batch.token_type_ids[batch.cu_seqlens[k] : batch.cu_seqlens[k + 1]]
        assert kinds.tolist() == [0] * (a_length + 2) + [1] * (b_length + 1)
        assert batch.position_ids[batch.cu_seqlens[k] : batch.cu_seqlens[k + 1]].tolist() == list(
            range(len(expected))
        )


def test_masks_change_from_epoch_to_epoch_and_samples_do_not(stream: SampleStream) -> None:
    index = np.array([5])
    first, again, later = (stream.micro_batches([np.array([epoch])], [index])[0] for epoch in (0, 0, 1))
    assert contents(first) == contents(again)
    assert not np.array_equal(first.input_ids, later.input_ids)
    for batch in (first, later):
        batch.input_ids[batch.mlm_positions] = batch.mlm_labels
    assert first.input_ids.tolist() == later.input_ids.tolist()


def test_whole_word_masks_keep_pairs_and_counts(tokens: Path, stream: SampleStream) -> None:
    whole = SampleStream.open(
        tokens, tokens.parent / "samples", replace(CONFIG, whole_word_masking=True), seed=1
    )
    ours, theirs = (
        found.micro_batches([np.zeros(50, np.int64)], [np.arange(50)])[0] for found in (whole, stream)
    )
    assert np.array_equal(ours.cu_seqlens, theirs.cu_seqlens) and np.array_equal(
        ours.nsp_labels, theirs.nsp_labels
    )
    assert len(ours.mlm_labels) == len(theirs.mlm_labels) and not np.array_equal(
        ours.mlm_positions, theirs.mlm_positions
    )
    assert whole.fingerprint != stream.fingerprint


def test_validation_scores_each_sample_once_whatever_the_ranks(tokens: Path) -> None:
    held_out = SampleStream.open(tokens, tokens.parent / "samples", CONFIG, seed=1, split="validation")
    count = min(len(held_out), 41)
    seen = []
    for world_size in (1, 2, 3):
        shares = [
            held_out.validation(41, micro_batch_size=8, world_size=world_size, rank=rank)
            for rank in range(world_size)
        ]
        assert len({len(share) for share in shares}) == 1, "ranks would wait for each other for ever"
        together = {
            key: content for share in shares for batch in share for key, content in contents(batch).items()
        }
        assert len(together) == count == sum(len(batch.indices) for share in shares for batch in share)
        seen.append(together)
    assert seen[0] == seen[1] == seen[2]
    with pytest.raises(UserError, match="shared by 50 ranks"):
        held_out.validation(41, micro_batch_size=8, world_size=50, rank=0)


def test_a_renamed_directory_is_the_same_corpus_and_another_seed_is_not(
    tokens: Path, stream: SampleStream
) -> None:
    moved = tokens.with_name("moved")
    tokens.rename(moved)
    try:
        assert stream_fingerprint(moved, CONFIG, seed=1) == stream.fingerprint
    finally:
        moved.rename(tokens)
    for config, seed in (
        (CONFIG, 2),
        (replace(CONFIG, mlm_probability=0.2), 1),
        (replace(CONFIG, max_seq_length=65), 1),
    ):
        assert stream_fingerprint(tokens, config, seed=seed) != stream.fingerprint


def test_padded_rows_hold_the_same_samples(stream: SampleStream) -> None:
    (batch,) = stream.micro_batches([np.zeros(7, np.int64)], [np.arange(7)])
    rows = padded(batch, pad_token_id=0, length=64)
    assert rows["input_ids"].shape == (7, 64) and rows["attention_mask"].sum() == len(batch.input_ids)
    real = rows["attention_mask"] == 1
    assert np.array_equal(rows["input_ids"][real], batch.input_ids) and np.array_equal(
        rows["token_type_ids"][real], batch.token_type_ids
    )
    assert np.array_equal(rows["labels"][rows["labels"] != IGNORED], batch.mlm_labels)
    assert np.array_equal(np.flatnonzero(rows["labels"][real] != IGNORED), batch.mlm_positions)
    assert padded(batch, pad_token_id=0)["input_ids"].shape[1] == np.diff(batch.cu_seqlens).max()


def test_buckets_have_few_shapes_and_the_same_samples(stream: SampleStream) -> None:
    for plain, filled in zip(
        take(stream, 3, world_size=1), take(stream, 3, world_size=1, bucket=48), strict=True
    ):
        for batch, longer in zip(plain.micro_batches, filled.micro_batches, strict=True):
            size = len(longer.input_ids)
            assert size % 48 == 0 and 0 <= size - len(batch.input_ids) < 48
            assert len(longer.mlm_labels) == number_of_bucket_predictions(
                size
            ) and longer.cu_seqlens.tolist() == [*batch.cu_seqlens, size]
            kept = longer.mlm_labels != IGNORED
            assert np.array_equal(longer.mlm_positions[kept], batch.mlm_positions) and np.array_equal(
                longer.mlm_labels[kept], batch.mlm_labels
            )
            assert np.array_equal(longer.input_ids[: len(batch.input_ids)], batch.input_ids)


def number_of_bucket_predictions(size: int) -> int:
    return int(np.ceil(size * 0.15)) + 2


def test_a_bucket_has_room_for_every_prediction() -> None:
    """Very short samples: each has one prediction at least."""
    batch = MicroBatch(
        input_ids=np.arange(10),
        token_type_ids=np.zeros(10, np.int64),
        position_ids=np.arange(10),
        cu_seqlens=np.array([0, 5, 10], np.int32),
        mlm_positions=np.array([1, 6]),
        mlm_labels=np.array([1, 6]),
        nsp_labels=np.zeros(2, np.int64),
        epochs=np.zeros(2, np.int64),
        indices=np.arange(2),
    )
    assert number_of_predictions(np.array([5, 5]), 0.01).sum() == 2
    filled = fill_bucket(batch, bucket=10, max_seq_length=5, mlm_probability=0.01, pad_token_id=0)
    assert len(filled.mlm_labels) >= 2 and filled.cu_seqlens.tolist() == [0, 5, 10, 10, 10]


def test_the_stream_is_pinned(stream: SampleStream) -> None:
    """A changed hash is a changed stream: runs could no longer be resumed or compared across versions."""
    state = hashlib.sha256()
    for consumed in (0, 7 * 32, 100 * 32):
        (step,) = take(stream, 1, world_size=1, consumed=consumed)
        for batch in step.micro_batches:
            for key, content in sorted(contents(batch).items()):
                state.update(repr(key).encode() + content)
    assert state.hexdigest()[:16] == "218fe0d627e74b1d"


def test_a_resumed_stream_does_as_much_at_step_100_000_as_at_100(tokens: Path) -> None:
    """Counted in calls: whatever goes through the samples before a step makes more of them."""
    samples = write_samples(tokens, tokens.parent / "samples", CONFIG)

    def calls(step: int) -> int:
        counted = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            stream = SampleStream.open(tokens, samples, CONFIG, seed=1)
            stream.step(step * 256, global_batch_size=256, micro_batch_size=2, world_size=16, rank=3)
        finally:
            sys.setprofile(None)
        return counted

    calls(0)  # compiles
    assert calls(100_000) <= calls(100) * 1.1


class Repeated:
    """An index of 10^9 samples, which on disk has 16 GB: the rows of another, over and over."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self.rows[indices % len(self.rows)]
        return rows


@pytest.fixture(scope="module")
def billion(stream: SampleStream) -> SampleStream:
    index: Any = Repeated(stream.index)
    return SampleStream(
        stream.store, index, stream.vocabulary, CONFIG, seed=stream.seed, purpose=stream.purpose
    )


def test_the_step_of_1024_ranks_over_the_end_of_an_epoch_of_a_billion_samples(billion: SampleStream) -> None:
    """Every sample is some rank's, none is two ranks', and all are those of one rank alone."""
    first, size = 10**9 - 500, 1024

    def together(world_size: int) -> dict[tuple[int, int], bytes]:
        found: dict[tuple[int, int], bytes] = {}
        for rank in range(world_size):
            step = billion.step(
                first, global_batch_size=size, micro_batch_size=1, world_size=world_size, rank=rank
            )
            assert sum(len(batch.indices) for batch in step.micro_batches) == size // world_size
            for batch in step.micro_batches:
                found |= contents(batch)
        return found

    many = together(1024)
    assert len(many) == size and many == together(1)
    assert sum(epoch == 0 for epoch, _ in many) == 500
    assert {epoch for epoch, _ in many} == {0, 1} and max(index for _, index in many) > 0.99e9


@pytest.mark.parametrize("begin", [0, 1, 488_280, 488_281, 30_000_000])
def test_one_of_1024_ranks_resumes_at_any_step_of_a_billion_samples(
    billion: SampleStream, begin: int
) -> None:
    """10^9 samples are 488,281 steps of 2,048 and a part of one."""
    sizes = BatchSizes.constant(global_batch_size=2048, max_seq_length=CONFIG.max_seq_length)
    run = RunStream(phases=(PhaseStream(billion, 1, 0),), sizes=sizes)

    def steps(begin: int, count: int) -> list[str]:
        with StepLoader(
            run, consumed_samples=begin * 2048, world_size=1024, rank=700, prepare=digest
        ) as loader:
            return list(itertools.islice(loader, count))

    whole = steps(begin, 3)
    assert len(set(whole)) == 3 and steps(begin + 2, 1) == whole[2:] and steps(begin + 1, 2) == whole[1:]


def test_a_billion_samples_come_once_in_an_epoch(billion: SampleStream) -> None:
    """A bijection whatever its rounds; a part of it is looked at. Of 200,000 draws with replacement some 20
    would come twice."""
    epochs, indices = billion.samples_at(10**9 // 2, 200_000)
    assert set(epochs) == {0} and len(np.unique(indices)) == 200_000
    assert 0 <= indices.min() < 1e6 and 0.999e9 < indices.max() < 10**9
    assert abs(indices.mean() / 1e9 - 0.5) < 5 / np.sqrt(12 * 200_000)
