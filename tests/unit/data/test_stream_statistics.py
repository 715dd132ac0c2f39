"""Statistics of 100,000 samples of real text against what they should be, each with the tolerance it is held
to."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from biobert_scale.config import CorpusConfig, DataConfig, TokensConfig, VocabularyConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.data.pairs import Pairs, unpack
from biobert_scale.data.samples import build_samples
from biobert_scale.data.stream import SampleStream
from biobert_scale.tokens.build import build_tokens
from biobert_scale.tokens.vocabulary import build_vocabulary

pytestmark = pytest.mark.slow

SAMPLES = 100_000
CONFIG = DataConfig()


@pytest.fixture(scope="module")
def stream(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SampleStream:
    directory = tmp_path_factory.mktemp("real")
    workers = os.cpu_count() or 1
    build_corpus(
        real_data, directory / "corpus", CorpusConfig(characters_per_shard=10_000_000), workers=workers
    )
    build_vocabulary(
        directory / "corpus",
        directory / "vocabulary",
        VocabularyConfig(),
        vocabulary=next(real_data.glob("bert/*/vocab.txt")),
    )
    build_tokens(
        directory / "corpus", directory / "vocabulary", directory / "tokens", TokensConfig(), workers=workers
    )
    build_samples(directory / "tokens", directory / "samples", CONFIG, seed=1)
    return SampleStream.open(directory / "tokens", directory / "samples", CONFIG, seed=1)


@pytest.fixture(scope="module")
def pairs(stream: SampleStream) -> Pairs:
    return unpack(stream.index)


def test_masks(stream: SampleStream) -> None:
    vocabulary = stream.vocabulary
    special = [vocabulary.cls, vocabulary.sep, vocabulary.mask, 0]
    kinds, tokens, predictions, unknown = np.zeros(3), 0, 0, 0
    for consumed in range(0, SAMPLES, 1000):
        step = stream.step(consumed, global_batch_size=1000, micro_batch_size=1000, world_size=1, rank=0)
        (batch,) = step.micro_batches
        assert not np.isin(batch.mlm_labels, special).any(), "a special token is predicted"
        assert not np.isin(batch.mlm_positions, [batch.cu_seqlens[:-1], batch.cu_seqlens[1:] - 1]).any()
        values = batch.input_ids[batch.mlm_positions]
        masks, same = (values == vocabulary.mask).sum(), (values == batch.mlm_labels).sum()
        kinds += [masks, len(values) - masks - same, same]
        tokens, predictions, unknown = (
            tokens + len(batch.input_ids),
            predictions + len(values),
            unknown + (batch.mlm_labels == vocabulary.unknown).sum(),
        )
    shares = kinds / kinds.sum()
    print(
        f"{tokens:,} tokens, {predictions / tokens:.5f} predicted; [MASK], other, same:"
        f" {shares.round(5).tolist()}; [UNK] predicted {unknown}"
    )
    assert abs(predictions / tokens - 0.15) < 0.0005  # rounding by length
    assert np.abs(shares - [0.8, 0.1, 0.1]).max() < 5 * np.sqrt(0.16 / predictions)
    assert unknown < 1e-5 * predictions  # only where a sample holds hardly anything else


def test_pairs(stream: SampleStream, pairs: Pairs) -> None:
    offsets = np.concatenate(
        [
            [0],
            *(
                shard.token_offsets[1:] + start
                for shard, start in zip(stream.store.shards, stream.store.token_starts[:-1], strict=True)
            ),
        ]
    )
    a_home, b_home = (
        np.searchsorted(offsets, start, side="right") for start in (pairs.a_start, pairs.b_start)
    )
    assert (a_home != b_home)[pairs.is_random].all(), "a random next segment of the same document"
    assert (a_home == b_home)[~pairs.is_random].all()
    balance, short, error = pairs.is_random.mean(), pairs.is_short.mean(), 1 / np.sqrt(len(pairs.is_random))
    accuracy = cross_val_score(
        DecisionTreeClassifier(min_samples_leaf=50, random_state=0),
        np.stack([pairs.a_length, pairs.b_length, pairs.lengths], 1),
        pairs.is_random,
        cv=5,
    ).mean()
    print(
        f"{len(stream):,} pairs, {balance:.4f} random, {short:.4f} short, label told by lengths"
        f" {accuracy:.3f}, mean length {pairs.lengths.mean():.1f}"
    )
    assert abs(balance - 0.5) < 5 * 0.5 * error
    assert abs(short - 0.1) < 5 * 0.3 * error
    assert accuracy < 0.53


def test_an_epoch_covers_every_token(stream: SampleStream, pairs: Pairs) -> None:
    """Tails included: samples follow each other without a gap from the first token to the last."""
    ends = np.where(pairs.is_random, pairs.a_start + pairs.a_length, pairs.b_start + pairs.b_length)
    assert (
        pairs.a_start[0] == 0
        and np.array_equal(pairs.a_start[1:], ends[:-1])
        and ends[-1] == stream.store.tokens
    )
    tails = (~pairs.is_random) & (pairs.lengths < CONFIG.max_seq_length // 2) & ~pairs.is_short
    print(
        f"{stream.store.tokens:,} tokens, all of them in a sample; {tails.mean():.3f} of the samples are"
        " short because their document ends"
    )


def test_an_epoch_takes_every_sample_once(stream: SampleStream) -> None:
    size = len(stream)
    seen = np.concatenate(
        [
            batch.indices
            for consumed in range(0, size, size // 7)
            for batch in stream.step(
                consumed,
                global_batch_size=min(size // 7, size - consumed),
                micro_batch_size=1,
                world_size=1,
                rank=0,
            ).micro_batches
        ]
    )
    assert np.array_equal(np.sort(seen), np.arange(size))
