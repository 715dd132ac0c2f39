"""The corpus stage: raw XML in, Parquet shards of deduplicated documents out, and their reader."""

from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from biobert_scale.config import CorpusConfig, SlurmConfig
from biobert_scale.corpus.comparison import compare
from biobert_scale.corpus.not_read import TASK_REASONS, NotRead, note
from biobert_scale.corpus.own_text import OwnTexts, find_own_texts
from biobert_scale.corpus.pipeline import (
    CorpusRow,
    Damage,
    FileTask,
    Recognised,
    damage,
    extract_file,
    write_shard,
)
from biobert_scale.corpus.raw import RawDirectory, RawFile, divided, look_through
from biobert_scale.corpus.readers.own_text import refuse_unknown_columns
from biobert_scale.corpus.selection.resolve import CODES
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

STAGE = "corpus"
_READING = 4
"""Version of the rules by which records are read: no build mixes or reuses the records of two."""
_log = logging.getLogger(__name__)
_ROWS_PER_BATCH = 1000


def build_corpus(
    raw: Path | None,
    output: Path,
    config: CorpusConfig,
    *,
    own: Sequence[tuple[str, Path]] = (),
    benchmarks: Path | None = None,
    workers: int = 1,
    slurm: SlurmConfig | None = None,
    max_bad_files: int = 0,
    overwrite: bool = False,
) -> Manifest:
    """Build the corpus of a directory of PubMed's and PMC's files.

    First each raw file, or group of small ones, is extracted and cleaned by a task of its own; then the
    records of all files are compared, and the kept ones are written to `part-NNNNN.parquet`, in the order of
    the files and of the records in them. The bytes do not depend on `workers` or `slurm`. An interrupted
    build continues with the files and shards that are not done.

    Args:
        raw: directory of the raw files, searched at any depth (see `look_through`); None where there is own
            text alone.
        output: the stage's directory. `benchmark-documents.jsonl` lists what was left out because of
            `benchmarks`.
        own: (source, file or directory) of own text; `config.own` says how each source is read. It comes
            after the raw files, so that of equal texts theirs is kept.
        benchmarks: a directory of prepared benchmarks, whose test documents are left out; None leaves none
            out.
        workers: processes, each with one file, part of a large package, or shard at a time; and threads of
            the comparison between them.
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
    found = look_through(raw) if raw is not None else RawDirectory()
    own_texts = find_own_texts(own, config.own)
    refuse_unknown_columns(own_texts.pieces)
    found.not_read |= own_texts.not_read
    work = output / ".work"
    inputs, tasks = _describe(found.files, own_texts, work)
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
        reads=[*(path for path in (raw, benchmarks) if path is not None), *(path for _, path in own)],
    ) as stage:
        if stage.finished is None:
            run = partial(run_tasks, workers=workers, slurm=slurm, preload=("biobert_scale.corpus.preload",))
            _build(stage, tasks, found, raw or own[0][1], config, benchmarks, max_bad_files, run, workers)
        shutil.rmtree(work, ignore_errors=True)
    manifest = stage.finished
    assert manifest is not None
    # A finished build has seen the same inputs, but maybe not the same files beside them.
    recorded = manifest.counts.get("not_read", {})
    members = {reason: recorded[reason] for reason in TASK_REASONS if reason in recorded}
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
    threads: int,
) -> None:
    """Extract, compare and write; `run` is `run_tasks` with where the tasks run, `threads` are those that
    compare, here."""
    output, work = stage.output, stage.output / ".work"
    _log.info("extracting %d files", len(tasks))
    extracting = partial(extract_file, tasks, config, benchmarks)
    # Markers are numbers, so they are of use only to the same list of tasks.
    marked = work / f"extract-{fingerprint([stage.key, [task.name for task in tasks]])[:12]}"
    run(extracting, tasks=len(tasks), work=marked, description="reading files")
    sound, bad_files = _sound(tasks, raw.unreadable, marked, max_bad_files)
    found = compare(sound, work, directory, config, threads=threads)
    found.counts["bad_files"] = bad_files
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
    """What the packages hold besides articles, and XML without anything to read."""
    not_read: NotRead = {}
    for task in tasks:
        for reason, unread in task.read_notes()["not_read"].items():
            note(not_read, reason, unread["example"], unread["count"])
    return not_read


def _describe(files: list[RawFile], own: OwnTexts, work: Path) -> tuple[list[dict[str, Any]], list[FileTask]]:
    """The manifest's inputs, and for each raw file and each piece of own text its task."""
    inputs, tasks = [], []
    for file in files:
        described = describe_inputs(path for path in (*file.paths, file.file_list) if path is not None)
        for record in described:
            record["name"] = printable(record["name"])
        if file.together:
            described = [_described_together(described)]
        inputs += described
        # Files of the work directory are named after it: its own name may be of any bytes and length.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", file.path.name)[:100]
        name = f"{name}-{fingerprint([described, _READING])[:16]}"
        for part in divided(file):
            place = f"-{part.start}-{part.stop}" if part.start or part.stop else ""
            tasks.append(FileTask(file=part, name=name + place, work=work))
    for piece, name in zip(own.pieces, own.names, strict=True):
        tasks.append(FileTask(file=piece, name=name, work=work))
    return [*inputs, *own.inputs], tasks


def _described_together(files: list[dict[str, Any]]) -> dict[str, Any]:
    """One input for several files, of which there may be millions."""
    return {
        "name": f"{files[0]['name']} to {files[-1]['name']}",
        "files": len(files),
        "bytes": sum(file["bytes"] for file in files),
        "sha256": fingerprint([(file["name"], file["sha256"]) for file in files]),
    }


def _sound(
    tasks: list[FileTask], unreadable: list[UserError], completions: Path, max_bad_files: int
) -> tuple[list[FileTask], int]:
    """The tasks that have records, and the number of damaged files.

    Args:
        unreadable: files that could not be opened and have no task; they count as damaged.
        completions: where it is recorded which tasks are done.

    Raises:
        UserError: more are damaged than put up with.
    """
    touched: list[FileTask] = []
    errors: dict[str, Damage] = {}
    broken = set()
    for task in tasks:
        notes = task.read_notes()
        if "error" in notes:
            broken.add(task.file.path)
        if found := [notes["error"]] if "error" in notes else notes["damaged"]:
            touched.append(task)
            for error in found:
                errors.setdefault(error["where"], error)  # pieces of one file have one
    errors |= {error.where: damage(error) for error in unreadable}
    for error in errors.values():
        _log.warning("damaged file: %s: %s", error["what"], error["where"])
    if len(errors) > max_bad_files:
        for task in touched:  # to be tried again: the next call may find another disk, or another library
            task.notes.unlink()
        shutil.rmtree(completions, ignore_errors=True)
        first = next(iter(errors.values()))
        if len(errors) == 1:
            raise UserError(**first)
        number = len({path for task in tasks for path in task.file.paths}) + len(unreadable)
        what = f"{len(errors)} of {number} files are damaged; the first: {first['what']}"
        remedy = f"{first['remedy']}; or allow for them with --max-bad-files {len(errors)}"
        raise UserError(what, where=first["where"], remedy=remedy)
    return [task for task in tasks if task.file.path not in broken], len(errors)


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
