"""Scores of entities and documents, in percent, with no library behind them but NumPy.

Entities count as found when both ends agree exactly. Sources: the CoNLL-2003 shared task (`conlleval`); Ramshaw and
Marcus 1995 for the tags; Gu et al. 2021 (BLURB) and Peng et al. 2019 (BLUE) for the documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Repair = Literal["conlleval", "discard"]
REPAIRS: tuple[Repair, ...] = ("conlleval", "discard")


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; scores in percent, 0 where nothing could be counted."""

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

    def as_dict(self) -> dict[str, Any]:
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1, **asdict(self)}


def _percent(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else 0.0


def entity_spans(tags: Sequence[str], repair: Repair = "conlleval") -> list[tuple[str, int, int]]:
    """Entities of one sentence.

    Args:
        tags: IOB2 tags, with types (`B-Disease`) or without (`B`).
        repair: what becomes of an I that continues nothing. "conlleval": it begins an entity (as the CoNLL script counts);
            "discard": it is no entity (strict IOB2). The two differ by several points on noisy output.

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


def count_entities(gold: Sequence[set[tuple[int, int]]], predicted: Sequence[set[tuple[int, int]]]) -> list[Counts]:
    """Counts of each document, from the spans (document characters) of its gold and predicted entities."""
    return [Counts(len(g & p), len(p - g), len(g - p)) for g, p in zip(gold, predicted, strict=True)]


def count_labels(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> list[Counts]:
    """Counts of each document over its labels; both arguments are (documents, labels).

    Their sum's F1 is the micro-F1 that BLURB reports for the hallmarks.
    """
    tp, fp, fn = (gold & predicted).sum(1), (~gold & predicted).sum(1), (gold & ~predicted).sum(1)
    return [Counts(int(a), int(b), int(c)) for a, b, c in zip(tp, fp, fn, strict=True)]


def example_based_f1(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> dict[str, float]:
    """BLUE's score for the hallmarks: the harmonic mean of mean precision and mean recall over labelled documents.

    Documents without a gold label are no part of that benchmark and are left out. Not comparable with micro-F1.

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


def bootstrap_interval(counts: Sequence[Counts], *, samples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95% percentile interval of the F1, resampling whole documents (Efron and Tibshirani 1993).

    Args:
        counts: one per document: mentions of one document are no independent observations.
    """
    low, high = np.percentile(_resample(counts, samples, seed)[0], (2.5, 97.5))
    return float(low), float(high)


def paired_bootstrap(first: Sequence[Counts], second: Sequence[Counts], *, samples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Compare two systems on the same documents (Koehn 2004).

    Returns:
        `difference` of F1 (first minus second, points), its 95% interval `low` to `high`, and `p_not_better`, the share of
        resamples in which the first is not better.
    """
    assert len(first) == len(second)
    f1_first, f1_second = _resample(first, samples, seed, second)
    difference = f1_first - f1_second
    low, high = np.percentile(difference, (2.5, 97.5))
    return {
        "difference": total(first).f1 - total(second).f1,
        "low": float(low),
        "high": float(high),
        "p_not_better": float((difference <= 0).mean()),
    }


def _resample(counts: Sequence[Counts], samples: int, seed: int, *others: Sequence[Counts]) -> list[NDArray[np.float64]]:
    documents = len(counts)
    assert documents > 0
    # How often each document is drawn, (samples, documents): the same draws for every system.
    weights = np.random.default_rng(seed).multinomial(documents, np.full(documents, 1 / documents), size=samples)
    return [_f1(weights @ np.array([(c.tp, c.fp, c.fn) for c in system])) for system in (counts, *others)]


def _f1(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    whole = 2 * sums[:, 0] + sums[:, 1] + sums[:, 2]
    return 200.0 * sums[:, 0] / np.maximum(whole, 1)
