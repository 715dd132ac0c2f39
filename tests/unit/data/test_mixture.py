"""Weighted sources: how often each sample is seen, whoever asks, wherever a run begins."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biobert_scale.config import DataConfig
from biobert_scale.data.batches import MicroBatch, RankStep
from biobert_scale.data.mixture import Mixture, SourceSamples, count_seen
from biobert_scale.data.samples import index_fingerprint
from biobert_scale.data.stream import SampleStream, stream_fingerprint
from biobert_scale.errors import UserError
from biobert_scale.tokens.sources import SOURCES, read_runs
from tests.factories import write_samples, write_tokens

PLAIN = DataConfig(max_seq_length=64)
WEIGHTED = replace(PLAIN, sources={"pmc": 2.0, "notes": 0.5})
BATCH = 32


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three sources, mixed in each shard."""
    sources = ("medline", "pmc", "medline", "notes")
    tokens = write_tokens(tmp_path_factory.mktemp("tokens"), sources=sources)
    write_samples(tokens, tokens.parent / "samples", PLAIN)
    return tokens


def opened(tokens: Path, config: DataConfig, *, split: str = "train") -> SampleStream:
    return SampleStream.open(tokens, tokens.parent / "samples", config, seed=1, split=split)


@pytest.fixture(scope="module")
def stream(tokens: Path) -> SampleStream:
    return opened(tokens, WEIGHTED)


def sources_of(runs: list[tuple[int, int]]) -> SourceSamples:
    """Runs of samples, each with its source's number and how many they are."""
    present = sorted({owner for owner, _ in runs})
    owners = np.array([present.index(owner) for owner, _ in runs])
    names = tuple(map(str, range(len(present))))
    return SourceSamples(names, owners, np.cumsum([0, *(size for _, size in runs)]))


RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=8)
WEIGHTS = st.lists(st.floats(0.01, 5) | st.sampled_from([0.5, 1.0, 2.0, 1 / 3]), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(runs=RUNS, drawn=WEIGHTS, epochs=st.integers(1, 4), seed=st.integers(0, 9 * 10**18))
@example(runs=[(0, 15)], drawn=[1.1] * 4, epochs=1, seed=0)  # 16.5, and as a binary number more
def test_samples_of_a_source_are_seen_equally_often(
    runs: list[tuple[int, int]], drawn: list[float], epochs: int, seed: int
) -> None:
    samples = sources_of(runs)
    weights = dict(zip(samples.names, drawn, strict=False))
    mixture = Mixture.of(samples, weights)
    size = mixture.samples_an_epoch
    cycles, indices = mixture.samples_at(0, epochs * size, seed=seed)
    assert len(set(zip(cycles.tolist(), indices.tolist(), strict=True))) == epochs * size
    owner = np.repeat(samples.owners, np.diff(samples.bounds))
    times = np.bincount(indices, minlength=len(owner))
    for number, (name, weight) in enumerate(weights.items()):
        of_source, in_epoch = samples.sizes()[name], mixture.counts()[number]
        assert in_epoch == max(1, round(Decimal(repr(weight)) * of_source))
        for epoch in np.split(indices, epochs):
            assert np.count_nonzero(owner[epoch] == number) == in_epoch
        least, rest = divmod(epochs * in_epoch, of_source)
        assert set(times[owner == number].tolist()) <= {least, least + bool(rest)}
        assert np.count_nonzero(times[owner == number] > least) == rest
    layout = list(zip(samples.names, mixture.counts(), strict=True))
    for consumed in (0, 1, size // 2, size, epochs * size - 1):
        expected = Counter(samples.names[k] for k in owner[indices[:consumed]])
        assert count_seen(layout, consumed, seed=seed) == {name: expected[name] for name in samples.names}


def test_a_half_and_then_the_other_half() -> None:
    samples = sources_of([(0, 600), (1, 400)])
    mixture = Mixture.of(samples, {"0": 1.0, "1": 0.5})
    halves = []
    for epoch in range(4):
        cycles, indices = mixture.samples_at(epoch * 800, 800, seed=1)
        half = indices[indices >= 600]
        assert len(half) == 200 and set(cycles[indices >= 600].tolist()) == {epoch // 2}
        halves.append(set(half.tolist()))
        # Drawn from the whole source, not from its first half.
        assert 60 < np.count_nonzero(half < 800) < 140
    assert halves[0] | halves[1] == halves[2] | halves[3] == set(range(600, 1000))
    assert halves[0] not in (halves[2], halves[3])


def test_positions_alone_say_which_samples_are_there() -> None:
    """A billion samples, drawn here and there: nothing is walked through, no table grows with them."""
    runs = [(0, 400_000_000), (1, 300_000_001), (0, 99_999_999), (2, 200_000_000)]
    samples = sources_of(runs)
    mixture = Mixture.of(samples, {"0": 1.0, "1": 2.5, "2": 0.3})
    assert sum(array.nbytes for array in mixture) < 1000
    size = mixture.samples_an_epoch
    assert size == 499_999_999 + round(2.5 * 300_000_001) + 60_000_000
    for first in np.random.default_rng(1).integers(0, 100 * size, 50).tolist():
        cycles, indices = mixture.samples_at(first, 64, seed=7)
        assert indices.min() >= 0 and indices.max() < 1_000_000_000
        assert len(set(zip(cycles.tolist(), indices.tolist(), strict=True))) == 64
        for k in (0, 17, 63):
            cycle, index = mixture.samples_at(first + k, 1, seed=7)
            assert (cycle[0], index[0]) == (cycles[k], indices[k])
        owners = samples.owners[np.searchsorted(samples.bounds, indices, "right") - 1]
        passed = np.array([1.0, 2.5, 0.3])[owners] * (first // size)
        assert np.all(np.abs(cycles - passed) <= 2.5 + 1)


def test_a_huge_epoch_holds_its_shares() -> None:
    samples = sources_of([(0, 900_000_000), (1, 100_000_000)])
    mixture = Mixture.of(samples, {"0": 0.5, "1": 4.0})
    _, indices = mixture.samples_at(12_345_678_901, 40_000, seed=3)
    share = np.count_nonzero(indices >= 900_000_000) / len(indices)
    assert abs(share - 400 / 850) < 0.01  # four standard deviations


def test_the_weighted_order_is_pinned() -> None:
    """A changed hash is another order: runs with weights could not be resumed with it."""
    state = hashlib.sha256()
    for runs in ([(0, 1)], [(0, 3), (1, 5), (0, 2)], [(0, 150_000_000), (1, 700_000_001)]):
        mixture = Mixture.of(sources_of(runs), {"0": 1.0, "1": 0.75})
        for seed, first in ((1, 0), (2**40 + 17, 3 * mixture.samples_an_epoch - 1)):
            for part in mixture.samples_at(first, 64, seed=seed):
                state.update(part.tobytes())
    assert state.hexdigest()[:16] == "39eecbc5b7e3ed51"


def contents(batches: tuple[MicroBatch, ...]) -> Counter[bytes]:
    """Samples with their masks and labels, as a multiset."""
    found = Counter[bytes]()
    for batch in batches:
        for k, (begin, end) in enumerate(itertools.pairwise(batch.cu_seqlens)):
            inside = (batch.mlm_positions >= begin) & (batch.mlm_positions < end)
            parts = [batch.epochs[k : k + 1], batch.indices[k : k + 1], batch.input_ids[begin:end]]
            parts += [batch.mlm_positions[inside] - begin, batch.mlm_labels[inside]]
            found[b"".join(part.astype(np.int64).tobytes() for part in parts)] += 1
    return found


def rank_step(stream: SampleStream, first: int, world_size: int, rank: int) -> RankStep:
    return stream.step(first, global_batch_size=BATCH, micro_batch_size=2, world_size=world_size, rank=rank)


def whole_step(stream: SampleStream, first: int, world_size: int) -> Counter[bytes]:
    steps = [rank_step(stream, first, world_size, rank) for rank in range(world_size)]
    assert len({(step.global_tokens, step.global_predictions) for step in steps}) == 1
    return sum((contents(step.micro_batches) for step in steps), Counter[bytes]())


@pytest.mark.parametrize("world_size", [2, 4, 16])
def test_every_step_is_the_same_at_every_world_size(stream: SampleStream, world_size: int) -> None:
    for first in (0, BATCH, 7 * BATCH + 5, len(stream) - 11, 3 * len(stream) + 1):
        alone = whole_step(stream, first, 1)
        assert whole_step(stream, first, world_size) == alone and sum(alone.values()) == len(alone) == BATCH


@pytest.mark.parametrize("consumed", [1, 17, 100, 20_003])
def test_a_run_resumes_at_any_position_with_any_number_of_ranks(
    tokens: Path, stream: SampleStream, consumed: int
) -> None:
    """Steps begin anywhere, and their samples are those that single positions name."""
    again = opened(tokens, WEIGHTED)
    singly = [again.samples_at(consumed + k, 1) for k in range(BATCH)]
    named = Counter((int(epoch[0]), int(index[0])) for epoch, index in singly)
    for world_size in (1, 4):
        batches = [rank_step(stream, consumed, world_size, rank).micro_batches for rank in range(world_size)]
        found = [
            pair
            for batch in itertools.chain(*batches)
            for pair in zip(batch.epochs.tolist(), batch.indices.tolist(), strict=True)
        ]
        assert Counter(found) == named


def test_an_epoch_has_the_shares_that_the_weights_say(stream: SampleStream) -> None:
    sizes, (names, owners, bounds) = stream.sources.sizes(), stream.sources
    owner = np.repeat(owners, np.diff(bounds))
    assert len(owner) == len(stream.index) and set(sizes) == {"medline", "pmc", "notes"}
    _, indices = stream.samples_at(0, len(stream))
    seen = dict(zip(names, np.bincount(owner[indices]).tolist(), strict=True))
    assert seen == {
        "medline": sizes["medline"],
        "pmc": 2 * sizes["pmc"],
        "notes": round(sizes["notes"] / 2),
    }
    assert count_seen(stream.epoch(), len(stream) + 5, seed=1) == {
        name: count + np.count_nonzero(owner[stream.samples_at(len(stream), 5)[1]] == names.index(name))
        for name, count in seen.items()
    }


def test_a_sample_seen_twice_in_an_epoch_has_other_masks(stream: SampleStream) -> None:
    cycles, indices = stream.samples_at(0, len(stream))
    twice = [index for index, times in Counter(indices.tolist()).items() if times == 2]
    assert len(twice) == stream.sources.sizes()["pmc"]
    assert set(cycles[np.isin(indices, twice)].tolist()) == {0, 1}
    first, second = (
        stream.micro_batches([np.full(20, cycle)], [np.array(twice[:20])])[0] for cycle in (0, 1)
    )
    assert np.array_equal(first.cu_seqlens, second.cu_seqlens)
    assert not np.array_equal(first.mlm_positions, second.mlm_positions)


def test_a_sample_belongs_to_the_source_of_its_first_segment(tokens: Path, stream: SampleStream) -> None:
    from datasets import load_from_disk

    ids = load_from_disk(str(tokens / "train"))
    lengths = [len(row["input_ids"]) for row in ids]
    document = np.searchsorted(np.cumsum(lengths), stream.index[:, 0] & np.uint64(2**40 - 1), "right")
    cycle = ("medline", "pmc", "medline", "notes")
    expected = [cycle[int(ids[int(k)]["id"].removeprefix("pmid:")) % 4] for k in document]
    names, owners, bounds = stream.sources
    assert [names[k] for k in np.repeat(owners, np.diff(bounds))] == expected
    assert len(read_runs(tokens / "train")) <= 6  # three sources in each of two shards


def test_without_weights_the_stream_is_what_it_was(tokens: Path) -> None:
    plain, ones = opened(tokens, PLAIN), opened(tokens, replace(PLAIN, sources={"pmc": 1.0}))
    assert plain.mixture is None is ones.mixture and plain.fingerprint == ones.fingerprint
    assert contents(rank_step(plain, 40, 2, 1).micro_batches) == contents(
        rank_step(ones, 40, 2, 1).micro_batches
    )
    assert len(plain) == len(plain.index)
    # What was seen is counted of them, too.
    names, owners, bounds = plain.sources
    owner = np.repeat(owners, np.diff(bounds))
    consumed = len(plain) + 123
    indices = np.concatenate([plain.samples_at(0, len(plain))[1], plain.samples_at(len(plain), 123)[1]])
    expected = dict(zip(names, np.bincount(owner[indices]).tolist(), strict=True))
    assert count_seen(plain.epoch(), consumed, seed=1) == expected


def test_weights_belong_to_the_stream_and_not_to_the_index(tokens: Path, stream: SampleStream) -> None:
    assert index_fingerprint(tokens, WEIGHTED, seed=1) == index_fingerprint(tokens, PLAIN, seed=1)
    others: list[dict[str, float]] = [{}, {"pmc": 2.0}, {"pmc": 2.0, "notes": 0.25}]
    for sources in others:
        other = stream_fingerprint(tokens, replace(PLAIN, sources=sources), seed=1)
        assert other != stream.fingerprint
    same = replace(PLAIN, sources={"notes": 0.5, "medline": 1.0, "pmc": 2.0})
    assert stream_fingerprint(tokens, same, seed=1) == stream.fingerprint


def test_held_out_samples_have_no_weights(tokens: Path) -> None:
    shares = [
        opened(tokens, config, split="validation").validation(20, micro_batch_size=4, world_size=1, rank=0)
        for config in (PLAIN, WEIGHTED)
    ]
    assert contents(shares[0]) == contents(shares[1])


def test_shards_that_do_not_know_their_sources_take_no_weights(tokens: Path) -> None:
    hidden = (tokens / "train" / SOURCES).rename(tokens / "train" / "hidden")
    try:
        assert opened(tokens, PLAIN).mixture is None
        with pytest.raises(UserError, match=r"do not hold their documents' sources.*tokens build --overw"):
            opened(tokens, WEIGHTED)
    finally:
        hidden.rename(tokens / "train" / SOURCES)
