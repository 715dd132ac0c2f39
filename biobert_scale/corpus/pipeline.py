"""The tasks of the corpus stage: one extracts a raw file, one writes a shard."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.cleaning.clean import clean_text, count_words, reject_reason
from biobert_scale.corpus.extract import Extracted, extract, extract_own
from biobert_scale.corpus.not_read import NotRead
from biobert_scale.corpus.own_text import OwnPiece
from biobert_scale.corpus.raw import RawFile
from biobert_scale.corpus.selection.decontaminate import Decontaminator, read_benchmark_documents
from biobert_scale.corpus.selection.deduplicate import SHINGLE_WORDS, SIGNATURE_SIZE
from biobert_scale.corpus.selection.resolve import CODES
from biobert_scale.corpus.selection.shingles import minhash, ngram_hashes, word_hashes
from biobert_scale.errors import UserError
from biobert_scale.files import make_directory, read_json, sync, write_json


class CorpusRow(TypedDict):
    """A document in the corpus' Parquet files; see `Document`."""

    id: str
    source: str
    text: str
    pmid: str
    pmcid: str
    license: str
    origin: str


class ExtractedRow(CorpusRow):
    """A record, and what decides whether it is kept; `text` is empty where it already is not."""

    pmid_number: int
    pmcid_number: int
    version: int
    revised: int
    digest: bytes
    """16 bytes of a hash of the text."""
    code: int
    """An index into `REASONS`."""
    words: int
    characters: int


CORPUS_SCHEMA = pa.schema([(name, pa.string()) for name in CorpusRow.__annotations__])
_NARROW = {"digest": pa.binary(16), "code": pa.uint8()}
_INDEX = [name for name in ExtractedRow.__annotations__ if name not in CorpusRow.__annotations__]
EXTRACTED_SCHEMA = pa.schema([*CORPUS_SCHEMA, *((name, _NARROW.get(name, pa.int64())) for name in _INDEX)])


class Damage(TypedDict):
    """A damaged file, as a `UserError` would say it."""

    what: str
    where: str
    remedy: str


class Recognised(TypedDict):
    """A record that is a benchmark's test document; see `Match`."""

    id: str
    benchmark: str
    split: str
    benchmark_pmid: str
    by: str
    share: float


class Notes(TypedDict, total=False):
    """What a task notes of its files besides the records: `error` alone, or all others."""

    deleted: list[tuple[int, int]]
    """PMIDs that are withdrawn, each with the number of the task's records up to where that is."""
    benchmark: list[Recognised]
    not_read: NotRead
    """What else a package holds."""
    damaged: list[Damage]
    """Those of several files that are left out."""
    error: Damage
    """The only file is."""


_ROWS_PER_GROUP = 2000
_IDENTIFIER = re.compile(r"(?:PMC)?([0-9]{1,18})")


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """One raw file, or several small ones, and where in the work directory its records go.

    The name holds a hash of the file's content: a build that resumes with a file replaced extracts that one
    again.
    """

    file: RawFile | OwnPiece
    name: str
    work: Path

    @property
    def extracted(self) -> Path:
        return self.work / "extracted" / f"{self.name}.parquet"

    @property
    def signatures(self) -> Path:
        """MinHash signatures of the records with code 0, in their order."""
        return self.work / "extracted" / f"{self.name}.minhash.npy"

    @property
    def notes(self) -> Path:
        """Written last."""
        return self.work / "extracted" / f"{self.name}.json"

    @property
    def decisions(self) -> Path:
        """What the whole build decides of each record: (records,) uint8, indices into `REASONS`."""
        return self.work / "fates" / f"{self.name}.npy"

    def read_notes(self) -> Notes:
        notes: Notes = read_json(self.notes)
        return notes


def extract_file(tasks: list[FileTask], config: CorpusConfig, benchmarks: Path | None, rank: int) -> None:
    """The first phase for one raw file. What is wrong with a file is noted, so that the other files are read.

    Args:
        benchmarks: a directory of prepared benchmarks, or None.
    """
    task = tasks[rank]
    if task.notes.exists():
        return
    deleted: dict[str, int] = {}
    damaged: list[UserError] = []
    signatures: list[NDArray[np.uint32]] = []
    notes = Notes(deleted=[], benchmark=[], not_read={}, damaged=[])
    if isinstance(task.file, OwnPiece):
        records = extract_own(task.file)
    else:
        records = extract(
            task.file,
            captions=config.captions,
            languages=config.languages,
            deleted=deleted,
            not_read=notes["not_read"],
            damaged=damaged,
        )
    decontaminator = None
    if benchmarks is not None:
        documents = read_benchmark_documents(benchmarks, config.benchmark_splits)
        decontaminator = Decontaminator(documents, minimum_share=config.benchmark_overlap)
    try:
        rows = _rows(records, config, decontaminator, notes["benchmark"], signatures)
        _write(rows, task.extracted, EXTRACTED_SCHEMA)
    except UserError as error:
        if error.exit_code != UserError.exit_code:
            raise
        write_json(task.notes, Notes(error=damage(error)))
        return
    with staged(task.signatures) as path, open(path, "wb") as stream:
        np.save(stream, np.array(signatures, dtype=np.uint32).reshape(-1, SIGNATURE_SIZE))
    withdrawn = {number: end for pmid, end in deleted.items() if (number := identifier_number(pmid))}
    notes["deleted"] = sorted(withdrawn.items())
    notes["damaged"] = [damage(error) for error in damaged]
    write_json(task.notes, notes)


