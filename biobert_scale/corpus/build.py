"""The corpus stage: raw XML in, Parquet shards of deduplicated documents out, and their reader."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biobert_scale.config import CorpusConfig, SlurmConfig
from biobert_scale.corpus.deduplicate import SIGNATURE_SIZE, near_duplicates
from biobert_scale.corpus.document import SOURCES
from biobert_scale.corpus.not_read import MEMBER_REASONS, NotRead, note
from biobert_scale.corpus.pipeline import (
    EXTRACTED_SCHEMA,
    INDEX_COLUMNS,
    CorpusRow,
    FileTask,
    Recognised,
    damage,
    extract_file,
    staged,
    write_shard,
)
from biobert_scale.corpus.raw import RawDirectory, RawFile, find_raw_files, look_through
from biobert_scale.corpus.resolve import CODES, REASONS, Index, decide
from biobert_scale.corpus.task_runner import run_tasks
from biobert_scale.errors import UserError, printable
from biobert_scale.files import (
    Manifest,
    describe_inputs,
    fingerprint,
    read_manifest,
    stage_key,
    write_atomically,
)
from biobert_scale.ranges import WORKERS, check_number
from biobert_scale.stage import Stage

__all__ = ["build_corpus", "documents", "find_raw_files"]

STAGE = "corpus"
_READING = 2
"""Version of the rules by which records are read: no build mixes or reuses the records of two."""
_log = logging.getLogger(__name__)
_ROWS_PER_BATCH = 1000


def build_corpus(
    raw: Path,
    output: Path,
    config: CorpusConfig,
    *,
    benchmarks: Path | None = None,
    workers: int = 1,
    slurm: SlurmConfig | None = None,
    max_bad_files: int = 0,
    overwrite: bool = False,
) -> Manifest:
    """Build the corpus of a directory of PubMed files and PMC packages.

    First each raw file is extracted and cleaned by a task of its own; then the records of all files are
    compared, and the kept ones are written to `part-NNNNN.parquet`, in the order of the files and of the
    records in them. The bytes do not depend on `workers` or `slurm`. An interrupted build continues with the
    files and shards that are not done.

    Args:
        raw: directory of the raw files, searched at any depth (see `find_raw_files`).
        output: the stage's directory. `benchmark-documents.jsonl` lists what was left out because of
            `benchmarks`.
        benchmarks: a directory of prepared benchmarks, whose test documents are left out; None leaves none
            out.
        workers: processes; one file or shard is one process' work at a time.
        slurm: run the files and shards as array jobs instead; `output` is then on a file system that all
            nodes see.
        max_bad_files: damaged files that are put up with: they are reported, counted, and left out.
        overwrite: replace another build's output.

    Returns:
        The manifest. Records read are documents kept plus rejects.

    Raises:
        UserError: nothing to read, more damaged files than put up with, no document left, or `output` holds
            something else.
    """
    check_number(workers, WORKERS, "--workers")
    check_number(max_bad_files, "[0, 1e9]", "--max-bad-files")
    _check_output(output)
    found = look_through(raw)
    work = output / ".work"
    inputs, tasks = _describe(found.files, work)
    listed = describe_inputs([benchmarks]) if benchmarks is not None else []
    with Stage(
        output,
        STAGE,
        inputs=[*inputs, *listed],
        config=config,
        key=fingerprint([stage_key(STAGE, [*inputs, *listed], config), _READING]),
        # A build may continue with other raw files.
        begun_key=fingerprint([stage_key(STAGE, listed, config), _READING]),
        overwrite=overwrite,
        reads=[raw, *([benchmarks] if benchmarks else [])],
    ) as stage:
        if stage.finished is None:
            run = partial(run_tasks, workers=workers, slurm=slurm, preload=("biobert_scale.corpus.preload",))
            _build(stage, tasks, found, raw, config, benchmarks, max_bad_files, run)
        shutil.rmtree(work, ignore_errors=True)
    manifest = stage.finished
    assert manifest is not None
    # A finished build has seen the same inputs, but maybe not the same files beside them.
    recorded = manifest.counts.get("not_read", {})
    members = {reason: recorded[reason] for reason in MEMBER_REASONS if reason in recorded}
    manifest.counts["not_read"] = {**found.not_read, **members}
    return manifest


def _build(
    stage: Stage,
    tasks: list[FileTask],
    raw: RawDirectory,
    directory: Path,
    config: CorpusConfig,
    benchmarks: Path | None,
    max_bad_files: int,
    run: Callable[..., None],
) -> None:
    """Extract, compare and write; `run` is `run_tasks` with where the tasks run."""
    output, work, key = stage.output, stage.output / ".work", stage.key
    _log.info("extracting %d files", len(tasks))
    extracting = partial(extract_file, tasks, config, benchmarks)
    run(extracting, tasks=len(tasks), work=work / f"extract-{key[:12]}", description="reading files")
    sound = _sound(tasks, raw.unreadable, work / f"extract-{key[:12]}", max_bad_files)
    found = _resolve(sound, work, directory, config)
    found.counts["bad_files"] = len(tasks) - len(sound) + len(raw.unreadable)
    found.counts["not_read"] = {**raw.not_read, **_not_read_in(sound)}
    parts = len(found.shards) - 1
    _log.info("writing %d documents to %d shards", found.kept_before[-1], parts)
    writing = partial(write_shard, sound, output, found.kept_before, found.shards)
    run(writing, tasks=parts, work=work / f"shards-{found.masks[:12]}", description="writing shards")
    outputs = [output / f"part-{shard:05d}.parquet" for shard in range(parts)]
    if benchmarks is not None:
        outputs.append(_list_benchmark_documents(sound, output))
    for stale in {*output.glob(".part-*.part"), *output.glob("part-*.parquet")}.difference(outputs):
        stale.unlink()  # of a killed writer, or of other raw files
    stage.finish(counts=found.counts, rejects=found.rejects, outputs=outputs, libraries=("lxml", "pyarrow"))


def _check_output(output: Path) -> None:
    """Refuse a path that no shard can be written below, before all files are read."""
    if printable(output) != str(output):
        raise UserError(
            "the output's path is not UTF-8, which Parquet files need",
            where=output,
            remedy="choose another --output",
        )
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError("a file, not a directory", where=existing, remedy="choose another --output")


def _not_read_in(tasks: list[FileTask]) -> NotRead:
    """What the packages hold besides articles."""
    not_read: NotRead = {}
    for task in tasks:
        for reason, unread in task.read_notes()["not_read"].items():
            note(not_read, reason, unread["example"], unread["count"])
    return not_read


def _describe(files: list[RawFile], work: Path) -> tuple[list[dict[str, Any]], list[FileTask]]:
    """The manifest's inputs, and for each raw file its task."""
    inputs, tasks = [], []
    for file in files:
        described = describe_inputs(path for path in (file.path, file.file_list) if path is not None)
        for record in described:
            record["name"] = printable(record["name"])
        inputs += described
        # Files of the work directory are named after it: its own name may be of any bytes and length.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", file.path.name)[:100]
        name = f"{name}-{fingerprint([described, _READING])[:16]}"
        tasks.append(FileTask(file=file, name=name, work=work))
    return inputs, tasks


