"""The stage that makes tasks' data: from original files to sentences and words with gold in document
characters, or to rows of texts with labels.

Gold is the corpus's own mentions, kept whole beside the tags: what a sentence break or a word boundary costs
is counted and stays in the score.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import SPLITS, STAGE, TASK_FILE, write_rows
from biobert_scale.evaluation.relations.files import companions
from biobert_scale.evaluation.sources import FoundTask, find_sources
from biobert_scale.evaluation.splits import PreparedSplit, ReadSplit, prepare_split, read_splits
from biobert_scale.evaluation.tagging import WORD_PATTERN
from biobert_scale.evaluation.tasks.spec import PublishedCounts, Split
from biobert_scale.files import Manifest, describe_inputs, write_atomically
from biobert_scale.stage import Stage

Documents = dict[tuple[str, str, str], dict[str, str]]
"""Rows of `documents.jsonl` by (split, PMID, text)."""


def prepare(
    benchmarks: Path | None, output: Path, overwrite: bool = False, tasks: Sequence[str] = ()
) -> Manifest:
    """Find the files of tasks, check them, and write one directory per task.

    A set that begins or ends as the published one does, or has as many documents, must have every published
    count; other sets (made-up ones) are recorded as they are, and no published score is put beside theirs.

    Args:
        benchmarks: a directory tree. Without it, each task must be a TOML file with its data beside it.
        output: `documents.jsonl`, every document's text for the corpus stage to leave out;
            `<task>/{train,dev,test}.jsonl`, for entities with `<split>.gold.jsonl`: every document's text,
            and its mentions as [start, end, text, kind, composite] in document characters; and `task.toml`
            of a task that is not the package's.
        tasks: names of the package's tasks, and paths of TOML files. Empty: all of the package's tasks that
            are there.

    Raises:
        UserError: nothing known was found, a split is missing, a row is malformed, or splits share a
            document.
    """
    sources = find_sources(benchmarks, tasks)
    inputs = describe_inputs(sorted({path for found in sources for path in _input_files(found)}))
    names = sorted(found.task.name for found in sources)
    config = {"tasks": names, "word_pattern": WORD_PATTERN.pattern, "format": 4}
    reads = [benchmarks] if benchmarks is not None else [Path(task).parent for task in tasks]
    with Stage(output, STAGE, inputs=inputs, config=config, overwrite=overwrite, reads=reads) as stage:
        if stage.finished is not None:
            return stage.finished
        counts: dict[str, TaskCounts] = {}
        documents: Documents = {}
        try:
            for found in sources:
                counts[found.task.name] = _prepare(found, output / found.task.name, documents)
        except UserError:
            stage.discard()  # nothing of it is of use, and the corrected files are other inputs
            raise
        duplicates = (
            split.get("duplicate_documents", 0)
            for task in counts.values()
            for split in (task["train"], task["dev"], task["test"])
        )
        rejects = {"duplicate_documents": sum(duplicates)}
        files = [path for task in counts for path in sorted((output / task).iterdir())]
        files.append(output / "documents.jsonl")
        write_rows(files[-1], documents.values())
        return stage.finish(counts=counts, rejects=rejects, outputs=files, libraries=("sentencex",))


class TaskCounts(TypedDict):
    """What was counted of a task in each split, and whether it is the published set."""

    train: dict[str, int]
    dev: dict[str, int]
    test: dict[str, int]
    published: bool
    not_comparable: NotRequired[str]
    """Why scores on a form of it compare with no published ones."""


def _input_files(found: FoundTask) -> list[Path]:
    """All files that are read: also the task's own, the texts beside brat's annotations, those that belong to
    ChemProt's and DDI's, and those in directories of `datasets`."""
    named = [path for files in found.files.values() for path in files]
    paths = [each for path in named for each in (path, *companions(found.source.format, path))]
    paths += [found.own] if found.own else []
    if found.source.format == "brat":
        paths += [text for path in paths if (text := path.with_suffix(".txt")).is_file()]
    return [
        file
        for path in paths
        for file in (sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path])
    ]


def _prepare(found: FoundTask, output: Path, documents: Documents) -> TaskCounts:
    task, counts = found.task, found.source.counts
    read = read_splits(found)
    splits = {split: prepare_split(task, read[split]) for split in SPLITS}
    published = counts is not None and _is_published(task.name, splits, counts)
    _refuse_shared(task.name, read, allowed=counts.shared if counts is not None and published else 0)
    for split, prepared in splits.items():
        for suffix, rows in prepared.files.items():
            write_rows(output / f"{split}{suffix}", rows)
        for pmid, text in prepared.texts:
            # Two tasks of one corpus share their documents: each is noted once.
            row = {"benchmark": task.corpus_name, "split": split, "pmid": pmid, "text": text}
            documents[split, pmid, text] = row
        if split != "train":
            trained = {text for _, text in splits["train"].texts}
            prepared.counts["texts_in_train"] = len({text for _, text in prepared.texts} & trained)
    if found.own:
        write_atomically(output / TASK_FILE, found.own.read_bytes())
    train, dev, test = (splits[split].counts for split in SPLITS)
    made: TaskCounts = {"train": train, "dev": dev, "test": test, "published": published}
    if found.source.not_comparable:
        made["not_comparable"] = found.source.not_comparable
    return made


def _refuse_shared(task: str, read: Mapping[Split, ReadSplit], allowed: int) -> None:
    for split, other in itertools.combinations(SPLITS, 2):
        shared = sorted(read[split].names & read[other].names)
        if len(shared) > allowed:
            raise UserError(
                f"{len(shared)} documents are in both {split} and {other}, the first being {shared[0]}",
                where=task,
                remedy="leave them in one of the two: such a score would be worthless",
            )


def _is_published(task: str, splits: Mapping[Split, PreparedSplit], published: PublishedCounts) -> bool:
    """Whether a set is the published one, judged by its ends or its numbers of documents; all counts must
    then agree."""
    counts = [splits[split].counts for split in SPLITS]
    found = [(split.get(published.unit, 0), split.get(published.what, 0)) for split in counts]
    known = any(split.ends.intersection(published.ends) for split in splits.values())
    if not known and tuple(documents for documents, _ in found) != published.documents:
        return False
    expected = zip(published.documents, published.others, strict=True)
    for split, (documents, others), (due, others_due) in zip(SPLITS, found, expected, strict=True):
        if (documents, others) != (due, others_due):
            what = published.what.replace("_", " ")
            raise UserError(
                f"{documents:,} documents (or sentences) with {others:,} {what} in {split}, where the"
                f" published set has {due:,} with {others_due:,}",
                where=task,
                remedy="restore the original files: they are damaged or not all there",
            )
    return True
