"""The comparison of all files' records between the two phases: which are kept, and in which shard each is."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
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
from biobert_scale.corpus.pipeline import EXTRACTED_SCHEMA, INDEX_COLUMNS, FileTask, staged
from biobert_scale.corpus.raw import RawFile
from biobert_scale.corpus.selection.deduplicate import SIGNATURE_SIZE, near_duplicates
from biobert_scale.corpus.selection.resolve import CODES, REASONS, Index, decide
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint


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


def compare(tasks: list[FileTask], work: Path, raw: Path, config: CorpusConfig) -> Comparison:
    """Decide which records are kept, and leave one file of decisions per raw file for the writing tasks."""
    tables = [pq.read_table(task.extracted, columns=INDEX_COLUMNS) for task in tasks]
    table = pa.concat_tables(tables) if tables else EXTRACTED_SCHEMA.empty_table()
    boundaries = np.cumsum([0, *(len(part) for part in tables)])
    index = _index(table)
    starts = zip(tasks, boundaries[:-1].tolist(), strict=True)
    deletions = {pmid: start + end for task, start in starts for pmid, end in task.read_notes()["deleted"]}
    code = decide(index, deletions)
    if config.near_duplicate_similarity <= 1:
        signed = np.flatnonzero(index.code == 0)
        kept_signed = code[signed] == 0
        signatures = _signatures(tasks, work / "signatures.npy", kept_signed)
        marked = near_duplicates(signatures, minimum_similarity=config.near_duplicate_similarity)
        code[signed[kept_signed][marked]] = CODES["near_duplicate"]
    kept = code == 0
    for task, (start, stop) in zip(tasks, itertools.pairwise(boundaries), strict=True):
        # Staged: tasks of an earlier call may be reading the old one.
        with staged(task.decisions) as path, open(path, "wb") as stream:
            np.save(stream, code[start:stop])
    counts, rejects = _count([task.file for task in tasks], table, code)
    if not counts["documents"]:
        reasons = ", ".join(f"{reason} {number}" for reason, number in rejects.items())
        what = f"no document is left of {len(code)} records ({reasons})"
        raise UserError(what, where=raw, remedy="add files, or relax the corpus section of the recipe")
    shards = _shards(table["characters"].to_numpy()[kept], config.characters_per_shard)
    kept_before = [int(np.count_nonzero(kept[:boundary])) for boundary in boundaries]
    digest = hashlib.sha256(code.tobytes()).hexdigest()
    masks = fingerprint([[task.name for task in tasks], kept_before, shards, digest])
    return Comparison(counts=counts, rejects=rejects, kept_before=kept_before, shards=shards, masks=masks)


def _signatures(tasks: list[FileTask], path: Path, chosen: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Gather the chosen signatures of all files in a file on disk: PubMed's are ten gigabytes."""
    shape = (int(np.count_nonzero(chosen)), SIGNATURE_SIZE)
    gathered = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint32, shape=shape)
    seen = written = 0
    for task in tasks:
        part = np.load(task.signatures, mmap_mode="r")
        rows = part[chosen[seen : seen + len(part)]]
        gathered[written : written + len(rows)] = rows
        seen, written = seen + len(part), written + len(rows)
    assert seen == len(chosen) and written == len(gathered)
    return np.asarray(gathered)


def _shards(characters: NDArray[np.int64], characters_per_shard: int) -> list[int]:
    """Documents before each of some shards of nearly the same amount of text, and at last in all."""
    ends = np.cumsum(characters)
    number = min(max(round(int(ends[-1]) / characters_per_shard), 1), len(ends))
    inner = np.searchsorted(ends, int(ends[-1]) * np.arange(1, number) / number)
    return [int(end) for end in np.unique([0, *inner, len(ends)])]


def _index(table: pa.Table) -> Index:
    def numbers(column: str) -> NDArray[np.int64]:
        return np.asarray(table[column].to_numpy(), dtype=np.int64)

    digests = b"".join(
        bytes(chunk.buffers()[1])[chunk.offset * 16 : (chunk.offset + len(chunk)) * 16]
        for chunk in table["digest"].chunks
    )
    return Index(
        medline=_is_of(table, "medline"),
        pmc=_is_of(table, "pmc"),
        pmid=numbers("pmid_number"),
        pmcid=numbers("pmcid_number"),
        version=numbers("version"),
        revised=numbers("revised"),
        digest=np.frombuffer(digests, dtype="V16"),
        code=table["code"].to_numpy().astype(np.uint8),
    )


def _is_of(table: pa.Table, source: str) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(table["source"], source))


def _count(
    files: list[RawFile | OwnPiece], table: pa.Table, code: NDArray[np.uint8]
) -> tuple[dict[str, Any], dict[str, int]]:
    """The manifest's counts and rejects."""
    kept = code == 0
    numbers: Counter[str] = Counter()
    for file in files:
        if isinstance(file, RawFile) or not file.start:  # a file of own text counts by its first piece
            numbers[file.source] += len(file.paths)
    counts: dict[str, Any] = {"files": numbers.total()}
    own = sorted({*pc.unique(table["source"]).to_pylist(), *numbers}.difference(SOURCES))
    left_out, licenses = {}, {}
    for source in (*SOURCES, *own):
        rows = _is_of(table, source)
        counts[f"files_{source}"] = numbers[source]
        counts[f"records_{source}"] = int(np.count_nonzero(rows))
        counts[f"documents_{source}"] = int(np.count_nonzero(rows & kept))
        left_out[source] = _by_reason(code[rows & ~kept])
        found = Counter(table["license"].filter(pa.array(rows & kept)).to_pylist())
        licenses[source] = dict(sorted(found.items()))
    counts["rejects_by_source"] = {source: reasons for source, reasons in left_out.items() if reasons}
    counts["licenses_by_source"] = {source: found for source, found in licenses.items() if found}
    counts["records"], counts["documents"] = len(code), int(np.count_nonzero(kept))
    for unit in ("characters", "words"):
        counts[unit] = int(table[unit].to_numpy()[kept].sum())
    rejects = _by_reason(code[~kept])
    assert counts["documents"] + sum(rejects.values()) == counts["records"]
    return counts, rejects


def _by_reason(code: NDArray[np.uint8]) -> dict[str, int]:
    return {REASONS[number]: count for number, count in enumerate(np.bincount(code).tolist()) if count}
