"""The benchmarks' original files: what they are called, what they must hold, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
class Corpus:
    """A PubTator corpus: its files, kinds of mention, tasks (each with its kinds), published counts, and the
    PMIDs that its splits begin and end with."""

    files: tuple[str, str, str]
    ends: frozenset[str]
    kinds: frozenset[str]
    tasks: dict[str, frozenset[str]]
    documents: tuple[int, int, int]
    mentions: dict[str, tuple[int, int, int]]


_NCBI_KINDS = frozenset({"SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"})
CORPORA = (
    Corpus(
        files=("CDR_TrainingSet.PubTator.txt", "CDR_DevelopmentSet.PubTator.txt", "CDR_TestSet.PubTator.txt"),
        ends=frozenset({"227508", "10683478", "6794356", "803783", "8701013", "24055495"}),
        kinds=frozenset({"Chemical", "Disease"}),
        tasks={"BC5CDR-chem": frozenset({"Chemical"}), "BC5CDR-disease": frozenset({"Disease"})},
        documents=(500, 500, 500),
        mentions={"BC5CDR-chem": (5203, 5347, 5385), "BC5CDR-disease": (4182, 4244, 4424)},
    ),
    Corpus(
        files=("NCBItrainset_corpus.txt", "NCBIdevelopset_corpus.txt", "NCBItestset_corpus.txt"),
        ends=frozenset({"10192393", "8012387", "8808605", "8696339", "9949209", "9988281"}),
        kinds=_NCBI_KINDS,
        tasks={"NCBI-disease": _NCBI_KINDS},
        documents=(592, 100, 100),
        mentions={"NCBI-disease": (5134, 787, 960)},
    ),
)
HALLMARK_DOCUMENTS = {HALLMARK_TASK: (1295, 186, 371), BLUE_HALLMARK_TASK: (1108, 157, 315)}
HALLMARK_ENDS = frozenset({"22239943", "12549857", "22355784", "22336911", "12553062", "12498392"})
"""PMIDs of the first and last documents of BLURB's splits."""
HALLMARK_UNLABELLED = {HALLMARK_TASK: (197, 22, 53), BLUE_HALLMARK_TASK: (0, 0, 0)}
IOB2_SENTENCES = {
    "BC5CDR-chem": (4560, 4581, 4797),
    "BC5CDR-disease": (4560, 4581, 4797),
    "NCBI-disease": (5424, 923, 940),
}
IOB2_MENTIONS = {
    "BC5CDR-chem": (5203, 5347, 5385),
    "BC5CDR-disease": (4182, 4246, 4424),
    "NCBI-disease": (5134, 787, 960),
}
"""Of Crichton et al.'s files; a sentence break makes two mentions of one in two places of BC5CDR-disease's
development set."""

_CDR_ENDS = frozenset(
    {
        "Selegiline - induced postural hypotension",
        "These results indicate that FK",
        "22 - oxacalcitriol suppresses secondary",
        "Knowing that heart mitochondria represent",
        "Torsade de pointes ventricular tachycardia",
        "Our findings indicate that sustained",
    }
)
_NCBI_ENDS = frozenset(
    {
        "Identification of APC2 , a",
        "Most importantly , among mice",
        "BRCA1 is secreted and exhibits",
        "This difference in mutation sites",
        "Clustering of missense mutations in",
        "Conversely , BRCA1 expression was",
    }
)
IOB2_ENDS = {"BC5CDR-chem": _CDR_ENDS, "BC5CDR-disease": _CDR_ENDS, "NCBI-disease": _NCBI_ENDS}
"""First five words of the first and last sentences of the same files' splits."""


def task_kinds(task: str) -> frozenset[str]:
    """The types that an entity task's files may have for its mentions: its corpus's kinds, and the type that
    predictions are given."""
    of_corpus = [corpus.tasks[task] for corpus in CORPORA if task in corpus.tasks]
    return frozenset({ENTITY_TYPES[task]}).union(*of_corpus)


def find_sources(benchmarks: Path) -> dict[str, tuple[Path, Path, Path]]:
    """The train, dev and test file of every task found below a directory.

    Raises:
        UserError: no such directory, nothing known in it, a split missing, or a set found twice.
    """
    if not benchmarks.is_dir():
        raise UserError(
            "no such directory",
            where=benchmarks,
            remedy="name the directory that holds the benchmarks' original files",
        )
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
        homes = (
            {path.parent for path in benchmarks.rglob("train.tsv") if path.parent.name == task}
            if task not in sources
            else set()
        )
        for home in _only_one(homes, task):
            dev = home / "devel.tsv" if (home / "devel.tsv").is_file() else home / "dev.tsv"
            sources[task] = _three([home / "train.tsv", dev, home / "test.tsv"])
    if not sources:
        known = (
            f"{CORPORA[0].files[0]}, {CORPORA[1].files[0]}, HoC's train.tsv, or <task>/train.tsv in IOB2"
            f" ({', '.join(ENTITY_TASKS)})"
        )
        raise UserError(
            "no benchmark that is known here",
            where=benchmarks,
            remedy=f"put there the original files: {known}",
        )
    return sources


def _hallmark_task(home: Path, benchmarks: Path) -> str:
    """BLUE's columns say which set it is; where its rows have BLURB's columns, a directory's name must."""
    named = any(
        "blue" in part.lower() for part in (benchmarks.resolve().name, *home.relative_to(benchmarks).parts)
    )
    return (
        BLUE_HALLMARK_TASK if named or _first_line(home / "train.tsv") != HALLMARK_HEADER else HALLMARK_TASK
    )


def _only_one(homes: set[Path], name: str) -> set[Path]:
    if len(homes) > 1:
        raise UserError(
            f"{name} is there {len(homes)} times",
            where=", ".join(map(str, sorted(homes))),
            remedy="keep one of them",
        )
    return homes


def _three(paths: Sequence[Path]) -> tuple[Path, Path, Path]:
    for path in paths:
        if not path.is_file():
            raise UserError(
                "a split is missing", where=path, remedy="put all three files (train, dev, test) there"
            )
    return paths[0], paths[1], paths[2]


def _first_line(path: Path) -> str:
    with open(path, "rb") as stream:
        return stream.readline(200).decode(errors="replace").rstrip("\r\n")
