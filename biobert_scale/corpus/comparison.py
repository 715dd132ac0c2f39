"""The comparison of all files' records between the two phases: which are kept, and in which shard each is."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.document import SOURCES
from biobert_scale.corpus.own_text import OwnPiece
from biobert_scale.corpus.pipeline import FileTask, staged
from biobert_scale.corpus.raw import RawFile
from biobert_scale.corpus.selection.deduplicate import SignatureFile, near_duplicates
from biobert_scale.corpus.selection.resolve import CODES, REASONS, Index, decide
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint

_log = logging.getLogger(__name__)
_DECIDING = ["source", "pmid_number", "pmcid_number", "version", "revised", "digest", "code"]
_COUNTED = ["source", "license", "words", "characters"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is kept of all files."""

    counts: dict[str, Any]
    """Of the manifest; the same for `rejects`."""
    rejects: dict[str, int]
    kept_before: list[int]
    """The number of kept documents before each file, and at last in all."""
    shards: list[int]
    """The same for each shard."""
    masks: str
    """A hash of all that the writing depends on."""


def compare(
    tasks: list[FileTask], work: Path, raw: Path, config: CorpusConfig, *, threads: int = 1
) -> Comparison:
    """Decide which records are kept, and leave one file of decisions per raw file for the writing tasks.

    Args:
        work: the build's work directory, for a file of signatures that are compared.
        raw: what the error names where nothing is left.
        threads: files or bands of signatures that are worked on at once.
    """
    with ThreadPoolExecutor(threads) as pool:
        _log.info("reading the columns of all records")
        index, boundaries = _read_index(tasks, pool)
        _log.info("comparing %s records", f"{len(index.code):,}")
        starts = zip(tasks, boundaries[:-1].tolist(), strict=True)
        deletions = {
            pmid: start + end for task, start in starts for pmid, end in task.read_notes()["deleted"]
        }
        code = decide(index, deletions)
        signed = np.flatnonzero(index.code == 0)
        del index
        if config.near_duplicate_similarity <= 1:
            kept = code[signed] == 0
            _log.info("comparing %s signatures", f"{np.count_nonzero(kept):,}")
            parts = np.split(kept, np.searchsorted(signed, boundaries[1:-1]))
            files = [
                SignatureFile(path=task.signatures, chosen=chosen)
                for task, chosen in zip(tasks, parts, strict=True)
            ]
            marked = near_duplicates(
                files, minimum_similarity=config.near_duplicate_similarity, scratch=work, threads=threads
            )
            code[signed[kept][marked]] = CODES["near_duplicate"]
        _log.info("writing what is decided")
        decided = np.split(code, boundaries[1:-1])
        sums = list(pool.map(_finish_part, tasks, decided))
    counts, rejects = _count([task.file for task in tasks], sums)
    if not counts["documents"]:
        reasons = ", ".join(f"{reason} {number}" for reason, number in rejects.items())
        what = f"no document is left of {len(code)} records ({reasons})"
        raise UserError(what, where=raw, remedy="add files, or relax the corpus section of the recipe")
    characters = np.concatenate([part.characters for part in sums])
    shards = _shards(characters, config.characters_per_shard)
    kept_before = np.cumsum([0, *(len(part.characters) for part in sums)]).tolist()
    digest = hashlib.sha256(code.tobytes()).hexdigest()
    masks = fingerprint([[task.name for task in tasks], kept_before, shards, digest])
    return Comparison(counts=counts, rejects=rejects, kept_before=kept_before, shards=shards, masks=masks)


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """What is counted of one part's records."""

    decided: dict[str, NDArray[np.int64]]
    """By source how often each of `REASONS`."""
    licenses: dict[str, Counter[str]]
    """By source, of the kept ones."""
    words: int
    """Of the kept ones."""
    characters: NDArray[np.int64]
    """(kept,), of each."""


