"""Scores of words: which of them are part of a mention of which type, without the mentions' ends.

Gu et al. 2021 (BLURB) score EBM-PICO so: F1 over the words of participants, interventions and outcomes, and
the mean of the three.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biobert_scale.evaluation.scores import Counts, Measures, TypeCounts


def count_words(gold: Sequence[str], predicted: Sequence[str]) -> TypeCounts:
    """Counts of a document's words for each type; in tags (`B-TYPE`, `I-TYPE`, `O`) B and I mean the same."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for tag, answer in zip(gold, predicted, strict=True):
        due, given = tag.partition("-")[2], answer.partition("-")[2]
        if tag != "O":
            found[due][0 if answer != "O" and due == given else 2] += 1
        if answer != "O" and (tag == "O" or due != given):
            found[given][1] += 1
    return TypeCounts(dict(found))


def word_scores(documents: Sequence[TypeCounts]) -> dict[str, Measures]:
    """Precision, recall and F1 of each type."""
    kinds = sorted({kind for document in documents for kind in document.types})
    sums = type_table(documents).sum(0).reshape(-1, 3)
    return {kind: Counts(*map(int, row)).as_dict() for kind, row in zip(kinds, sums, strict=True)}


def word_macro_f1(documents: Sequence[TypeCounts]) -> Measures:
    """The mean F1 of all types that are in the gold or predicted, and so of precision and recall."""
    found = list(word_scores(documents).values())
    rows = [(each["precision"], each["recall"], each["f1"]) for each in found] or [(0.0, 0.0, 0.0)]
    precision, recall, f1 = np.mean(rows, axis=0).tolist()
    return {"precision": precision, "recall": recall, "f1": f1}


def type_table(documents: Sequence[TypeCounts]) -> NDArray[np.int64]:
    """(documents, 3 x types): tp, fp and fn of every type that any document has, in alphabetical order."""
    kinds = sorted({kind for document in documents for kind in document.types})
    rows = [[number for kind in kinds for number in each.types.get(kind, (0, 0, 0))] for each in documents]
    return np.array(rows, np.int64).reshape(len(documents), 3 * len(kinds))


def macro_f1(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean F1, (rows,), of sums of such tables, (rows, 3 x types)."""
    of_types = sums.reshape(len(sums), -1, 3)
    weighted = of_types @ np.array([2, 1, 1])
    f1 = 200.0 * of_types[..., 0] / np.maximum(weighted, 1)
    mean: NDArray[np.float64] = f1.sum(1) / np.maximum((weighted > 0).sum(1), 1)
    return mean
