"""Scores of numbers, such as the similarity of two sentences: Pearson's correlation, in percent as BLURB and
BLUE give it for BIOSSES."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from biobert_scale.evaluation.scores import Measures, Values

_LEAST_VARIANCE = 1e-12
"""Of a resample, relative to the whole set: below it all numbers are the same one, up to rounding."""


def pearson(gold: Iterable[float], predicted: Iterable[float]) -> Measures:
    """Pearson's correlation; 0 where one side does not vary."""
    values = [Values([one], [other]) for one, other in zip(gold, predicted, strict=True)]
    return {"pearson": float(correlation(moments(values).sum(0)[None])[0]), "documents": len(values)}


def moments(documents: Sequence[Values]) -> NDArray[np.float64]:
    """What the correlation is computed from, (documents, 6): the number of pairs, and sums of x, y, their
    squares and their product.

    Both are standardised over all documents first: raw squares of numbers that hardly vary lose their digits.
    """
    sizes = [len(document.gold) for document in documents]
    owners = np.repeat(np.arange(len(documents)), sizes)
    x = _standardised(np.array([value for document in documents for value in document.gold], np.float64))
    y = _standardised(np.array([value for document in documents for value in document.predicted], np.float64))
    sums = [
        np.bincount(owners, each, len(documents)) for each in (np.ones(len(x)), x, y, x * x, y * y, x * y)
    ]
    return np.stack(sums, axis=1)


def correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The correlations, (rows,), of sums of moments, (rows, 6)."""
    number, x, y, xx, yy, xy = sums.T / np.maximum(sums[:, 0], 1)
    variances = xx - x * x, yy - y * y
    varies = (np.minimum(*variances) > _LEAST_VARIANCE) & (number > 0)
    scale = np.sqrt(np.where(varies, variances[0] * variances[1], 1.0))
    found: NDArray[np.float64] = np.where(varies, 100.0 * (xy - x * y) / scale, 0.0)
    return np.clip(found, -100.0, 100.0)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values) or np.ptp(values) == 0:
        return np.zeros_like(values)
    # Scaled before it is squared: differences of 1e-200 are numbers too.
    centred = values - values.mean()
    centred /= np.abs(centred).max()
    centred -= centred.mean()
    standardised: NDArray[np.float64] = centred / centred.std()
    return standardised
