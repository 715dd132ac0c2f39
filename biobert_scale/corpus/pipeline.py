"""The corpus stage's steps for datatrove: one task extracts one raw file, and one task writes one shard."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document as PipelineDocument
from datatrove.pipeline.base import PipelineStep
from numpy.typing import NDArray

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.clean import clean_text, count_words, reject_reason
from biobert_scale.corpus.decontaminate import Decontaminator, read_benchmark_documents
from biobert_scale.corpus.deduplicate import SHINGLE_WORDS, SIGNATURE_SIZE
from biobert_scale.corpus.extract import Extracted, extract
from biobert_scale.corpus.not_read import NotRead
from biobert_scale.corpus.raw import RawFile
from biobert_scale.corpus.resolve import CODES
from biobert_scale.corpus.shingles import minhash, ngram_hashes, word_hashes
from biobert_scale.errors import UserError
from biobert_scale.files import make_directory, sync, write_json

CORPUS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "text", "pmid", "pmcid", "license", "origin")]
)
"""The columns of the corpus' Parquet files."""

INDEX_COLUMNS = (
    "source",
    "pmid_number",
    "pmcid_number",
    "version",
    "revised",
    "digest",
    "code",
    "words",
    "characters",
)
EXTRACTED_SCHEMA = pa.schema(
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
_IDENTIFIER = re.compile(r"(?:PMC)?([0-9]{1,18})")


def run_steps(steps: list[PipelineStep], rank: int) -> None:
    """Run one task of a pipeline: each step takes the documents of the one before."""
    data: Any = None
    for step in steps:
        data = step(data, rank)
    deque(data, maxlen=0)


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """One raw file, and where in the work directory its records go.

    The name holds a hash of the file's content: a build that goes on with a file replaced extracts that one
    again.
    """

    file: RawFile
    name: str

    def extracted(self, work: Path) -> Path:
        return work / "extracted" / f"{self.name}.parquet"

    def signatures(self, work: Path) -> Path:
        """MinHash signatures of the records with code 0, in their order."""
        return work / "extracted" / f"{self.name}.minhash.npy"

    def notes(self, work: Path) -> Path:
        """Written last: `deleted` (PMIDs that the file withdraws), `benchmark` (documents recognised),
        `not_read` (what else a package holds), or `error`."""
        return work / "extracted" / f"{self.name}.json"

    def fates(self, work: Path) -> Path:
        """What the whole build decides of each record: (records,) uint8, indices into `REASONS`."""
        return work / "fates" / f"{self.name}.npy"


class ReadRawFile(PipelineStep):
    """Yields every record of the task's raw file."""

    name, type = "raw file", "reader"

    def __init__(self, task: FileTask, config: CorpusConfig, deleted: list[str], not_read: NotRead) -> None:
        """`deleted` receives the PMIDs that the file withdraws, `not_read` what else a package holds."""
        super().__init__()
        self.task, self.config, self.deleted, self.not_read = task, config, deleted, not_read

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        for record in extract(
            self.task.file,
            captions=self.config.captions,
            languages=self.config.languages,
            deleted=self.deleted,
            not_read=self.not_read,
        ):
            yield PipelineDocument(
                text=record.document.text, id=record.document.id, metadata={"record": record}
            )


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
            reason = (
                record.reason or reject_reason(replace(record.document, text=item.text), self.config) or ""
            )
            item.metadata = _row(record, item.text, reason)
            yield item


def _row(record: Extracted, text: str, reason: str) -> dict[str, Any]:
    document = record.document
    pmid, pmcid = identifier_number(document.pmid), identifier_number(document.pmcid)
    if not record.reason and not (pmid or (pmcid and document.source == "pmc")):
        reason = "no_identifier"
    return {
        **{name: getattr(document, name) for name in CORPUS_SCHEMA.names},
        "text": "" if reason else text,  # nobody reads a rejected text again
        "pmid_number": pmid,
        "pmcid_number": pmcid,
        "version": record.version,
        "revised": record.revised,
        "digest": hashlib.blake2b(text.encode(), digest_size=16).digest(),
        "code": CODES[reason],
        "words": count_words(text),
        "characters": len(text),
    }


def identifier_number(identifier: str) -> int:
    """The number of a PMID, or of a PMCID (`PMC123`); 0 for anything else."""
    found = _IDENTIFIER.fullmatch(identifier)
    return int(found[1]) if found else 0


class RecogniseBenchmarks(PipelineStep):
    """Rejects the documents of the benchmarks' test sets, and lists them."""

    name, type = "decontaminate", "filter"

    def __init__(self, decontaminator: Decontaminator, listed: list[dict[str, Any]]) -> None:
        """`listed` receives what was recognised."""
        super().__init__()
        self.decontaminator, self.listed = decontaminator, listed

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        for item in data:
            fields = item.metadata
            if not fields["code"] and (
                match := self.decontaminator.match(pmid=fields["pmid"], text=item.text)
            ):
                found = match.document
                self.listed.append(
                    {
                        "id": fields["id"],
                        "benchmark": found.benchmark,
                        "split": found.split,
                        "benchmark_pmid": found.pmid,
                        "by": match.by,
                        "share": round(match.share, 4),
                    }
                )
                fields["code"], fields["text"] = CODES["benchmark"], ""
            yield item


class SignDocuments(PipelineStep):
    """Computes the MinHash signature of every document that is not rejected yet."""

    name, type = "signatures", "stats"

    def __init__(self, signatures: list[NDArray[np.uint32]]) -> None:
        """`signatures` receives them."""
        super().__init__()
        self.signatures = signatures

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        for item in data:
            if not item.metadata["code"]:
                self.signatures.append(
                    minhash(ngram_hashes(word_hashes(item.text), SHINGLE_WORDS), SIGNATURE_SIZE)
                )
            yield item


class WriteExtracted(PipelineStep):
    """Writes the task's records to one Parquet file of the work directory."""

    name, type = "extracted records", "writer"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        yield from _write(data, self.path, EXTRACTED_SCHEMA)


def extract_file(
    tasks: list[FileTask], work: Path, config: CorpusConfig, benchmarks: Path | None, rank: int
) -> None:
    """The first phase for one raw file. What is wrong with a file is noted, so that the other files go on.

    Args:
        benchmarks: a directory of prepared benchmarks, or None.
    """
    task = tasks[rank]
    if task.notes(work).exists():
        return
    deleted: list[str] = []
    listed: list[dict[str, Any]] = []
    signatures: list[NDArray[np.uint32]] = []
    not_read: NotRead = {}
    steps = [ReadRawFile(task, config, deleted, not_read), CleanDocuments(config)]
    if benchmarks is not None:
        documents = read_benchmark_documents(benchmarks, config.benchmark_splits)
        steps.append(
            RecogniseBenchmarks(Decontaminator(documents, minimum_share=config.benchmark_overlap), listed)
        )
    if config.near_duplicate_similarity <= 1:
        steps.append(SignDocuments(signatures))
    try:
        run_steps([*steps, WriteExtracted(task.extracted(work))], rank)
    except UserError as error:
        if error.exit_code != UserError.exit_code:
            raise
        write_json(
            task.notes(work), {"error": {"what": error.what, "where": error.where, "remedy": error.remedy}}
        )
        return
    with staged(task.signatures(work)) as path, open(path, "wb") as stream:
        np.save(stream, np.array(signatures, dtype=np.uint32).reshape(-1, SIGNATURE_SIZE))
    withdrawn = sorted({number for pmid in deleted if (number := identifier_number(pmid))})
    write_json(task.notes(work), {"deleted": withdrawn, "benchmark": listed, "not_read": not_read})


class ReadKept(PipelineStep):
    """Yields the kept documents of the task's shard."""

    name, type = "kept documents", "reader"

    def __init__(self, tasks: list[FileTask], work: Path, kept_before: list[int], shards: list[int]) -> None:
        """`kept_before`: kept documents before each file, and at last in all; `shards`: before each shard,
        likewise."""
        super().__init__()
        self.tasks, self.work, self.kept_before, self.shards = tasks, work, kept_before, shards

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        start, stop = self.shards[rank : rank + 2]
        for task, (before, after) in zip(self.tasks, itertools.pairwise(self.kept_before), strict=True):
            if before < stop and after > start:
                yield from self._read(task, max(start - before, 0), min(stop, after) - before)

    def _read(self, task: FileTask, start: int, stop: int) -> Iterator[PipelineDocument]:
        """The kept documents `start` to `stop` of one file."""
        rows = np.flatnonzero(np.load(task.fates(self.work)) == 0)[start:stop]
        with pq.ParquetFile(task.extracted(self.work)) as extracted:
            ends = np.cumsum(
                [extracted.metadata.row_group(group).num_rows for group in range(extracted.num_row_groups)]
            )
            # Only the row groups that hold some of them: a package of many shards is not read anew for each.
            for group in np.unique(np.searchsorted(ends, rows, "right")).tolist():
                first = int(ends[group - 1]) if group else 0
                inside = rows[(rows >= first) & (rows < ends[group])] - first
                for fields in (
                    extracted.read_row_group(group, columns=CORPUS_SCHEMA.names)
                    .take(pa.array(inside))
                    .to_pylist()
                ):
                    yield PipelineDocument(text=fields["text"], id=fields["id"], metadata=fields)


class WriteShard(PipelineStep):
    """Writes the task's documents to `part-NNNNN.parquet`."""

    name, type = "shard", "writer"

    def __init__(self, output: Path) -> None:
        super().__init__()
        self.output = output

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[PipelineDocument]:
        yield from _write(data, self.output / f"part-{rank:05d}.parquet", CORPUS_SCHEMA)


def _write(data: Iterator[PipelineDocument], path: Path, schema: pa.Schema) -> Iterator[PipelineDocument]:
    with staged(path) as staging, pq.ParquetWriter(staging, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(data, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist([item.metadata for item in batch], schema=schema))
            yield from batch


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A path beside `path` that takes its name once the block has ended well."""
    make_directory(path.parent)
    staging = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield staging
        sync(staging)
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync(path.parent)  # before the engine notes that the task is done
