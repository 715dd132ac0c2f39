"""The corpus stage's steps for datatrove: one task extracts one raw file, and one task writes one shard."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document as PipelineDocument
from datatrove.pipeline.base import PipelineStep

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.clean import clean_text, reject_reason
from biobert_scale.corpus.extract import Extracted, extract
from biobert_scale.corpus.raw import RawFile
from biobert_scale.corpus.resolve import CODES
from biobert_scale.files import fsync_directory, write_json

CORPUS_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "source", "text", "pmid", "pmcid", "license", "origin")])
"""The columns of the corpus' Parquet files."""

INDEX_COLUMNS = ("source", "pmid_number", "pmcid_number", "version", "revised", "digest", "code", "words", "characters")
_EXTRACTED_SCHEMA = pa.schema(
    [
        *CORPUS_SCHEMA,
        ("pmid_number", pa.int64()),
        ("pmcid_number", pa.int64()),
        ("version", pa.int64()),
        ("revised", pa.int64()),
        ("digest", pa.binary(16)),
        ("code", pa.uint8()),
        ("words", pa.int64()),
        ("characters", pa.int64()),
    ]
)
_ROWS_PER_GROUP = 2000


def run_steps(steps: list[PipelineStep], rank: int) -> None:
    """Run one task of a pipeline: each step takes the documents of the one before."""
    data: Any = None
    for step in steps:
        data = step(data, rank)
    deque(data, maxlen=0)


def extracted_path(work: Path, file_index: int) -> Path:
    return work / "extracted" / f"{file_index:05d}.parquet"


def deletions_path(work: Path, file_index: int) -> Path:
    return work / "extracted" / f"{file_index:05d}.deleted.json"


def kept_path(work: Path, file_index: int) -> Path:
    return work / "kept" / f"{file_index:05d}.npy"


class ReadRawFile(PipelineStep):
    """Yields every record of the task's raw file; the PMIDs that the file withdraws go to a file of their own."""

    name, type = "raw file", "reader"

    def __init__(self, files: list[RawFile], work: Path, config: CorpusConfig) -> None:
        super().__init__()
        self.files, self.work, self.config = files, work, config

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        deleted: list[str] = []
        for record in extract(self.files[rank], captions=self.config.captions, deleted=deleted):
            yield PipelineDocument(text=record.document.text, id=record.document.id, metadata={"record": record})
        write_json(deletions_path(self.work, rank), deleted)


class CleanDocuments(PipelineStep):
    """Cleans each text and notes the reason for which the document alone would be rejected."""

    name, type = "clean", "filter"

    def __init__(self, config: CorpusConfig) -> None:
        super().__init__()
        self.config = config

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        for item in data:
            record: Extracted = item.metadata["record"]
            item.text = clean_text(item.text)
            reason = record.reason or reject_reason(replace(record.document, text=item.text), self.config) or ""
            item.metadata = _row(record, item.text, reason)
            yield item


def _row(record: Extracted, text: str, reason: str) -> dict[str, Any]:
    document = record.document
    return {
        **{name: getattr(document, name) for name in CORPUS_SCHEMA.names},
        "text": "" if reason else text,  # nobody reads a rejected text again
        "pmid_number": _number(document.pmid),
        "pmcid_number": _number(document.pmcid),
        "version": record.version,
        "revised": record.revised,
        "digest": hashlib.blake2b(text.encode(), digest_size=16).digest(),
        "code": CODES[reason],
        "words": len(text.split()),
        "characters": len(text),
    }


def _number(identifier: str) -> int:
    digits = re.sub(r"\D", "", identifier)
    return int(digits) if 0 < len(digits) <= 18 else 0


class WriteExtracted(PipelineStep):
    """Writes the task's records to one Parquet file of the work directory."""

    name, type = "extracted records", "writer"

    def __init__(self, work: Path) -> None:
        super().__init__()
        self.work = work

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        yield from _write(data, extracted_path(self.work, rank), _EXTRACTED_SCHEMA)


class ReadKept(PipelineStep):
    """Yields the kept documents of the task's shard: those from `rank * documents_per_shard` on, over all files."""

    name, type = "kept documents", "reader"

    def __init__(self, work: Path, kept_before: list[int], documents_per_shard: int) -> None:
        """`kept_before`: kept documents in all files before each file, and at last in all."""
        super().__init__()
        self.work, self.kept_before, self.documents_per_shard = work, kept_before, documents_per_shard

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        start, stop = rank * self.documents_per_shard, (rank + 1) * self.documents_per_shard
        for file_index, (before, after) in enumerate(itertools.pairwise(self.kept_before)):
            if before < stop and after > start:
                yield from self._read(file_index, max(start - before, 0), min(stop, after) - before)

    def _read(self, file_index: int, start: int, stop: int) -> Iterator[PipelineDocument]:
        """The kept documents `start` to `stop` of one file."""
        kept, seen, row = np.load(kept_path(self.work, file_index)), 0, 0
        with pq.ParquetFile(extracted_path(self.work, file_index)) as extracted:
            for batch in extracted.iter_batches(_ROWS_PER_GROUP, columns=CORPUS_SCHEMA.names):
                chosen = np.flatnonzero(kept[row : row + len(batch)])
                rows = chosen[max(start - seen, 0) : max(stop - seen, 0)]
                seen, row = seen + len(chosen), row + len(batch)
                for fields in batch.take(pa.array(rows)).to_pylist():
                    yield PipelineDocument(text=fields["text"], id=fields["id"], metadata=fields)
                if seen >= stop:
                    return


class WriteShard(PipelineStep):
    """Writes the task's documents to `part-NNNNN.parquet`."""

    name, type = "shard", "writer"

    def __init__(self, output: Path) -> None:
        super().__init__()
        self.output = output

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        yield from _write(data, self.output / f"part-{rank:05d}.parquet", CORPUS_SCHEMA)


def _write(data: Iterator[PipelineDocument], path: Path, schema: pa.Schema) -> Iterator[PipelineDocument]:
    with _staged(path) as staging, pq.ParquetWriter(staging, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(data, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist([item.metadata for item in batch], schema=schema))
            yield from batch


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A path beside `path` that takes its name once the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield staging
        with open(staging, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)