def _read_index(tasks: list[FileTask], pool: Executor) -> tuple[Index, NDArray[np.int64]]:
    """What decides, of all records; and the records before each part, and at last in all."""
    boundaries = np.cumsum([0, *pool.map(lambda task: pq.read_metadata(task.extracted).num_rows, tasks)])
    total = int(boundaries[-1])
    index = Index(
        medline=np.empty(total, dtype=np.bool_),
        pmc=np.empty(total, dtype=np.bool_),
        pmid=np.empty(total, dtype=np.int64),
        pmcid=np.empty(total, dtype=np.int64),
        version=np.empty(total, dtype=np.int64),
        revised=np.empty(total, dtype=np.int64),
        digest=np.empty(total, dtype="V16"),
        code=np.empty(total, dtype=np.uint8),
    )

    def read(task: FileTask, start: int, stop: int) -> None:
        part, table = slice(start, stop), _read_columns(task, _DECIDING)
        index.medline[part], index.pmc[part] = _is_of(table, "medline"), _is_of(table, "pmc")
        index.pmid[part], index.pmcid[part] = table["pmid_number"], table["pmcid_number"]
        index.version[part], index.revised[part] = table["version"], table["revised"]
        index.digest[part] = np.frombuffer(
            b"".join(
                memoryview(chunk.buffers()[1])[chunk.offset * 16 : (chunk.offset + len(chunk)) * 16]
                for chunk in table["digest"].chunks
            ),
            dtype="V16",
        )
        index.code[part] = table["code"]

    for _ in pool.map(read, tasks, boundaries[:-1].tolist(), boundaries[1:].tolist()):
        pass
    return index, boundaries


def _read_columns(task: FileTask, columns: list[str]) -> pa.Table:
    with pq.ParquetFile(task.extracted) as extracted:
        return extracted.read(columns=columns, use_threads=False)


def _is_of(table: pa.Table, source: str) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(table["source"], source))


def _finish_part(task: FileTask, code: NDArray[np.uint8]) -> _Sums:
    """Write one part's decisions, and count them."""
    # Staged: tasks of an earlier call may be reading the old one.
    with staged(task.decisions) as path, open(path, "wb") as stream:
        np.save(stream, code)
    table = _read_columns(task, _COUNTED)
    kept = code == 0
    sums = _Sums(
        decided={},
        licenses={},
        words=int(table["words"].to_numpy()[kept].sum()),
        characters=table["characters"].to_numpy()[kept],
    )
    for source in pc.unique(table["source"]).to_pylist():
        rows = _is_of(table, source)
        sums.decided[source] = np.bincount(code[rows], minlength=len(REASONS))
        found = pc.value_counts(table["license"].filter(pa.array(rows & kept))).to_pylist()
        sums.licenses[source] = Counter({each["values"]: each["counts"] for each in found})
    return sums


def _count(files: list[RawFile | OwnPiece], sums: list[_Sums]) -> tuple[dict[str, Any], dict[str, int]]:
    """The manifest's counts and rejects."""
    numbers: Counter[str] = Counter()
    for file in files:
        if not file.start:  # a file that several tasks read counts by its first piece
            numbers[file.source] += len(file.paths)
    counts: dict[str, Any] = {"files": numbers.total()}
    own = sorted({*numbers, *(source for part in sums for source in part.decided)}.difference(SOURCES))
    left_out, licenses = {}, {}
    decided_in_all = np.zeros(len(REASONS), dtype=np.int64)
    for source in (*SOURCES, *own):
        decided = sum((part.decided[source] for part in sums if source in part.decided), 0 * decided_in_all)
        decided_in_all += decided
        counts[f"files_{source}"] = numbers[source]
        counts[f"records_{source}"] = int(decided.sum())
        counts[f"documents_{source}"] = int(decided[0])
        left_out[source] = _by_reason(decided)
        found = sum((part.licenses[source] for part in sums if source in part.licenses), Counter[str]())
        licenses[source] = dict(sorted(found.items()))
    counts["rejects_by_source"] = {source: reasons for source, reasons in left_out.items() if reasons}
    counts["licenses_by_source"] = {source: found for source, found in licenses.items() if found}
    counts["records"], counts["documents"] = int(decided_in_all.sum()), int(decided_in_all[0])
    counts["characters"] = sum(int(part.characters.sum()) for part in sums)
    counts["words"] = sum(part.words for part in sums)
    return counts, _by_reason(decided_in_all)


def _by_reason(decided: NDArray[np.int64]) -> dict[str, int]:
    """How many records each reason leaves out."""
    return {REASONS[code]: count for code, count in enumerate(decided.tolist()) if code and count}


def _shards(characters: NDArray[np.int64], characters_per_shard: int) -> list[int]:
    """Documents before each of some shards of nearly the same amount of text, and at last in all."""
    ends = np.cumsum(characters)
    number = min(max(round(int(ends[-1]) / characters_per_shard), 1), len(ends))
    inner = np.searchsorted(ends, int(ends[-1]) * np.arange(1, number) / number)
    return [int(end) for end in np.unique([0, *inner, len(ends)])]
