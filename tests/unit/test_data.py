from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale.config import DataConfig
from biobert_scale.data.batches import MicroBatch, SampleStream, deal
from biobert_scale.data.masking import mask, number_of_predictions
from biobert_scale.data.order import permute, samples_at
from biobert_scale.data.pairs import build_pairs
from biobert_scale.data.philox import philox
from tests.helpers import write_samples, write_tokens

CONFIG = DataConfig(max_seq_length=64)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> SampleStream:
    directory = tmp_path_factory.mktemp("data")
    tokens = write_tokens(directory)
    return SampleStream.open(tokens, write_samples(tokens, directory / "samples", CONFIG), CONFIG, seed=1)


def samples(batch: MicroBatch) -> dict[tuple[int, int], bytes]:
    """Every sample's content, masks and labels included, by (epoch, index)."""
    found = {}
    for k, (begin, end) in enumerate(zip(batch.cu_seqlens, batch.cu_seqlens[1:], strict=False)):
        inside = (batch.mlm_positions >= begin) & (batch.mlm_positions < end)
        parts = [batch.input_ids[begin:end], batch.token_type_ids[begin:end], batch.position_ids[begin:end]]
        parts += [batch.mlm_positions[inside] - begin, batch.mlm_labels[inside], batch.nsp_labels[k : k + 1]]
        found[(int(batch.epochs[k]), int(batch.indices[k]))] = b"".join(np.ascontiguousarray(part, np.int64).tobytes() for part in parts)
    return found


def global_step(stream: SampleStream, step: int, world_size: int, batch_size: int = 32) -> dict[tuple[int, int], bytes]:
    found: dict[tuple[int, int], bytes] = {}
    counts = set()
    for rank in range(world_size):
        share = stream.step(step, global_batch_size=batch_size, micro_batch_size=2, world_size=world_size, rank=rank)
        counts.add((share.global_predictions, share.global_tokens, len(share.micro_batches)))
        for batch in share.micro_batches:
            assert len(batch.indices) == 2
            found.update(samples(batch))
    assert len(counts) == 1 and len(found) == batch_size
    assert counts.pop()[1] == sum(int(stream.lengths(np.array([index]))[0]) for _, index in found)
    return found


def test_philox_gives_the_published_vectors() -> None:
    """Known-answer vectors of Philox4x32-10 from the Random123 distribution (Salmon et al. 2011)."""
    block = np.empty(4, np.uint32)
    vectors = [
        ((0, 0, 0, 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**64 - 1, *(2**32 - 1,) * 4), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0x299F31D0A4093822, 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]
    for (key, *counters), expected in vectors:
        philox(np.uint64(key), *(np.int64(counter) for counter in counters), block)
        assert " ".join(f"{word:08x}" for word in block) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000, 4097])
def test_an_epoch_is_a_permutation(size: int) -> None:
    first = permute(np.arange(size), size=size, seed=5, epoch=0)
    assert sorted(first) == list(range(size))
    if size > 100:
        assert not np.array_equal(first, permute(np.arange(size), size=size, seed=5, epoch=1))
        assert not np.array_equal(first, permute(np.arange(size), size=size, seed=6, epoch=0))
        assert abs(np.corrcoef(np.arange(size), first)[0, 1]) < 5 / np.sqrt(size)


def test_epochs_follow_each_other_without_a_gap() -> None:
    epochs, _indices = samples_at(95, 10, size=100, seed=1)
    assert epochs.tolist() == [0] * 5 + [1] * 5
    whole = [samples_at(start, 7, size=100, seed=1) for start in range(0, 700, 7)]
    seen = list(zip(np.concatenate([e for e, _ in whole]).tolist(), np.concatenate([i for _, i in whole]).tolist(), strict=True))
    assert len(set(seen)) == 700 and set(seen) == {(epoch, index) for epoch in range(7) for index in range(100)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=12), min_size=2, max_size=25), st.integers(0, 1000))
def test_every_token_stands_in_a_sample_and_none_overflows(documents: list[list[int]], seed: int) -> None:
    lengths = np.concatenate(documents)
    offsets = np.cumsum([0, *map(len, documents)])
    token_offsets = np.cumsum([0, *map(sum, documents)])
    index = build_pairs(lengths, offsets, CONFIG, seed=seed)
    covered = np.zeros(lengths.sum(), bool)
    for row in index:
        a = (int(row["a_start"]), int(row["a_start"]) + int(row["a_length"]))
        b = (int(row["b_start"]), int(row["b_start"]) + int(row["b_length"]))
        assert a[0] < a[1] and b[0] < b[1] and a[1] - a[0] + b[1] - b[0] <= 61
        homes = [np.searchsorted(token_offsets, position, side="right") - 1 for position in (a[0], a[1] - 1, b[0], b[1] - 1)]
        assert homes[0] == homes[1] and homes[2] == homes[3], "a segment crosses documents"
        if row["is_random"]:
            assert homes[0] != homes[2], "a random next sentence of the same document"
        else:
            assert a[1] == b[0], "B does not follow A"
            covered[b[0] : b[1]] = True
        covered[a[0] : a[1]] = True
    assert covered.all()


