"""The benchmarks' original files: what they are called, what they must hold, and where they are."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import (
    BLUE_HALLMARK_TASK,
    ENTITY_TASKS,
    ENTITY_TYPES,
    HALLMARK_TASK,
    HALLMARK_TASKS,
    SPLITS,
)
from biobert_scale.evaluation.readers import HALLMARK_HEADER, HALLMARK_HEADERS


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """The published counts of a task's train, dev and test, and how the set is recognised."""

    unit: str
    """What `documents` counts."""
    documents: list[int]
    what: str
    """What `others` counts."""
    others: list[int]
    ends: list[str] = field(default_factory=list)
    """PMIDs of the splits' first and last documents, or the first five words of such sentences."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A PubTator corpus: its files, kinds of mention, and tasks (each with its kinds)."""

    files: tuple[str, str, str]
    kinds: frozenset[str]
    tasks: dict[str, frozenset[str]]


_NCBI_KINDS = frozenset({"SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"})
CORPORA = (
    Corpus(
        files=("CDR_TrainingSet.PubTator.txt", "CDR_DevelopmentSet.PubTator.txt", "CDR_TestSet.PubTator.txt"),
        kinds=frozenset({"Chemical", "Disease"}),
        tasks={"BC5CDR-chem": frozenset({"Chemical"}), "BC5CDR-disease": frozenset({"Disease"})},
    ),
    Corpus(
        files=("NCBItrainset_corpus.txt", "NCBIdevelopset_corpus.txt", "NCBItestset_corpus.txt"),
        kinds=_NCBI_KINDS,
        tasks={"NCBI-disease": _NCBI_KINDS},
    ),
)


def published_set(task: str, form: Literal["original", "iob2"]) -> PublishedSet:
    """The set of a task that was published in a form: the original files, or IOB2."""
    file = resources.files("biobert_scale.evaluation") / "published_sets.toml"
    return PublishedSet(**tomllib.loads(file.read_text("utf-8"))[form][task])


def corpus_of(task: str) -> Corpus:
    return next(corpus for corpus in CORPORA if task in corpus.tasks)


def task_kinds(task: str) -> frozenset[str]:
    """The types that an entity task's files may have for its mentions: its corpus's kinds, and the type that
    predictions are given."""
    return corpus_of(task).tasks[task] | {ENTITY_TYPES[task]}


def find_sources(benchmarks: Path) -> dict[str, tuple[Path, Path, Path]]:
    """The train, dev and test file of every task found below a directory.

    Raises:
        UserError: no such directory, nothing known in it, a split missing, or a set found twice.
    """
    if not benchmarks.is_dir():
        remedy = "name the directory that holds the benchmarks' original files"
        raise UserError("no such directory", where=benchmarks, remedy=remedy)
    sources: dict[str, tuple[Path, Path, Path]] = {}
    for corpus in CORPORA:
        homes = {path.parent for name in corpus.files for path in benchmarks.rglob(name)}
        for home in _only_one(homes, " and ".join(corpus.tasks)):
            sources |= dict.fromkeys(corpus.tasks, _three([home / name for name in corpus.files]))
    homes = {path.parent for path in benchmarks.rglob("train.tsv") if _first_line(path) in HALLMARK_HEADERS}
    for task in HALLMARK_TASKS:
        for home in _only_one({home for home in homes if _hallmark_task(home, benchmarks) == task}, task):
            sources[task] = _three([home / f"{split}.tsv" for split in SPLITS])
    for task in ENTITY_TASKS:
        if task in sources:
            continue
        homes = {path.parent for path in benchmarks.rglob("train.tsv") if path.parent.name == task}
        for home in _only_one(homes, task):
            dev = home / "devel.tsv" if (home / "devel.tsv").is_file() else home / "dev.tsv"
            sources[task] = _three([home / "train.tsv", dev, home / "test.tsv"])
    if not sources:
        files = ", ".join(corpus.files[0] for corpus in CORPORA)
        known = f"{files}, HoC's train.tsv, or <task>/train.tsv in IOB2 ({', '.join(ENTITY_TASKS)})"
        remedy = f"put there the original files: {known}"
        raise UserError("no benchmark that is known here", where=benchmarks, remedy=remedy)
    return sources


def _hallmark_task(home: Path, benchmarks: Path) -> str:
    """BLUE's columns say which set it is; where its rows have BLURB's columns, a directory's name must."""
    named = "blue" in f"{benchmarks.resolve().name}/{home.relative_to(benchmarks)}".lower()
    has_columns = _first_line(home / "train.tsv") != HALLMARK_HEADER
    return BLUE_HALLMARK_TASK if named or has_columns else HALLMARK_TASK


def _only_one(homes: set[Path], name: str) -> set[Path]:
    if len(homes) > 1:
        places = ", ".join(map(str, sorted(homes)))
        raise UserError(f"{name} is there {len(homes)} times", where=places, remedy="keep one of them")
    return homes


def _three(paths: Sequence[Path]) -> tuple[Path, Path, Path]:
    for path in paths:
        if not path.is_file():
            remedy = "put all three files (train, dev, test) there"
            raise UserError("a split is missing", where=path, remedy=remedy)
    return paths[0], paths[1], paths[2]


def _first_line(path: Path) -> str:
    with open(path, "rb") as stream:
        return stream.readline(200).decode(errors="replace").rstrip("\r\n")
