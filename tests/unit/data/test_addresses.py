from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from biobert_scale.compiled import njit
from biobert_scale.data.addresses import StoreTables, last_not_above, store_tables, view
from biobert_scale.tokens.shards import TokenStore
from tests.factories import token_store

DOCUMENTS = [[3, 4], [5], [1, 1, 1], [2, 9]]


@njit()
def gather(store: StoreTables, addresses: np.ndarray, tokens: np.ndarray) -> None:
    for k in range(len(addresses)):
        shard = store.shards[last_not_above(store.shards["token_start"], addresses[k])]
        offset = addresses[k] - shard.token_start
        tokens[k] = view(shard.tokens, offset + 1, store.token_type)[offset]


@njit()
def sentences(store: StoreTables, shard: int) -> np.ndarray:
    held = store.shards[shard]
    count = store.shards[shard + 1].document_start - held.document_start
    offsets = view(held.sentence_offsets, count + 1, np.int32)
    return view(held.sentence_lengths, offsets[count], np.uint32).copy()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_compiled_code_reads_what_the_store_holds(dtype: type) -> None:
    store = token_store(DOCUMENTS, shards=3)
    shards = tuple(
        replace(shard, tokens=(shard.tokens + 7 * k).astype(dtype)) for k, shard in enumerate(store.shards)
    )
    store = TokenStore(shards, store.token_starts, store.document_starts)
    tables, found = store_tables(store), np.empty(store.tokens, np.int64)
    gather(tables, np.arange(store.tokens), found)
    assert found.tolist() == [int(store.read(address, 1)[0]) for address in range(store.tokens)]
    for k, shard in enumerate(shards):
        assert sentences(tables, k).tolist() == shard.sentence_lengths.tolist()


@pytest.mark.parametrize("name", ["tokens", "token_offsets", "sentence_lengths", "sentence_offsets"])
def test_an_array_of_another_type_is_not_read(name: str) -> None:
    """Compiled code would read beyond its end, or numbers that are none of it."""
    store = token_store(DOCUMENTS, shards=2)
    odd = replace(store.shards[1], **{name: getattr(store.shards[1], name).astype(np.int64)})
    with pytest.raises(AssertionError, match=name):
        store_tables(TokenStore((store.shards[0], odd), store.token_starts, store.document_starts))
