"""The tasks of the corpus stage: one extracts a raw file, one writes a shard. Both are generators in a row,
from records to a Parquet file."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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

_INDEX = [
    ("pmid_number", pa.int64()),
    ("pmcid_number", pa.int64()),
    ("version", pa.int64()),
    ("revised", pa.int64()),
    ("digest", pa.binary(16)),
    ("code", pa.uint8()),
    ("words", pa.int64()),
    ("characters", pa.int64()),
]
INDEX_COLUMNS = ("source", *(name for name, _ in _INDEX))
EXTRACTED_SCHEMA = pa.schema([*CORPUS_SCHEMA, *_INDEX])
Row = dict[str, Any]
"""A record's columns, of one of the two schemas."""
_ROWS_PER_GROUP = 2000
_IDENTIFIER = re.compile(r"(?:PMC)?([0-9]{1,18})")


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
    records = extract(
        task.file, captions=config.captions, languages=config.languages, deleted=deleted, not_read=not_read
    )
    rows = _clean(records, config)
    if benchmarks is not None:
        documents = read_benchmark_documents(benchmarks, config.benchmark_splits)
        decontaminator = Decontaminator(documents, minimum_share=config.benchmark_overlap)
        rows = _recognise_benchmarks(rows, decontaminator, listed)
    if config.near_duplicate_similarity <= 1:
        rows = _sign(rows, signatures)
    try:
        _write(rows, task.extracted(work), EXTRACTED_SCHEMA)
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


def _clean(records: Iterable[Extracted], config: CorpusConfig) -> Iterator[Row]:
    """Cleans each text and notes the reason for which the document alone would be rejected."""
    for record in records:
        text = clean_text(record.document.text)
        reason = record.reason or reject_reason(replace(record.document, text=text), config) or ""
        yield _row(record, text, reason)


def _row(record: Extracted, text: str, reason: str) -> Row:
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


def _recognise_benchmarks(
    rows: Iterable[Row], decontaminator: Decontaminator, listed: list[dict[str, Any]]
) -> Iterator[Row]:
    """Rejects the documents of the benchmarks' test sets; `listed` receives them."""
    for row in rows:
        if not row["code"] and (match := decontaminator.match(pmid=row["pmid"], text=row["text"])):
            found = match.document
            listed.append(
                {
                    "id": row["id"],
                    "benchmark": found.benchmark,
                    "split": found.split,
                    "benchmark_pmid": found.pmid,
                    "by": match.by,
                    "share": round(match.share, 4),
                }
            )
            row["code"], row["text"] = CODES["benchmark"], ""
        yield row


def _sign(rows: Iterable[Row], signatures: list[NDArray[np.uint32]]) -> Iterator[Row]:
    """Computes the MinHash signature of every document that is not rejected yet; `signatures` receives it."""
    for row in rows:
        if not row["code"]:
            signatures.append(minhash(ngram_hashes(word_hashes(row["text"]), SHINGLE_WORDS), SIGNATURE_SIZE))
        yield row


def write_shard(
    tasks: list[FileTask], work: Path, output: Path, kept_before: list[int], shards: list[int], rank: int
) -> None:
    """The second phase for one shard: its kept documents, as `part-NNNNN.parquet`.

    Args:
        kept_before: kept documents before each file, and at last in all.
        shards: kept documents before each shard, likewise.
    """
    start, stop = shards[rank : rank + 2]
    rows = (
        row
        for task, (before, after) in zip(tasks, itertools.pairwise(kept_before), strict=True)
        if before < stop and after > start
        for row in _kept(task, work, max(start - before, 0), min(stop, after) - before)
    )
    _write(rows, output / f"part-{rank:05d}.parquet", CORPUS_SCHEMA)


def _kept(task: FileTask, work: Path, start: int, stop: int) -> Iterator[Row]:
    """The kept documents `start` to `stop` of one file."""
    rows = np.flatnonzero(np.load(task.fates(work)) == 0)[start:stop]
    with pq.ParquetFile(task.extracted(work)) as extracted:
        ends = np.cumsum(
            [extracted.metadata.row_group(group).num_rows for group in range(extracted.num_row_groups)]
        )
        # Only the row groups that hold some of them: a package of many shards is not read anew for each.
        for group in np.unique(np.searchsorted(ends, rows, "right")).tolist():
            first = int(ends[group - 1]) if group else 0
            inside = rows[(rows >= first) & (rows < ends[group])] - first
            table = extracted.read_row_group(group, columns=CORPUS_SCHEMA.names)
            yield from table.take(pa.array(inside)).to_pylist()


def _write(rows: Iterator[Row], path: Path, schema: pa.Schema) -> None:
    with staged(path) as staging, pq.ParquetWriter(staging, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


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
