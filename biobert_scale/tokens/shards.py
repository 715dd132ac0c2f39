"""Token shards: Arrow files that `datasets.load_from_disk` opens, and that the data stream reads without copies.

One row is one document: its tokens end to end, and how many of them each of its sentences has. Every file holds one
record batch, so that its tokens are a single buffer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from biobert_scale.errors import UserError
from biobert_scale.files import read_json, write_json

SPLITS = ("train", "validation")
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_REBUILD = "restore the file, or build the tokens again with --overwrite"


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
class TokenShard:
    """One shard's columns, as views of the memory-mapped file.

    Attributes:
        tokens: (tokens,) uint16 or uint32, the shard's documents end to end.
        token_offsets: (documents + 1,) int32, where each document begins in `tokens`; the first is 0.
        sentence_lengths: (sentences,) uint32, tokens in each sentence, the documents one after another.
        sentence_offsets: (documents + 1,) int32, where each document begins in `sentence_lengths`; the first is 0.
    """

    tokens: np.ndarray
    token_offsets: np.ndarray
    sentence_lengths: np.ndarray
    sentence_offsets: np.ndarray


@dataclass(frozen=True)
class TokenStore:
    """A split, memory-mapped: tokens by address, addresses running through all documents end to end.

    Opening reads the files' headers only, and the operating system shares the pages among processes.

    Attributes:
        shards: the shards that hold documents, in order.
        token_starts: (shards + 1,) int64, the address at which each shard's tokens begin; at last all tokens.
        document_starts: (shards + 1,) int64, the documents before each shard; at last all documents.
    """

    shards: tuple[TokenShard, ...]
    token_starts: np.ndarray
    document_starts: np.ndarray

    @classmethod
    def open(cls, directory: Path) -> TokenStore:
        """Open one split's directory.

        Raises:
            UserError: it holds no token shards, or one of them is missing, cut off, or not such a file.
        """
        shards = [shard for path in shard_paths(directory) for shard in _map_shard(path) if len(shard.token_offsets) > 1]
        return cls(
            shards=tuple(shards),
            token_starts=np.cumsum([0, *(len(shard.tokens) for shard in shards)], dtype=np.int64),
            document_starts=np.cumsum([0, *(len(shard.token_offsets) - 1 for shard in shards)], dtype=np.int64),
        )

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from address `start` on, as a view; the stretch lies within one shard, as every document does."""
        shard = int(np.searchsorted(self.token_starts, start, side="right")) - 1
        offset = start - int(self.token_starts[shard])
        view = self.shards[shard].tokens[offset : offset + length]
        assert len(view) == length, f"tokens {start} to {start + length} do not stand in one shard"
        return view

    @property
    def documents(self) -> int:
        return int(self.document_starts[-1])

    @property
    def sentences(self) -> int:
        return sum(len(shard.sentence_lengths) for shard in self.shards)

    @property
    def tokens(self) -> int:
        return int(self.token_starts[-1])


def shard_paths(directory: Path) -> list[Path]:
    """The Arrow files of one split, in order.

    Raises:
        UserError: the directory holds no token shards.
    """
    state = directory / "state.json"
    if not state.is_file():
        raise UserError("no token shards", where=directory, remedy="run `biobert-scale tokens build` to its end")
    try:
        return [directory / entry["filename"] for entry in read_json(state)["_data_files"]]
    except (KeyError, TypeError):
        raise UserError("not the description of a data set's files", where=state, remedy="build the tokens again") from None


def _map_shard(path: Path) -> list[TokenShard]:
    """One view for each record batch: one batch where this project wrote the file."""
    try:
        # An Arrow stream that is cut off between two messages reads like a shorter one: its end mark tells.
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - len(_END_OF_STREAM)))
            ended = stream.read() == _END_OF_STREAM
        if not ended:
            raise UserError("a token shard that is cut off or no Arrow stream", where=path, remedy=_REBUILD)
        with pa.memory_map(str(path)) as source:
            return [_view(batch, path) for batch in pa.ipc.open_stream(source)]
    except FileNotFoundError:
        raise UserError("a token shard is missing", where=path, remedy=_REBUILD) from None
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the operating system's, not Arrow's
            raise
        raise UserError(f"a damaged token shard ({str(error).splitlines()[0]})", where=path, remedy=_REBUILD) from None


def _view(batch: pa.RecordBatch, path: Path) -> TokenShard:
    kinds = {field.name: field.type for field in batch.schema}
    ids = kinds.get("input_ids")
    if ids not in (pa.list_(pa.uint16()), pa.list_(pa.uint32())) or kinds.get("sentence_lengths") != pa.list_(pa.uint32()):
        raise UserError("an Arrow file with other columns than a token shard's", where=path, remedy=_REBUILD)
    batch.validate()  # sizes only: reads no tokens
    return TokenShard(*_columns(batch.column("input_ids")), *_columns(batch.column("sentence_lengths")))


def _columns(column: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Values and offsets, from 0 on also where the array is a piece of a longer one."""
    if column.null_count:
        raise pa.ArrowInvalid("it holds rows without a value")
    offsets = column.offsets.to_numpy(zero_copy_only=True)
    values = column.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
    return values, offsets - offsets[0] if offsets[0] else offsets


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
