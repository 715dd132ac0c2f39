"""What scores are counted from, and the entities of tags; scores are in percent.

Entities count as found when both ends agree exactly. Sources: the CoNLL-2003 shared task (`conlleval`);
Ramshaw and Marcus 1995 for the tags.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

Repair = Literal["conlleval", "discard"]
REPAIRS: tuple[Repair, ...] = ("conlleval", "discard")


Measure = Literal["micro", "example", "accuracy", "pearson", "macro"]
"""F1 of the summed counts; the harmonic mean of documents' mean precision and mean recall
(`example_based_f1`); the share of right answers; Pearson's correlation; the mean F1 of words' types."""


class Measures(TypedDict):
    """Scores in percent with what they were counted from, as in `metrics.json`."""

    precision: NotRequired[float]
    recall: NotRequired[float]
    f1: NotRequired[float]
    accuracy: NotRequired[float]
    correct: NotRequired[int]
    pearson: NotRequired[float]
    tp: NotRequired[int]
    fp: NotRequired[int]
    fn: NotRequired[int]
    documents: NotRequired[int]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; scores in percent, 0 where nothing could be
    counted."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        return _percent(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _percent(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return _percent(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def as_dict(self) -> Measures:
        return Measures(
            precision=self.precision, recall=self.recall, f1=self.f1, tp=self.tp, fp=self.fp, fn=self.fn
        )


@dataclass(frozen=True)
class Answers:
    """Right answers among all."""

    correct: int = 0
    total: int = 0

    def __add__(self, other: Answers) -> Answers:
        return Answers(self.correct + other.correct, self.total + other.total)

    def as_dict(self) -> Measures:
        return Measures(
            accuracy=_percent(self.correct, self.total), correct=self.correct, documents=self.total
        )


@dataclass(frozen=True)
class Values:
    """Numbers of the pairs of one document."""

    gold: list[float]
    predicted: list[float]

    def __add__(self, other: Values) -> Values:
        return Values(self.gold + other.gold, self.predicted + other.predicted)


@dataclass(frozen=True)
class TypeCounts:
    """Words of one document by type: tp, fp, fn."""

    types: dict[str, list[int]]


Statistics = Counts | Answers | Values | TypeCounts
"""What was counted of one document."""


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 0.0


def entity_spans(tags: Sequence[str], repair: Repair = "conlleval") -> list[tuple[str, int, int]]:
    """Entities of one sentence.

    Args:
        tags: IOB2 tags, with types (`B-Disease`) or without (`B`).
        repair: what becomes of an I that continues nothing. "conlleval": it begins an entity (as the CoNLL
            script counts); "discard": it is no entity (strict IOB2). The two differ by several points on
            noisy output.

    Returns:
        (type, first token, last token + 1) in order; the type is "" where tags carry none.
    """
    spans: list[tuple[str, int, int]] = []
    start, kind = -1, ""  # start is -1 outside an entity
    for position, tag in enumerate([*tags, "O"]):
        letter, _, tag_kind = tag.partition("-")
        continues = letter == "I" and start >= 0 and tag_kind == kind
        if start >= 0 and not continues:
            spans.append((kind, start, position))
            start = -1
        if letter == "B" or (letter == "I" and not continues and repair == "conlleval"):
            start, kind = position, tag_kind
    return spans


def count_orphans(tags: Sequence[str]) -> int:
    """I tags that continue nothing: what the repairs differ in."""
    return sum(
        tag.startswith("I") and (before == "O" or before.partition("-")[2] != tag.partition("-")[2])
        for before, tag in zip(["O", *tags], tags, strict=False)
    )


def count_entities(gold: Sequence[Set[Hashable]], predicted: Sequence[Set[Hashable]]) -> list[Counts]:
    """Counts of each document, from the spans of its gold and predicted entities, with their types where a
    task has several."""
    return [Counts(len(g & p), len(p - g), len(g - p)) for g, p in zip(gold, predicted, strict=True)]


def total(counts: Sequence[Counts]) -> Counts:
    return sum(counts, Counts())
