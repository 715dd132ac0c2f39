from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from biobert_scale.config import DataConfig
from biobert_scale.data.packing import PairBuilder
from biobert_scale.data.pairs import (
    MAX_CORPUS_TOKENS,
    MAX_SAMPLE_TOKENS,
    Pair,
    Pairs,
    pack_row,
    unpack,
    unpack_row,
)
from biobert_scale.data.samples import build_samples, open_index
from biobert_scale.errors import UserError
from tests.factories import token_store, write_tokens


def pack(documents: list[list[int]], config: DataConfig, *, seed: int = 1, shards: int = 1) -> Pairs:
    store = token_store(documents, shards=shards)
    builder = PairBuilder(store, config, seed=seed)
    return unpack(np.concatenate([builder.pack(shard) for shard in range(len(store.shards))]))


def made_up(count: int, *, sentences: tuple[int, int], seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [
        np.maximum(3, generator.lognormal(3.1, 0.5, generator.integers(*sentences))).astype(int).tolist()
        for _ in range(count)
    ]


def homes(documents: list[list[int]], addresses: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.cumsum([0, *map(sum, documents)]), addresses, side="right") - 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=12), min_size=2, max_size=25),
    st.integers(0, 1000),
    st.integers(1, 4),
)
def test_every_token_is_in_a_sample_and_none_overflows(
    documents: list[list[int]], seed: int, shards: int
) -> None:
    pairs = pack(documents, DataConfig(max_seq_length=64), seed=seed, shards=min(shards, len(documents)))
    a_end, b_end = pairs.a_start + pairs.a_length, pairs.b_start + pairs.b_length
    assert (pairs.a_length > 0).all() and (pairs.b_length > 0).all() and (pairs.lengths <= 64).all()
    a_home, b_home = homes(documents, pairs.a_start), homes(documents, pairs.b_start)
    assert np.array_equal(a_home, homes(documents, a_end - 1)) and np.array_equal(
        b_home, homes(documents, b_end - 1)
    ), "a segment crosses documents"
    assert (a_home != b_home)[pairs.is_random].all(), "a random next sentence of the same document"
    assert np.array_equal(pairs.b_start[~pairs.is_random], a_end[~pairs.is_random]), "B does not follow A"
    ends = np.where(pairs.is_random, a_end, b_end)
    assert np.array_equal(pairs.a_start, [0, *ends[:-1]]) and ends[-1] == sum(map(sum, documents)), (
        "tokens lost or repeated"
    )


def test_segments_are_made_of_whole_sentences() -> None:
    documents = made_up(300, sentences=(2, 30))
    documents = [[min(length, 60) for length in document] for document in documents]
    pairs = pack(documents, DataConfig(max_seq_length=128))
    bounds = set(np.cumsum([0, *(length for document in documents for length in document)]).tolist())
    for start, length in ((pairs.a_start, pairs.a_length), (pairs.b_start, pairs.b_length)):
        assert set(start.tolist()) <= bounds
        whole = [end in bounds for end in (start + length).tolist()]
        assert np.mean(whole) > 0.99, "only a random B that nothing else fits is cut"