def test_pairs_have_bert_s_proportions() -> None:
    generator = np.random.default_rng(0)
    sentences = generator.integers(5, 20, 20_000)
    lengths = generator.integers(8, 40, sentences.sum())
    index = build_pairs(lengths, np.cumsum([0, *sentences]), DataConfig(max_seq_length=128), seed=3)
    total = index["a_length"].astype(int) + index["b_length"]
    assert abs(index["is_random"].mean() - 0.5) < 0.02
    # A tenth is packed to a uniformly shorter target; another part is short because the document ends there.
    fixed = build_pairs(lengths, np.cumsum([0, *sentences]), DataConfig(max_seq_length=128, short_sequence_probability=0.0), seed=3)
    assert total.mean() < (fixed["a_length"].astype(int) + fixed["b_length"]).mean() < 125


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(1, 2), st.integers(0, 10**12), st.integers(0, 9))
def test_masking_touches_only_what_it_says(length: int, shift: int, index: int, epoch: int) -> None:
    length += 3
    second = min(length - 2, length // 2 + shift)
    original = np.arange(10, 10 + length)
    original[[0, second - 1, -1]] = [2, 3, 3]
    count = int(number_of_predictions(np.array(length), 0.15))
    masked, positions, labels = original.copy(), np.empty(count, np.int64), np.empty(count, np.int64)
    mask(masked, second, count, np.arange(5, 300), 4, 1, epoch, index, 2, positions, labels)
    assert len(set(positions)) == count and (np.diff(positions) > 0).all()
    assert np.array_equal(labels, original[positions])
    assert not {0, second - 1, length - 1} & set(positions.tolist())
    untouched = np.setdiff1d(np.arange(length), positions)
    assert np.array_equal(masked[untouched], original[untouched])


def test_masking_is_80_10_10_and_15_percent() -> None:
    lengths = np.arange(20, 513)
    assert abs(number_of_predictions(lengths, 0.15).sum() / lengths.sum() - 0.15) < 0.001
    kinds = np.zeros(3)
    for index in range(4000):
        masked, positions, labels = np.full(100, 7), np.empty(15, np.int64), np.empty(15, np.int64)
        mask(masked, 50, 15, np.arange(1000, 2000), 4, 1, 0, index, 2, positions, labels)
        values = masked[positions]
        kinds += [(values == 4).sum(), (values >= 1000).sum(), (values == 7).sum()]
    shares = kinds / kinds.sum()
    assert np.allclose(shares, [0.8, 0.1, 0.1], atol=0.006)  # 60,000 draws: four standard deviations are 0.0065


def test_a_step_is_the_same_at_every_world_size(stream: SampleStream) -> None:
    for step in (0, 3, 40):
        alone = global_step(stream, step, 1)
        for world_size in (2, 4, 16):
            assert global_step(stream, step, world_size) == alone


def test_masks_change_from_epoch_to_epoch_and_samples_do_not(stream: SampleStream) -> None:
    index = np.array([5])
    first, again, later = (stream.micro_batch(np.array([epoch]), index) for epoch in (0, 0, 1))
    assert samples(first) == samples(again)
    assert not np.array_equal(first.input_ids, later.input_ids)

    def unmasked(batch: MicroBatch) -> list[int]:
        restored = batch.input_ids.copy()
        restored[batch.mlm_positions] = batch.mlm_labels
        return restored.tolist()

    assert unmasked(first) == unmasked(later)


def test_validation_scores_each_sample_once_whatever_the_ranks(stream: SampleStream) -> None:
    for world_size in (1, 2, 3):
        shares = [stream.validation(101, micro_batch_size=8, world_size=world_size, rank=rank) for rank in range(world_size)]
        assert len({len(share) for share in shares}) == 1, "ranks would wait for each other for ever"
        assert sorted(int(index) for share in shares for batch in share for index in batch.indices) == list(range(101))


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 100))
def test_dealing_gives_every_sample_once_and_balances(slots: int, size: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(5, 512, slots * size)
    dealt = deal(lengths, slots, size)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(slots * size))
    loads = [int(lengths[slot].sum()) for slot in dealt]
    assert all(len(slot) == size for slot in dealt) and loads == sorted(loads, reverse=True)
    assert max(loads) - min(loads) <= 512


def test_the_stream_is_pinned(stream: SampleStream) -> None:
    """A changed hash is a changed stream: runs could no longer be resumed or compared across versions."""
    digest = hashlib.sha256()
    for step in (0, 7, 100):
        for key, content in sorted(global_step(stream, step, 1).items()):
            digest.update(repr(key).encode() + content)
    assert digest.hexdigest()[:16] == "9fa1da8871ef364f"
