"""The corpus stage: raw XML in, Parquet shards of deduplicated documents out, and the way to read them back."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biobert_scale.config import CorpusConfig, SlurmConfig
from biobert_scale.corpus.document import SOURCES
from biobert_scale.corpus.engine import run_tasks
from biobert_scale.corpus.pipeline import (
    INDEX_COLUMNS,
    CleanDocuments,
    ReadKept,
    ReadRawFile,
    WriteExtracted,
    WriteShard,
    deletions_path,
    extracted_path,
    kept_path,
    run_steps,
)
from biobert_scale.corpus.raw import RawFile, find_raw_files
from biobert_scale.corpus.resolve import REASONS, Index, decide
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, begin_stage, describe_inputs, finish_stage, read_json, read_manifest, stage_key

__all__ = ["build_corpus", "documents", "find_raw_files"]

STAGE = "corpus"
_log = logging.getLogger(__name__)
_ROWS_PER_BATCH = 1000


def build_corpus(
    raw: Path, output: Path, config: CorpusConfig, *, workers: int = 1, slurm: SlurmConfig | None = None, overwrite: bool = False
) -> Manifest:
    """Build the corpus of a directory of PubMed files and PMC packages.

    First each raw file is extracted and cleaned by a task of its own; then the records of all files are compared, and the kept ones
    are written to `part-NNNNN.parquet`, in the order of the files and of the records in them. The bytes do not depend
    on `workers` or `slurm`. An interrupted build goes on with the files and shards that are not done.

    Args:
        raw: directory of the raw files, searched at any depth (see `find_raw_files`).
        output: the stage's directory.
        workers: processes; one file or shard is one process' work at a time.
        slurm: run the files and shards as array jobs instead; `output` is then on a file system that all nodes see.
        overwrite: replace another build's output.

    Returns:
        The manifest. Records read are documents kept plus rejects.

    Raises:
        UserError: nothing to read, a damaged file, no document left, or `output` holds something else.
    """
    files = find_raw_files(raw)
    inputs = describe_inputs(path for file in files for path in (file.path, file.file_list) if path is not None)
    key = stage_key(STAGE, inputs, config)
    work = output / ".work"
    manifest = begin_stage(output, stage=STAGE, key=key, overwrite=overwrite)
    if manifest is None:
        _log.info("extracting %d files", len(files))
        steps = [ReadRawFile(files, work, config), CleanDocuments(config), WriteExtracted(work)]
        run_tasks(
            partial(run_steps, steps), tasks=len(files), workers=workers, slurm=slurm, work=work / "extract", description="reading files"
        )
        counts, rejects, kept_before = _resolve(files, work, raw)
        shards = -(-kept_before[-1] // config.documents_per_shard)
        _log.info("writing %d documents to %d shards", kept_before[-1], shards)
        writing = [ReadKept(work, kept_before, config.documents_per_shard), WriteShard(output)]
        run_tasks(
            partial(run_steps, writing), tasks=shards, workers=workers, slurm=slurm, work=work / "shards", description="writing shards"
        )
        manifest = finish_stage(
            output,
            stage=STAGE,
            key=key,
            inputs=inputs,
            config=config,
            counts=counts,
            rejects=rejects,
            outputs=[output / f"part-{shard:05d}.parquet" for shard in range(shards)],
            libraries=("lxml", "datatrove", "pyarrow"),
        )
    shutil.rmtree(work, ignore_errors=True)
    return manifest


def documents(directory: Path) -> Iterator[dict[str, str]]:
    """Read a built corpus lazily and in order, as dictionaries of the columns id, source, text, pmid, pmcid, license, origin.

    Raises:
        UserError: the directory is no finished corpus (raised at the first document).
    """
    for name in sorted(read_manifest(directory, STAGE).outputs):
        with pq.ParquetFile(directory / name) as shard:
            for batch in shard.iter_batches(_ROWS_PER_BATCH):
                yield from batch.to_pylist()


def _resolve(files: list[RawFile], work: Path, raw: Path) -> tuple[dict[str, int], dict[str, int], list[int]]:
    """Decide each record's fate and leave one mask of kept records per file for the writing tasks.

    Returns:
        The counts and the rejects of the manifest, and the number of kept documents before each file and at last in all.
    """
    tables = [pq.read_table(extracted_path(work, index), columns=list(INDEX_COLUMNS)) for index in range(len(files))]
    code = decide(_index(pa.concat_tables(tables), [len(table) for table in tables]), _deletions(work, len(files)))
    boundaries = np.cumsum([0, *(len(table) for table in tables)])
    kept = code == 0
    kept_path(work, 0).parent.mkdir(exist_ok=True)
    for index in range(len(files)):
        np.save(kept_path(work, index), kept[boundaries[index] : boundaries[index + 1]])
    counts, rejects = _count(files, pa.concat_tables(tables), code)
    if not counts["documents"]:
        told = ", ".join(f"{reason} {number}" for reason, number in rejects.items())
        what, remedy = f"no document is left of {len(code)} records ({told})", "add files, or relax the corpus section of the recipe"
        raise UserError(what, where=raw, remedy=remedy)
    return counts, rejects, [int(np.count_nonzero(kept[:boundary])) for boundary in boundaries]


def _index(table: pa.Table, records_by_file: list[int]) -> Index:
    def numbers(column: str) -> NDArray[np.int64]:
        return table[column].to_numpy().astype(np.int64)

    digests = b"".join(table["digest"].to_pylist())
    return Index(
        medline=_is_medline(table),
        pmid=numbers("pmid_number"),
        pmcid=numbers("pmcid_number"),
        version=numbers("version"),
        revised=numbers("revised"),
        file=np.repeat(np.arange(len(records_by_file)), records_by_file),
        digest=np.frombuffer(digests, dtype="V16"),
        code=table["code"].to_numpy().astype(np.uint8),
    )


def _is_medline(table: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(table["source"], "medline"))


def _deletions(work: Path, files: int) -> dict[int, int]:
    """For each withdrawn PMID the last file that withdraws it."""
    return {int(pmid): index for index in range(files) for pmid in read_json(deletions_path(work, index)) if pmid.isdigit()}


def _count(files: list[RawFile], table: pa.Table, code: NDArray[np.uint8]) -> tuple[dict[str, int], dict[str, int]]:
    kept, medline = code == 0, _is_medline(table)
    counts: dict[str, Any] = {"files": len(files)}
    for source, rows in zip(SOURCES, (medline, ~medline), strict=True):
        counts[f"files_{source}"] = sum(file.source == source for file in files)
        counts[f"records_{source}"] = int(np.count_nonzero(rows))
        counts[f"documents_{source}"] = int(np.count_nonzero(rows & kept))
    counts["records"], counts["documents"] = len(code), int(np.count_nonzero(kept))
    for unit in ("characters", "words"):
        counts[unit] = int(table[unit].to_numpy()[kept].sum())
    rejects = {REASONS[number]: count for number, count in sorted(Counter(code[~kept].tolist()).items())}
    assert counts["documents"] + sum(rejects.values()) == counts["records"]
    return counts, rejects
