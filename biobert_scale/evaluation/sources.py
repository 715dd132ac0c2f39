"""The benchmarks' original files: what they are called, what they must hold, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class PublishedSet(NamedTuple):
    """The published counts of a task's train, dev and test, and how the set is recognised."""

    unit: str
    """What `documents` counts."""
    documents: tuple[int, int, int]
    what: str
    """What `others` counts."""
    others: tuple[int, int, int]
    ends: frozenset[str] = frozenset()
    """PMIDs of the splits' first and last documents, or the first five words of such sentences."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A PubTator corpus: its files, kinds of mention, and tasks (each with its kinds)."""

    files: tuple[str, str, str]
    kinds: frozenset[str]
    tasks: dict[str, frozenset[str]]
    published: dict[str, PublishedSet]
    """By task."""


_CDR_PMIDS = frozenset(["227508", "10683478", "6794356", "803783", "8701013", "24055495"])
_CDR = "documents", (500, 500, 500), "mentions"
_NCBI_PMIDS = frozenset(["10192393", "8012387", "8808605", "8696339", "9949209", "9988281"])
_NCBI = PublishedSet("documents", (592, 100, 100), "mentions", (5134, 787, 960), _NCBI_PMIDS)
_NCBI_KINDS = frozenset({"SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"})
CORPORA = (
    Corpus(
        files=("CDR_TrainingSet.PubTator.txt", "CDR_DevelopmentSet.PubTator.txt", "CDR_TestSet.PubTator.txt"),
        kinds=frozenset({"Chemical", "Disease"}),
        tasks={"BC5CDR-chem": frozenset({"Chemical"}), "BC5CDR-disease": frozenset({"Disease"})},
        published={
            "BC5CDR-chem": PublishedSet(*_CDR, (5203, 5347, 5385), _CDR_PMIDS),
            "BC5CDR-disease": PublishedSet(*_CDR, (4182, 4244, 4424), _CDR_PMIDS),
        },
    ),
    Corpus(
        files=("NCBItrainset_corpus.txt", "NCBIdevelopset_corpus.txt", "NCBItestset_corpus.txt"),
        kinds=_NCBI_KINDS,
        tasks={"NCBI-disease": _NCBI_KINDS},
        published={"NCBI-disease": _NCBI},
    ),
)
_BLURB_PMIDS = frozenset(["22239943", "12549857", "22355784", "22336911", "12553062", "12498392"])
HALLMARK_SETS = {
    HALLMARK_TASK: PublishedSet(
        "documents", (1295, 186, 371), "unlabelled_documents", (197, 22, 53), _BLURB_PMIDS
    ),
    BLUE_HALLMARK_TASK: PublishedSet("documents", (1108, 157, 315), "unlabelled_documents", (0, 0, 0)),
}
_CDR_WORDS = frozenset(
    {
        "Selegiline - induced postural hypotension",
        "These results indicate that FK",
        "22 - oxacalcitriol suppresses secondary",
        "Knowing that heart mitochondria represent",
        "Torsade de pointes ventricular tachycardia",
        "Our findings indicate that sustained",
    }
)
_NCBI_WORDS = frozenset(
    {
        "Identification of APC2 , a",
        "Most importantly , among mice",
        "BRCA1 is secreted and exhibits",
        "This difference in mutation sites",
        "Clustering of missense mutations in",
        "Conversely , BRCA1 expression was",
    }
)
_CDR_IOB2 = "sentences", (4560, 4581, 4797), "mentions"
IOB2_SETS = {
    "BC5CDR-chem": PublishedSet(*_CDR_IOB2, (5203, 5347, 5385), _CDR_WORDS),
    "BC5CDR-disease": PublishedSet(*_CDR_IOB2, (4182, 4246, 4424), _CDR_WORDS),
    "NCBI-disease": PublishedSet("sentences", (5424, 923, 940), "mentions", (5134, 787, 960), _NCBI_WORDS),
}
"""Crichton et al.'s files; a sentence break makes two mentions of one in two places of BC5CDR-disease's
development set."""


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