def _sound(
    tasks: list[FileTask], unreadable: list[UserError], completions: Path, max_bad_files: int
) -> list[FileTask]:
    """The tasks whose files are not damaged.

    Args:
        unreadable: files that could not be opened and have no task; they count as damaged.
        completions: where it is recorded which tasks are done.

    Raises:
        UserError: more are damaged than put up with.
    """
    errors = {task.name: error for task in tasks if (error := task.read_notes().get("error"))}
    errors.update({failure.where: damage(failure) for failure in unreadable})
    for error in errors.values():
        _log.warning("damaged file: %s: %s", error["what"], error["where"])
    if len(errors) > max_bad_files:
        for task in tasks:  # to be tried again: the next call may find another disk, or another library
            if task.name in errors:
                task.notes.unlink()
        shutil.rmtree(completions, ignore_errors=True)
        first = next(iter(errors.values()))
        if len(errors) == 1:
            raise UserError(**first)
        number = len(tasks) + len(unreadable)
        what = f"{len(errors)} of {number} files are damaged; the first: {first['what']}"
        remedy = f"{first['remedy']}; or allow for them with --max-bad-files {len(errors)}"
        raise UserError(what, where=first["where"], remedy=remedy)
    return [task for task in tasks if task.name not in errors]


def _list_benchmark_documents(tasks: list[FileTask], output: Path) -> Path:
    """List the records that are left out as `benchmark`, of several states of one record the last."""
    path, code = output / "benchmark-documents.jsonl", CODES["benchmark"]
    rows: list[Recognised] = []
    for task in tasks:
        # One is listed for each record to which its file gave this code.
        recognised = pq.read_table(task.extracted, columns=["code"])["code"].to_numpy() == code
        decided = np.load(task.decisions)[recognised] == code
        rows += itertools.compress(task.read_notes()["benchmark"], decided)
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def documents(directory: Path) -> Iterator[CorpusRow]:
    """Read a built corpus lazily and in order.

    Raises:
        UserError: the directory is no finished corpus (raised at the first document).
    """
    for name in sorted(name for name in read_manifest(directory, STAGE).outputs if name.endswith(".parquet")):
        with pq.ParquetFile(directory / name) as shard:
            for batch in shard.iter_batches(_ROWS_PER_BATCH):
                yield from batch.to_pylist()


@dataclass(frozen=True, kw_only=True)
class Resolution:
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


def _resolve(tasks: list[FileTask], work: Path, raw: Path, config: CorpusConfig) -> Resolution:
    """Decide which records are kept, and leave one file of decisions per raw file for the writing tasks."""
    tables = [pq.read_table(task.extracted, columns=INDEX_COLUMNS) for task in tasks]
    table = pa.concat_tables(tables) if tables else EXTRACTED_SCHEMA.empty_table()
    boundaries = np.cumsum([0, *(len(part) for part in tables)])
    index = _index(table, [len(part) for part in tables])
    # For each withdrawn PMID the last file that withdraws it.
    deletions = {pmid: file for file, task in enumerate(tasks) for pmid in task.read_notes()["deleted"]}
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
    return Resolution(counts=counts, rejects=rejects, kept_before=kept_before, shards=shards, masks=masks)


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


def _index(table: pa.Table, records_by_file: list[int]) -> Index:
    def numbers(column: str) -> NDArray[np.int64]:
        return np.asarray(table[column].to_numpy(), dtype=np.int64)

    digests = b"".join(
        bytes(chunk.buffers()[1])[chunk.offset * 16 : (chunk.offset + len(chunk)) * 16]
        for chunk in table["digest"].chunks
    )
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


def _count(
    files: list[RawFile], table: pa.Table, code: NDArray[np.uint8]
) -> tuple[dict[str, int], dict[str, int]]:
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
