"""Token shards: Arrow files that `datasets.load_from_disk` opens, and that the data stream reads without
copies.

One row is one document: its tokens end to end, and how many of them each of its sentences has. Every file
holds one record batch, so that its tokens are a single buffer.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
    return pa.schema(
        [("id", pa.string()), ("input_ids", pa.list_(ids)), ("sentence_lengths", pa.list_(pa.uint32()))]
    )


class Rows:
    """The documents of a shard while they are gathered, in flat arrays: two or four bytes a token.

    Args:
        table_schema: see `schema`.
    """

    def __init__(self, table_schema: pa.Schema) -> None:
        self.schema = table_schema
        self.ids: list[str] = []
        self.tokens = bytearray()
        self.token_offsets, self.sentence_offsets = array("q", [0]), array("q", [0])
        self.sentence_lengths = array("I")
        self.id_type = id_type(table_schema)

    def append(self, document_id: str, sentences: list[bytes]) -> None:
        """Add a document: the ids of its sentences, as bytes of `id_type`."""
        self.ids.append(document_id)
        for sentence in sentences:
            self.tokens += sentence
        size = self.id_type.itemsize
        self.sentence_lengths.extend([len(sentence) // size for sentence in sentences])
        self.token_offsets.append(len(self.tokens) // size)
        self.sentence_offsets.append(len(self.sentence_lengths))

    def extend(self, others: Rows) -> None:
        """Add the documents of other rows behind these."""
        tokens, sentences = self.token_offsets[-1], self.sentence_offsets[-1]
        self.ids += others.ids
        self.tokens += others.tokens
        self.sentence_lengths += others.sentence_lengths
        self.token_offsets.extend(tokens + offset for offset in others.token_offsets[1:])
        self.sentence_offsets.extend(sentences + offset for offset in others.sentence_offsets[1:])

    def write(self, path: Path) -> None:
        """Write the shard; the caller renames it.

        Raises:
            UserError: more than 2**31 - 1 tokens, which Arrow's lists cannot count.
        """
        if self.token_offsets[-1] >= 1 << 31:
            what = f"{self.token_offsets[-1]:,} tokens in one shard, more than an Arrow list can count"
            remedy = "build the corpus with smaller corpus.characters_per_shard"
            raise UserError(what, where=path, remedy=remedy)
        tokens = np.frombuffer(self.tokens, self.id_type)
        lengths = np.asarray(self.sentence_lengths, np.uint32)
        _, token_lists, length_lists = self.schema.types
        columns = [
            pa.array(self.ids, pa.string()),
            _lists(self.token_offsets, tokens, token_lists),
            _lists(self.sentence_offsets, lengths, length_lists),
        ]
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, self.schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=self.schema))


def _lists(offsets: array[int], values: np.ndarray, kind: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.asarray(offsets, np.int32)), pa.array(values), type=kind)


def id_type(table_schema: pa.Schema) -> np.dtype:
    """uint16 or uint32."""
    found: np.dtype = np.dtype(table_schema.field("input_ids").type.value_type.to_pandas_dtype())
    return found


def shard_name(index: int, count: int) -> str:
    """The file name that `datasets` gives to shard `index` of `count`."""
    return f"data-{index:05d}-of-{count:05d}.arrow"


def write_dataset_files(
    directory: Path, table_schema: pa.Schema, shards: int, fingerprint: str
) -> list[Path]:
    """Write the JSON files that make the shards a `datasets.DatasetDict` on disk; returns their paths."""
    from datasets import DatasetInfo, Features

    for split in SPLITS:
        (directory / split).mkdir(exist_ok=True)
        info = DatasetInfo(features=Features.from_arrow_schema(table_schema))
        info.write_to_directory(str(directory / split))
        state: dict[str, Any] = {
            "_data_files": [{"filename": shard_name(index, shards)} for index in range(shards)],
            "_fingerprint": fingerprint[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        write_json(directory / split / "state.json", state)
    write_json(directory / "dataset_dict.json", {"splits": list(SPLITS)})
    names = ("dataset_info.json", "state.json")
    written = [directory / split / name for split in SPLITS for name in names]
    return [directory / "dataset_dict.json", *written]


@dataclass(frozen=True)
class TokenShard:
    """One shard's columns, as views of the memory-mapped file.

    Attributes:
        tokens: (tokens,) uint16 or uint32, the shard's documents end to end.
        token_offsets: (documents + 1,) int32, where each document begins in `tokens`; the first is 0.
        sentence_lengths: (sentences,) uint32, tokens in each sentence, the documents one after another.
        sentence_offsets: (documents + 1,) int32, where each document begins in `sentence_lengths`; the first
            is 0.
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
        mapped = (shard for path in shard_paths(directory) for shard in _map_shard(path))
        shards = tuple(shard for shard in mapped if len(shard.token_offsets) > 1)
        tokens = [len(shard.tokens) for shard in shards]
        documents = [len(shard.token_offsets) - 1 for shard in shards]
        return cls(
            shards=shards,
            token_starts=np.cumsum([0, *tokens], dtype=np.int64),
            document_starts=np.cumsum([0, *documents], dtype=np.int64),
        )

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from address `start` on, as a view; all in one shard, as every document is."""
        shard = int(np.searchsorted(self.token_starts, start, side="right")) - 1
        offset = start - int(self.token_starts[shard])
        view = self.shards[shard].tokens[offset : offset + length]
        assert len(view) == length, f"tokens {start} to {start + length} are not in one shard"
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
        remedy = "run `biobert-scale tokens build` to its end"
        raise UserError("no token shards", where=directory, remedy=remedy)
    try:
        return [directory / entry["filename"] for entry in read_json(state)["_data_files"]]
    except (KeyError, TypeError):
        what = "not the description of a data set's files"
        raise UserError(what, where=state, remedy="build the tokens again") from None


def _map_shard(path: Path) -> list[TokenShard]:
    """One view for each record batch: one batch where this project wrote the file."""
    try:
        # An Arrow stream that is cut off between two messages reads like a shorter one: its end mark shows.
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - len(_END_OF_STREAM)))
            ended = stream.read() == _END_OF_STREAM
        if not ended:
            raise UserError("a token shard that is cut off or no Arrow stream", where=path, remedy=_REBUILD)
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_stream(source)
            if not _are_columns(reader.schema):
                what = "an Arrow file with other columns than a token shard's"
                raise UserError(what, where=path, remedy=_REBUILD)
            return [_view(batch) for batch in reader]
    except FileNotFoundError:
        raise UserError("a token shard is missing", where=path, remedy=_REBUILD) from None
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the operating system's, not Arrow's
            raise
        what = f"a damaged token shard ({str(error).splitlines()[0]})"
        raise UserError(what, where=path, remedy=_REBUILD) from None


def _view(batch: pa.RecordBatch) -> TokenShard:
    batch.validate()  # sizes only: reads no tokens
    return TokenShard(*_columns(batch.column("input_ids")), *_columns(batch.column("sentence_lengths")))


def _are_columns(columns: pa.Schema) -> bool:
    kinds = {field.name: field.type for field in columns}
    wide = pa.list_(pa.uint32())
    return kinds.get("input_ids") in (pa.list_(pa.uint16()), wide) and kinds.get("sentence_lengths") == wide


def _columns(column: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Values and offsets, from 0 on also where the array is a piece of a longer one."""
    if column.null_count:
        raise pa.ArrowInvalid("it holds rows without a value")
    offsets = column.offsets.to_numpy(zero_copy_only=True)
    values = column.values.to_numpy(zero_copy_only=True)[offsets[0] : offsets[-1]]
    return values, offsets - offsets[0] if offsets[0] else offsets


class TokenCounts(NamedTuple):
    documents: int
    sentences: int
    tokens: int


def token_counts(paths: Iterable[Path]) -> TokenCounts:
    """Documents, sentences and tokens in some shards.

    Raises:
        UserError: one of them is missing or damaged.
    """
    shards = [shard for path in paths for shard in _map_shard(path)]
    return TokenCounts(
        documents=sum(len(shard.token_offsets) - 1 for shard in shards),
        sentences=sum(len(shard.sentence_lengths) for shard in shards),
        tokens=sum(len(shard.tokens) for shard in shards),
    )
