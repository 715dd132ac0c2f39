"""Intervals and comparisons by resampling whole documents (Efron and Tibshirani 1993; Koehn 2004).

What was counted of a document is kept, so that any resample's score can be computed again. Mentions of one
document are no independent observations, and neither are two seeds' answers about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from biobert_scale.evaluation.metrics.similarity import correlation, moments
from biobert_scale.evaluation.metrics.words import macro_f1, type_table
from biobert_scale.evaluation.scores import Answers, Counts, Measure, Statistics, TypeCounts, Values


class PairedDifference(TypedDict):
    """The score of one system minus another's, in points."""

    difference: float
    low: float
    """The ends of its 95% interval."""
    high: float
    p_not_better: float
    """The share of resamples in which the first is not better."""


def bootstrap_interval(
    *runs: Sequence[Statistics], measure: Measure = "micro", samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of the runs' mean score.

    Args:
        runs: what was counted of the same documents, one sequence per seed.
    """
    low, high = np.percentile(_resample([runs], measure, samples, seed)[0], (2.5, 97.5))
    return float(low), float(high)


def paired_bootstrap(
    first: Sequence[Sequence[Statistics]],
    second: Sequence[Sequence[Statistics]],
    *,
    measure: Measure = "micro",
    samples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two systems on the same documents; each is a list of runs, and its score their mean."""
    assert {len(run) for run in (*first, *second)} == {len(first[0])}
    of_first, of_second = _resample([first, second], measure, samples, seed)
    difference = of_first - of_second
    low, high = np.percentile(difference, (2.5, 97.5))
    means = [float(np.mean([score_of(run, measure) for run in system])) for system in (first, second)]
    return {
        "difference": means[0] - means[1],
        "low": float(low),
        "high": float(high),
        "p_not_better": float((difference <= 0).mean()),
    }


def score_of(documents: Sequence[Statistics], measure: Measure = "micro") -> float:
    """The score of one run, in percent."""
    return float(_scores(np.ones((1, len(documents)), np.int64), documents, measure)[0])


def read_statistics(row: dict[str, Any], measure: Measure) -> Statistics:
    """What `documents.jsonl` says of a document, its name left out."""
    return _FORMULAS[measure].row(**row)


def _resample(
    systems: Sequence[Sequence[Sequence[Statistics]]], measure: Measure, samples: int, seed: int
) -> list[NDArray[np.float64]]:
    """Every system's mean score over its runs in every resample."""
    documents = len(systems[0][0])
    assert documents > 0
    # How often each document is drawn, (samples, documents): the same draws for every system.
    chances = np.full(documents, 1 / documents)
    weights = np.random.default_rng(seed).multinomial(documents, chances, size=samples)
    return [np.mean([_scores(weights, run, measure) for run in system], axis=0) for system in systems]


def _scores(
    weights: NDArray[np.int64], documents: Sequence[Statistics], measure: Measure
) -> NDArray[np.float64]:
    """The score under each row of document weights, (rows,), in percent."""
    formula = _FORMULAS[measure]
    return formula.score(weights @ formula.table(documents))


class _Formula(NamedTuple):
    """A score that is computed from sums over documents."""

    row: type[Statistics]
    table: Callable[[Any], NDArray[Any]]
    """Documents' statistics -> what is summed, (documents, statistics)."""
    score: Callable[[NDArray[Any]], NDArray[np.float64]]
    """Sums, (rows, statistics) -> scores, (rows,), in percent."""


def _counts(documents: Sequence[Counts]) -> NDArray[np.int64]:
    return np.array([(c.tp, c.fp, c.fn) for c in documents])


def _micro(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    pooled: NDArray[np.float64] = 200.0 * sums[:, 0] / np.maximum(sums @ (2, 1, 1), 1)
    return pooled


def _examples(documents: Sequence[Counts]) -> NDArray[np.float64]:
    return np.array([(c.precision, c.recall, 1.0) if c.tp + c.fn else (0.0, 0.0, 0.0) for c in documents])


def _harmonic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    precision, recall, labelled = sums.T
    both = precision + recall
    each = np.where(both > 0, 2 * precision * recall / np.maximum(both, 1e-12), 0.0)
    averaged: NDArray[np.float64] = each / np.maximum(labelled, 1.0)
    return averaged


def _answers(documents: Sequence[Answers]) -> NDArray[np.int64]:
    return np.array([(a.correct, a.total) for a in documents])


def _share(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = 100.0 * sums[:, 0] / np.maximum(sums[:, 1], 1)
    return share


_FORMULAS: dict[Measure, _Formula] = {
    "micro": _Formula(Counts, _counts, _micro),
    "example": _Formula(Counts, _examples, _harmonic),
    "accuracy": _Formula(Answers, _answers, _share),
    "pearson": _Formula(Values, moments, correlation),
    "macro": _Formula(TypeCounts, type_table, macro_f1),
}
