"""The pairs themselves: what the index holds for given sentences."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from biobert_scale.config import DataConfig
from biobert_scale.data.packing import PairBuilder
from tests.factories import token_store


def documents(count: int, *, sentences: int, longest: int) -> list[list[int]]:
    """Documents of 1 to `sentences` sentences of 1 to `longest` tokens, by arithmetic alone."""
    return [
        [1 + (7919 * k + 104729 * j * j + 31 * k * j) % longest for j in range(1 + 613 * k % sentences)]
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("sentences", "longest", "config", "expected"),
    [
        pytest.param(14, 60, DataConfig(max_seq_length=512), "5974aafb7b4f2f15", id="abstracts"),
        pytest.param(14, 60, DataConfig(max_seq_length=128), "c317fc505dc0b68b", id="abstracts, 128"),
        pytest.param(200, 60, DataConfig(max_seq_length=512), "943f1d9864591ecd", id="full texts"),
        pytest.param(5, 60, DataConfig(max_seq_length=64), "140b0b39e05ecee5", id="few sentences"),
        pytest.param(6, 900, DataConfig(max_seq_length=64), "9e71f470d2ef45d8", id="sentences in pieces"),
        pytest.param(3, 9, DataConfig(max_seq_length=16), "8d53982c770bffe2", id="the smallest samples"),
        pytest.param(
            9,
            90,
            DataConfig(max_seq_length=128, short_sequence_probability=1.0),
            "79c980df5c6634bc",
            id="all are short",
        ),
        pytest.param(
            9,
            60,
            DataConfig(max_seq_length=128, random_next_probability=0.0),
            "15987eef75900517",
            id="none random",
        ),
        pytest.param(
            9,
            60,
            DataConfig(max_seq_length=128, random_next_probability=1.0),
            "53e4ffbccd87ad8d",
            id="all random",
        ),
    ],
)
def test_the_index_is_pinned(sentences: int, longest: int, config: DataConfig, expected: str) -> None:
    """A changed hash is another index: runs could not be resumed with it.

    The hashes were made at commit e5b75fd.
    """
    texts = documents(150, sentences=sentences, longest=longest)
    state = hashlib.sha256()
    for seed in (1, 2**40 + 17):
        for shards in (1, 4):
            store = token_store(texts, shards=shards)
            builder = PairBuilder(store, config, seed=seed)
            state.update(np.concatenate([builder.pack(shard) for shard in range(shards)]).tobytes())
    assert state.hexdigest()[:16] == expected
