"""A sentence with two of its entities replaced by placeholders (Gu et al. 2021, "Domain-Specific Language
Model Pretraining for Biomedical NLP", section 2.3): names alone then say nothing of the relation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

FALSE = "false"


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A name: characters `start` to `end` (exclusive) of the text that it is in."""

    id: str
    kind: str
    start: int
    end: int


class RelationRow(NamedTuple):
    """One pair of entities; two rows of one sentence differ in what is masked."""

    id: str
    document: str
    sentence: str
    label: str


class Masked(NamedTuple):
    """All pairs of some documents, and how many of each peculiar case there were."""

    rows: list[RelationRow]
    counts: Counter[str]


def mask(text: str, first: Entity, second: Entity, placeholders: tuple[str, str], joint: str) -> str:
    """Replace two entities of a text.

    Args:
        first: the one that starts no later.
        placeholders: of the first and of the second.
        joint: the single placeholder of two entities that share characters; it replaces both.
    """
    if overlap(first, second):
        return f"{text[: first.start]}{joint}{text[max(first.end, second.end) :]}"
    between = text[first.end : second.start]
    return f"{text[: first.start]}{placeholders[0]}{between}{placeholders[1]}{text[second.end :]}"


def overlap(first: Entity, second: Entity) -> bool:
    """Whether two entities share a character; `first` starts no later."""
    return second.start < first.end


def write_lines(rows: Iterable[RelationRow]) -> str:
    """BLURB's own form of the rows: id, sentence and label between tabs, without a header."""
    return "".join(f"{row.id}\t{row.sentence}\t{row.label}\n" for row in rows)
