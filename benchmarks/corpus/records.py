"""What the corpus table holds."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.corpus.memory import ReadingMemory
from benchmarks.result import Conditions


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One contestant on one set of files: one entry a turn."""

    name: str
    megabytes_per_second: list[float]
    documents_per_second: list[float]


@dataclass(frozen=True, kw_only=True)
class Race:
    """Contestants on the same files."""

    title: str
    files: int
    megabytes: float
    documents: int
    speeds: list[Speed]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The whole stage on the same material, by how it was run; one entry a turn."""

    megabytes: float
    """XML, 10^6 bytes."""
    files: int
    documents: int
    seconds: dict[str, list[float]]
    """By the clock."""
    cpu_seconds: dict[str, list[float]]


class FileMemory(ReadingMemory):
    """Of reading one file."""

    expanded_megabytes: float


class CorpusResult(Conditions):
    """All of it."""

    races: list[Race]
    stage: Stage
    memory: list[FileMemory]
