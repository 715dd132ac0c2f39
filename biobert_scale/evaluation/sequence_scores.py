"""Scores of rows: from labels or numbers to each task's metric, by document, and to where the errors lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biobert_scale.evaluation.metrics.bootstrap import bootstrap_interval, score_of
from biobert_scale.evaluation.metrics.labels import (
    accuracy,
    count_answers,
    count_labels,
    example_based_f1,
    micro_f1,
)
from biobert_scale.evaluation.metrics.similarity import pearson
from biobert_scale.evaluation.prepared import Row
from biobert_scale.evaluation.protocols import SCORES
from biobert_scale.evaluation.records import Breakdown, Scored
from biobert_scale.evaluation.scores import Measure, Measures, Statistics, Values
from biobert_scale.evaluation.tasks.spec import Kind, Task

_LENGTHS: dict[Kind, tuple[int, int]] = {"relations": (20, 40), "similarity": (20, 40)}
"""Words in a text that is short, and that is long; 200 and 300 for the other kinds, which are of whole
abstracts."""


def gold_of(task: Task, rows: Sequence[Row]) -> NDArray[Any]:
    """Gold labels, (rows, labels) bool; of similarity numbers, (rows,) fp64."""
    if task.kind == "similarity":
        return np.array([row.label for row in rows], np.float64)
    numbers = {label: number for number, label in enumerate(task.labels)}
    matrix = np.zeros((len(rows), len(numbers)), bool)
    for place, row in enumerate(rows):
        labels = row.label if isinstance(row.label, list) else [row.label]
        matrix[place, [numbers[str(label)] for label in labels]] = True
    return matrix


def decide(task: Task, predictions: NDArray[Any]) -> NDArray[Any]:
    """From probabilities, (rows, labels), to labels of the same shape, bool: all above 0.5, or the likeliest
    one; of similarity from (rows, 1) to numbers, (rows,)."""
    if task.kind == "similarity":
        return predictions[:, 0]
    if task.multi_label:
        return predictions > 0.5
    found: NDArray[np.bool_] = np.arange(len(task.labels)) == predictions.argmax(1)[:, None]
    return found


def score_rows(task: Task, rows: Sequence[Row], predicted: NDArray[Any]) -> Scored:
    """Score answers, as `decide` returns them.

    Returns:
        `score` is the task's metric. Of labels, `scores` have micro-F1 over all but the negative one, and
        beside it the accuracy, or where a text has any number of labels the example-based F1: different
        measures, never to be compared with each other.
    """
    measure = SCORES[task.metric].measure
    # An average over texts has no other unit.
    names = [row.id if measure == "example" else row.document for row in rows]
    documents: dict[str, Any] = {}
    for name, found in zip(names, _count(task, measure, gold_of(task, rows), predicted), strict=True):
        documents[name] = documents[name] + found if name in documents else found
    counts = list(documents.values())
    return {
        "score": score_of(counts, measure),
        "scores": _measures(task, measure, gold_of(task, rows), predicted),
        "interval_95": bootstrap_interval(counts, measure=measure),
        "documents": documents,
    }


def _count(task: Task, measure: Measure, gold: NDArray[Any], predicted: NDArray[Any]) -> Sequence[Statistics]:
    if measure == "pearson":
        return [Values([one], [other]) for one, other in zip(gold.tolist(), predicted.tolist(), strict=True)]
    if measure == "accuracy":
        return count_answers(gold, predicted)
    counted = _counted(task)
    return count_labels(gold[:, counted], predicted[:, counted])


def _counted(task: Task) -> list[int]:
    """The columns of the labels that are predictions."""
    return [number for number, label in enumerate(task.labels) if label != task.negative]


def _measures(
    task: Task, measure: Measure, gold: NDArray[Any], predicted: NDArray[Any]
) -> dict[str, Measures]:
    if measure == "pearson":
        return {"pearson": pearson(gold, predicted)}
    beside: Measure = "example" if task.multi_label else "accuracy"
    counted = _counted(task)
    of_labels = gold[:, counted], predicted[:, counted]
    formulas = {
        "micro": lambda: micro_f1(*of_labels),
        "example": lambda: example_based_f1(*of_labels),
        "accuracy": lambda: accuracy(gold, predicted),
    }
    return {name: formulas[name]() for name in dict.fromkeys(["micro", beside, measure])}


def break_down(task: Task, rows: Sequence[Row], predicted: NDArray[Any]) -> Breakdown:
    """Where the errors lie.

    Returns:
        `by_type`: counts and scores of each label but the negative one; `by_length`: of rows with so many
        words.
    """
    gold, by_type = gold_of(task, rows), {}
    if task.labels:
        counted = _counted(task)
        by_type = {task.labels[n]: micro_f1(gold[:, [n]], predicted[:, [n]]) for n in counted}
        gold, predicted = gold[:, counted], predicted[:, counted]
    words = np.array([len(" ".join(row.texts).split()) for row in rows])
    short, long = _LENGTHS.get(task.kind, (200, 300))
    by_length: dict[str, Measures] = {}
    for name, low, high in (
        (f"below {short}", 0, short),
        (f"{short} to {long - 1}", short, long),
        (f"{long} and more", long, 10**9),
    ):
        chosen = (low <= words) & (words < high)
        measured = pearson if task.kind == "similarity" else micro_f1
        by_length[name] = {"documents": int(chosen.sum()), **measured(gold[chosen], predicted[chosen])}
    return {"by_type": by_type, "by_length": by_length}
