"""Scores of entities and documents, in percent, with no library behind them but NumPy.

Entities count as found when both ends agree exactly. Sources: the CoNLL-2003 shared task (`conlleval`);
Ramshaw and Marcus 1995 for the tags; Gu et al. 2021 (BLURB) and Peng et al. 2019 (BLUE) for the documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

Repair = Literal["conlleval", "discard"]
REPAIRS: tuple[Repair, ...] = ("conlleval", "discard")


class Measures(TypedDict):
    """Scores in percent with what they were counted from, as in `metrics.json`."""

    precision: NotRequired[float]
    recall: float
    f1: NotRequired[float]
    tp: NotRequired[int]
    fp: NotRequired[int]
    fn: NotRequired[int]
    documents: NotRequired[int]


class PairedDifference(TypedDict):
    """F1 of one system minus another's, in points."""

    difference: float
    low: float
    """The ends of its 95% interval."""
    high: float
    p_not_better: float
    """The share of resamples in which the first is not better."""


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


def count_entities(
    gold: Sequence[set[tuple[int, int]]], predicted: Sequence[set[tuple[int, int]]]
) -> list[Counts]:
    """Counts of each document, from the spans (document characters) of its gold and predicted entities."""
    return [Counts(len(g & p), len(p - g), len(g - p)) for g, p in zip(gold, predicted, strict=True)]


def count_labels(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> list[Counts]:
    """Counts of each document over its labels; both arguments are (documents, labels).

    Their sum's F1 is the micro-F1 that BLURB reports for the hallmarks.
    """
    tp, fp, fn = (gold & predicted).sum(1), (~gold & predicted).sum(1), (gold & ~predicted).sum(1)
    return [Counts(int(a), int(b), int(c)) for a, b, c in zip(tp, fp, fn, strict=True)]


def example_based_f1(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Measures:
    """BLUE's score for the hallmarks: the harmonic mean of mean precision and mean recall over labelled
    documents.

    Documents without a gold label are no part of that benchmark and are left out. Not comparable with
    micro-F1.

    Args:
        gold, predicted: (documents, labels).
    """
    labelled = gold.any(1)
    counts = count_labels(gold[labelled], predicted[labelled])
    precision = float(np.mean([count.precision for count in counts])) if counts else 0.0
    recall = float(np.mean([count.recall for count in counts])) if counts else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "documents": int(labelled.sum())}


def total(counts: Sequence[Counts]) -> Counts:
    return sum(counts, Counts())


Measure = Literal["micro", "example"]
"""F1 of the summed counts; or the harmonic mean of documents' mean precision and mean recall
(`example_based_f1`)."""


def bootstrap_interval(
    *runs: Sequence[Counts], measure: Measure = "micro", samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of the runs' mean F1, resampling whole documents (Efron and Tibshirani 1993).

    Args:
        runs: counts of the same documents, one sequence per seed: mentions of one document are no independent
            observations, and neither are two seeds' answers about it.
    """
    low, high = np.percentile(_resample([runs], measure, samples, seed)[0], (2.5, 97.5))
    return float(low), float(high)


def paired_bootstrap(
    first: Sequence[Sequence[Counts]],
    second: Sequence[Sequence[Counts]],
    *,
    measure: Measure = "micro",
    samples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two systems on the same documents (Koehn 2004); each is a list of runs, and its score their
    mean."""
    assert {len(run) for run in (*first, *second)} == {len(first[0])}
    f1_first, f1_second = _resample([first, second], measure, samples, seed)
    difference = f1_first - f1_second
    low, high = np.percentile(difference, (2.5, 97.5))
    means = [float(np.mean([f1_of(run, measure) for run in system])) for system in (first, second)]
    return {
        "difference": means[0] - means[1],
        "low": float(low),
        "high": float(high),
        "p_not_better": float((difference <= 0).mean()),
    }


def f1_of(counts: Sequence[Counts], measure: Measure = "micro") -> float:
    """The F1 of one run, in percent."""
    return float(_f1s(np.ones((1, len(counts)), np.int64), counts, measure)[0])


def _resample(
    systems: Sequence[Sequence[Sequence[Counts]]], measure: Measure, samples: int, seed: int
) -> list[NDArray[np.float64]]:
    """Every system's mean F1 over its runs in every resample."""
    documents = len(systems[0][0])
    assert documents > 0
    # How often each document is drawn, (samples, documents): the same draws for every system.
    chances = np.full(documents, 1 / documents)
    weights = np.random.default_rng(seed).multinomial(documents, chances, size=samples)
    return [np.mean([_f1s(weights, run, measure) for run in system], axis=0) for system in systems]


def _f1s(weights: NDArray[np.int64], counts: Sequence[Counts], measure: Measure) -> NDArray[np.float64]:
    """F1 under each row of document weights, (rows,), in percent."""
    if measure == "micro":
        sums = weights @ np.array([(c.tp, c.fp, c.fn) for c in counts])
        pooled: NDArray[np.float64] = 200.0 * sums[:, 0] / np.maximum(sums @ (2, 1, 1), 1)
        return pooled
    table = np.array([(c.precision, c.recall, 1.0) if c.tp + c.fn else (0.0, 0.0, 0.0) for c in counts])
    precision, recall, labelled = (weights @ table).T
    both = precision + recall
    each = np.where(both > 0, 2 * precision * recall / np.maximum(both, 1e-12), 0.0)
    averaged: NDArray[np.float64] = each / np.maximum(labelled, 1.0)
    return averaged
