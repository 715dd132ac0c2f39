"""Token shards: Arrow files that `datasets.load_from_disk` opens, and that the data stream reads without copies.

One row is one document: its tokens end to end, and how many of them each of its sentences has. Every file holds one
record batch, so that its tokens are a single buffer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from biobert_scale.errors import UserError
from biobert_scale.files import write_json

SPLITS = ("train", "validation")


def schema(vocabulary_size: int) -> pa.Schema:
    """The columns: ids take 16 bits where the vocabulary allows it, else 32."""
    ids = pa.uint16() if vocabulary_size <= 1 << 16 else pa.uint32()
    return pa.schema([("id", pa.string()), ("input_ids", pa.list_(ids)), ("sentence_lengths", pa.list_(pa.uint32()))])


def write_shard(path: Path, table_schema: pa.Schema, ids: list[str], tokens: list[np.ndarray], sentence_lengths: list[np.ndarray]) -> None:
    """Write one shard atomically.

    Args:
        ids, tokens, sentence_lengths: one entry a document; a document's sentence lengths sum to its tokens.
    """
    columns = [pa.array(ids, pa.string()), _list_array(tokens, table_schema.field("input_ids").type), _list_array(sentence_lengths, table_schema.field("sentence_lengths").type)]
    staging = path.with_name(path.name + ".part")
    with open(staging, "wb") as sink:
        with pa.ipc.new_stream(sink, table_schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=table_schema))
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(staging, path)


def _list_array(rows: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    values = np.concatenate(rows) if rows else np.empty(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.astype(kind.value_type.to_pandas_dtype()), kind.value_type))


def shard_name(index: int, count: int) -> str:
    """The file name that `datasets` gives to shard `index` of `count`."""
    return f"data-{index:05d}-of-{count:05d}.arrow"


def write_dataset_files(directory: Path, table_schema: pa.Schema, shards: int, fingerprint: str) -> None:
    """Write the small JSON files that make the shards a `datasets.DatasetDict` on disk."""
    from datasets import DatasetInfo, Features

    for split in SPLITS:
        DatasetInfo(features=Features.from_arrow_schema(table_schema)).write_to_directory(str(directory / split))
        write_json(
            directory / split / "state.json",
            {
                "_data_files": [{"filename": shard_name(index, shards)} for index in range(shards)],
                "_fingerprint": fingerprint[:16],
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": split,
            },
        )
    write_json(directory / "dataset_dict.json", {"splits": list(SPLITS)})


@dataclass(frozen=True)
class TokenStore:
    """A split, memory-mapped: tokens by address, addresses running through all documents end to end.

    Attributes:
        buffers: each shard's tokens, (tokens,) uint16 or uint32.
        starts: (shards + 1,) the address at which each shard begins.
        sentence_lengths: (sentences,) uint32, all documents one after another.
        sentence_offsets: (documents + 1,) int64, where each document's sentences begin.
    """

    buffers: tuple[np.ndarray, ...]
    starts: np.ndarray
    sentence_lengths: np.ndarray
    sentence_offsets: np.ndarray

    @classmethod
    def open(cls, directory: Path) -> TokenStore:
        """Open one split's directory.

        Raises:
            UserError: it holds no token shards.
        """
        state = directory / "state.json"
        if not state.is_file():
            raise UserError("no token shards", where=directory, remedy="run `biobert-scale tokens build` to its end")
        buffers, lengths, counts = [], [], []
        for entry in json.loads(state.read_text())["_data_files"]:
            with pa.memory_map(str(directory / entry["filename"])) as source:
                for batch in pa.ipc.open_stream(source):
                    buffers.append(_flat(batch.column("input_ids")))
                    lengths.append(_flat(batch.column("sentence_lengths")))
                    counts.append(np.diff(batch.column("sentence_lengths").offsets.to_numpy()))
        return cls(
            buffers=tuple(buffers),
            starts=np.cumsum([0, *(len(buffer) for buffer in buffers)]),
            sentence_lengths=np.concatenate(lengths),
            sentence_offsets=np.cumsum(np.concatenate([[0], *counts]), dtype=np.int64),
        )

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from address `start` on, as a view; the stretch lies within one document."""
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        offset = start - int(self.starts[shard])
        return self.buffers[shard][offset : offset + length]

    @property
    def documents(self) -> int:
        return len(self.sentence_offsets) - 1

    @property
    def tokens(self) -> int:
        return int(self.starts[-1])


def _flat(column: pa.ListArray) -> np.ndarray:
    return column.values.to_numpy(zero_copy_only=True)


def token_counts(paths: Iterable[Path]) -> tuple[int, int, int]:
    """Documents, sentences and tokens in some shards."""
    documents = sentences = tokens = 0
    for path in paths:
        with pa.memory_map(str(path)) as source:
            for batch in pa.ipc.open_stream(source):
                documents += batch.num_rows
                sentences += len(batch.column("sentence_lengths").values)
                tokens += len(batch.column("input_ids").values)
    return documents, sentences, tokens