@pytest.mark.parametrize(
    ("length", "sentences"), [(128, (6, 14)), (512, (6, 14)), (512, (100, 300)), (64, (2, 6))]
)
def test_half_of_the_pairs_are_random_and_a_tenth_is_short(length: int, sentences: tuple[int, int]) -> None:
    documents = made_up(40_000 // sentences[1], sentences=sentences)
    counts = np.zeros(3)
    for seed in range(12):
        pairs = pack(documents, DataConfig(max_seq_length=length), seed=seed)
        counts += [len(pairs.is_random), pairs.is_random.sum(), pairs.is_short.sum()]
    total = counts[0]
    assert abs(counts[1] / total - 0.5) < 5 * 0.5 / np.sqrt(total)
    assert abs(counts[2] / total - 0.1) < 5 * 0.3 / np.sqrt(total)


@pytest.mark.parametrize("wanted", [0.5, 0.7, 1.0])
def test_the_share_of_random_pairs_is_the_one_asked_for(wanted: float) -> None:
    documents = made_up(4000, sentences=(2, 9))
    pairs = pack(documents, DataConfig(max_seq_length=128, random_next_probability=wanted))
    assert abs(pairs.is_random.mean() - wanted) < 5 * 0.5 / np.sqrt(len(pairs.is_random))


@pytest.mark.parametrize(
    ("length", "sentences", "bound"), [(128, (6, 14), 0.57), (512, (6, 14), 0.57), (512, (100, 300), 0.55)]
)
def test_lengths_do_not_tell_the_label(length: int, sentences: tuple[int, int], bound: float) -> None:
    """A label that a tree can read from the segments' lengths teaches nothing of language. Guessing is right
    half the time."""
    documents = made_up(240_000 // sentences[1], sentences=sentences)
    pairs = pack(documents, DataConfig(max_seq_length=length))
    seen = np.stack([pairs.a_length, pairs.b_length, pairs.lengths], 1)
    accuracy = cross_val_score(
        DecisionTreeClassifier(min_samples_leaf=50, random_state=0), seen, pairs.is_random, cv=5
    ).mean()
    assert accuracy < bound


def test_a_random_b_does_not_begin_with_a_title() -> None:
    documents = made_up(500, sentences=(2, 12))
    pairs = pack(documents, DataConfig(max_seq_length=128))
    titles = set(np.cumsum([0, *map(sum, documents)]).tolist())
    assert not titles & set(pairs.b_start.tolist())


def test_other_documents_are_drawn_evenly() -> None:
    documents = made_up(50, sentences=(40, 41))
    drawn = np.zeros(50)
    for seed in range(40):
        pairs = pack(documents, DataConfig(max_seq_length=128), seed=seed, shards=3)
        drawn += np.bincount(homes(documents, pairs.b_start[pairs.is_random]), minlength=50)
    expected = drawn.mean()
    assert ((drawn - expected) ** 2 / expected).sum() < 49 + 5 * np.sqrt(2 * 49)


def test_pairs_depend_on_the_seed_and_not_on_the_shards() -> None:
    documents = made_up(60, sentences=(2, 20))
    config = DataConfig(max_seq_length=128)
    one, three, other = (
        pack(documents, config),
        pack(documents, config, shards=3),
        pack(documents, config, seed=2),
    )
    assert all(np.array_equal(getattr(one, name), getattr(three, name)) for name in one.__annotations__)
    assert not np.array_equal(one.b_start, other.b_start)


@settings(deadline=None)  # the first call compiles
@given(
    st.integers(0, MAX_CORPUS_TOKENS - 1),
    st.integers(0, MAX_SAMPLE_TOKENS),
    st.integers(0, MAX_CORPUS_TOKENS - 1),
    st.integers(0, MAX_SAMPLE_TOKENS),
    st.booleans(),
    st.booleans(),
)
def test_a_row_holds_what_was_packed(
    a: int, a_length: int, b: int, b_length: int, is_random: bool, is_short: bool
) -> None:
    rows = np.zeros((1, 2), np.uint64)
    pair = Pair(a, a_length, b, b_length, is_random, is_short)
    pack_row(rows, 0, pair)
    assert unpack_row(rows, 0) == pair
    found = unpack(rows)
    assert [
        column[0]
        for column in (
            found.a_start,
            found.a_length,
            found.b_start,
            found.b_length,
            found.is_random,
            found.is_short,
        )
    ] == [a, a_length, b, b_length, is_random, is_short]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"))


def test_the_index_does_not_depend_on_the_threads_and_is_built_once(tokens: Path, tmp_path: Path) -> None:
    config = DataConfig(max_seq_length=64)
    one = build_samples(tokens, tmp_path / "one", config, seed=1, workers=1)
    four = build_samples(tokens, tmp_path / "four", config, seed=1, workers=4)
    assert one == four and one.counts["train"]["samples"] == len(open_index(tmp_path / "one", "train"))
    before = (tmp_path / "one" / "train.index").stat().st_mtime_ns
    build_samples(tokens, tmp_path / "one", config, seed=1)
    assert (tmp_path / "one" / "train.index").stat().st_mtime_ns == before


@pytest.mark.fault("samples of another corpus", "refused with both fingerprints")
def test_another_corpus_is_refused_with_both_fingerprints(tokens: Path, tmp_path: Path) -> None:
    first = build_samples(tokens, tmp_path / "samples", DataConfig(max_seq_length=64), seed=1)
    with pytest.raises(UserError) as caught:
        build_samples(tokens, tmp_path / "samples", DataConfig(max_seq_length=64), seed=2)
    second = build_samples(tokens, tmp_path / "other", DataConfig(max_seq_length=64), seed=2)
    assert first.key[:16] in str(caught.value) and second.key[:16] in str(caught.value)


@pytest.mark.fault("the index of the samples cut off", "refused")
def test_a_cut_off_index_is_told(tokens: Path, tmp_path: Path) -> None:
    build_samples(tokens, tmp_path / "samples", DataConfig(max_seq_length=64), seed=1)
    path = tmp_path / "samples" / "train.index"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"train\.index"):
        open_index(tmp_path / "samples", "train")
