"""How far predicted mentions agree with the gold ones where not all of it does: ends, a part, the type.

The terms are those of MUC-5 (Chinchor and Sundheim 1993); the first four measures those of SemEval-2013 task
9 (Segura-Bedmar, Martínez and Herrero-Zazo 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Literal, TypedDict

from biobert_scale.evaluation.metrics.entities import Span, type_of, types_of

Matching = Literal["strict", "exact", "partial", "type", "left", "right"]
Agreement = Callable[[Span, Span], bool]


class Matches(TypedDict):
    """Counts of mentions, and scores in percent."""

    correct: int
    incorrect: int
    """Predictions that share characters with a gold mention, but do not agree with it."""
    partial: int
    """The same where a part is enough for half a point."""
    missed: int
    """Gold mentions that no prediction is paired with."""
    spurious: int
    """Predictions that no gold mention is paired with."""
    possible: int
    """Gold mentions."""
    actual: int
    """Predictions."""
    precision: float
    recall: float
    f1: float


def _overlaps(gold: Span, found: Span) -> bool:
    return gold[0] < found[1] and found[0] < gold[1]


def _same_type(gold: Span, found: Span) -> bool:
    return type_of(gold) == type_of(found)


MATCHINGS: dict[Matching, Agreement] = {
    "strict": lambda gold, found: gold == found,
    "exact": lambda gold, found: gold[:2] == found[:2],
    "partial": lambda gold, found: gold[:2] == found[:2],
    "type": lambda gold, found: _overlaps(gold, found) and _same_type(gold, found),
    "left": lambda gold, found: gold[0] == found[0] and _same_type(gold, found),
    "right": lambda gold, found: gold[1] == found[1] and _same_type(gold, found),
}
"""When a prediction is correct: both ends and the type; both ends; both ends, and any common character counts
half; a common character and the type; the first character and the type; the last one and the type."""


def match_entities(
    gold: Mapping[str, Set[Span]], predicted: Mapping[str, Set[Span]]
) -> dict[Matching, Matches]:
    """Pair the mentions of every document, each with one at most, and count by every measure.

    Correct pairs come first, so that no other pair takes a mention away from them; then those that share
    characters. Among equals the first in the text is taken. Of mentions that do not overlap one another no
    pairing has more correct pairs.

    Args:
        gold: documents' mentions by name; both arguments have the same documents.
    """
    documents = [(sorted(gold[name]), sorted(predicted[name])) for name in gold]
    return {matching: _count(matching, documents) for matching in MATCHINGS}


def match_by_type(
    gold: Mapping[str, Set[Span]], predicted: Mapping[str, Set[Span]]
) -> dict[str, dict[Matching, Matches]]:
    """The same of each type's mentions alone; nothing where the task has one type."""

    def of(kind: str, spans: Mapping[str, Set[Span]]) -> dict[str, set[Span]]:
        return {name: {span for span in found if type_of(span) == kind} for name, found in spans.items()}

    return {kind: match_entities(of(kind, gold), of(kind, predicted)) for kind in types_of(gold, predicted)}


def _count(matching: Matching, documents: Iterable[tuple[Sequence[Span], Sequence[Span]]]) -> Matches:
    correct = touching = missed = spurious = 0
    for gold, found in documents:
        right, gold, found = _pair(gold, found, MATCHINGS[matching])
        wrong, gold, found = _pair(gold, found, _overlaps)
        correct, touching = correct + right, touching + wrong
        missed, spurious = missed + len(gold), spurious + len(found)
    partial = touching if matching == "partial" else 0
    possible, actual = correct + touching + missed, correct + touching + spurious
    points = correct + partial / 2
    return {
        "correct": correct,
        "incorrect": touching - partial,
        "partial": partial,
        "missed": missed,
        "spurious": spurious,
        "possible": possible,
        "actual": actual,
        "precision": 100 * points / actual if actual else 0.0,
        "recall": 100 * points / possible if possible else 0.0,
        "f1": 200 * points / (possible + actual) if possible + actual else 0.0,
    }


def _pair(
    gold: Sequence[Span], predicted: Sequence[Span], agree: Agreement
) -> tuple[int, list[Span], list[Span]]:
    """The number of pairs that agree, and the mentions and predictions that are left."""
    left, alone = list(gold), []
    for found in predicted:
        place = next((place for place, span in enumerate(left) if agree(span, found)), None)
        if place is None:
            alone.append(found)
        else:
            del left[place]
    return len(gold) - len(left), left, alone
