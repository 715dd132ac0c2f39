"""Scores of labels: one for each text, or any number of them.

Gu et al. 2021 (BLURB): micro-F1 for relations, where the label of unrelated pairs is no prediction, and for
the hallmarks; accuracy for answers. Peng et al. 2019 (BLUE): example-based F1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biobert_scale.evaluation.scores import Answers, Counts, Measures, total


def count_labels(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> list[Counts]:
    """Counts of each text over its labels; both arguments are (texts, labels).

    Their sum's F1 is the micro-F1 of the labels. A label that is to count as no prediction has no column.
    """
    tp, fp, fn = (gold & predicted).sum(1), (~gold & predicted).sum(1), (gold & ~predicted).sum(1)
    return [Counts(int(a), int(b), int(c)) for a, b, c in zip(tp, fp, fn, strict=True)]


def micro_f1(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Measures:
    """Precision, recall and F1 of all texts' counts together."""
    return total(count_labels(gold, predicted)).as_dict()


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


def count_answers(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> list[Answers]:
    """Whether each text has exactly its gold labels; both arguments are (texts, labels)."""
    return [Answers(int(right), 1) for right in (gold == predicted).all(1)]


def accuracy(gold: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Measures:
    """The share of texts that have exactly their gold labels."""
    return total_answers(count_answers(gold, predicted)).as_dict()


def total_answers(answers: Sequence[Answers]) -> Answers:
    return sum(answers, Answers())