def damage(error: UserError) -> Damage:
    return Damage(what=error.what, where=error.where, remedy=error.remedy)


def _rows(
    records: Iterable[Extracted],
    config: CorpusConfig,
    decontaminator: Decontaminator | None,
    recognised: list[Recognised],
    signatures: list[NDArray[np.uint32]],
) -> Iterator[ExtractedRow]:
    """Clean each text, and reject what the document alone shows. `recognised` receives the benchmarks' test
    documents, `signatures` the MinHash signature of each document that is left."""
    for record in records:
        row = _row(record, config)
        match = None
        if decontaminator and not row["code"]:
            match = decontaminator.match(pmid=row["pmid"], text=row["text"])
        if match:
            found = match.document
            recognised.append(
                Recognised(
                    id=row["source"] if config.private(row["source"]) else row["id"],
                    benchmark=found.benchmark,
                    split=found.split,
                    benchmark_pmid=found.pmid,
                    by=match.by,
                    share=round(match.share, 4),
                )
            )
            row["code"], row["text"] = CODES["benchmark"], ""
        elif not row["code"] and config.near_duplicate_similarity <= 1:
            signatures.append(minhash(ngram_hashes(word_hashes(row["text"]), SHINGLE_WORDS), SIGNATURE_SIZE))
        yield row


def _row(record: Extracted, config: CorpusConfig) -> ExtractedRow:
    document = record.document
    text = clean_text(document.text, document.own.skip if document.own is not None else ())
    reason = record.reason or reject_reason(replace(document, text=text), config) or ""
    pmid, pmcid = identifier_number(document.pmid), identifier_number(document.pmcid)
    named = pmid or (document.source == "pmc" and (pmcid or document.id.startswith("book:")))
    if not record.reason and not named and document.own is None:
        reason = "no_identifier"
    return ExtractedRow(
        id=document.id,
        source=document.source,
        text="" if reason else text,  # nobody reads a rejected text again
        pmid=document.pmid,
        pmcid=document.pmcid,
        license=document.license,
        origin=document.origin,
        pmid_number=pmid,
        pmcid_number=pmcid,
        version=record.version,
        revised=record.revised,
        digest=hashlib.blake2b(text.encode(), digest_size=16).digest(),
        code=CODES[reason],
        words=count_words(text),
        characters=len(text),
    )


def identifier_number(identifier: str) -> int:
    """The number of a PMID, or of a PMCID (`PMC123`); 0 for anything else."""
    found = _IDENTIFIER.fullmatch(identifier)
    return int(found[1]) if found else 0


def write_shard(
    tasks: list[FileTask], output: Path, kept_before: list[int], shards: list[int], rank: int
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
        for row in _kept(task, max(start - before, 0), min(stop, after) - before)
    )
    _write(rows, output / f"part-{rank:05d}.parquet", CORPUS_SCHEMA)


def _kept(task: FileTask, start: int, stop: int) -> Iterator[CorpusRow]:
    """The kept documents `start` to `stop` of one file."""
    rows = np.flatnonzero(np.load(task.decisions) == 0)[start:stop]
    with pq.ParquetFile(task.extracted) as extracted:
        groups = range(extracted.num_row_groups)
        ends = np.cumsum([extracted.metadata.row_group(group).num_rows for group in groups])
        # Only the row groups that hold some of them: a package of many shards is not read anew for each.
        for group in np.unique(np.searchsorted(ends, rows, "right")).tolist():
            first = int(ends[group - 1]) if group else 0
            inside = rows[(rows >= first) & (rows < ends[group])] - first
            table = extracted.read_row_group(group, columns=CORPUS_SCHEMA.names)
            yield from table.take(pa.array(inside)).to_pylist()


def _write(rows: Iterator[CorpusRow], path: Path, schema: pa.Schema) -> None:
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
