"""How far a classifier's probabilities are from how often it is right (Guo et al. 2017, "On Calibration of
Modern Neural Networks")."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of one width from 0 to 1, as in that paper."""


class Calibration(TypedDict):
    """In percent."""

    ece: float
    """Expected calibration error: the difference of confidence and accuracy in each bin, weighted by its
    decisions."""
    confidence: float
    """The mean probability of the answers given."""
    accuracy: float
    """How many of them are right."""


def calibration(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Calibration:
    """Compare decisions' probabilities with their success.

    Args:
        confidence: (decisions,) each answer's probability.
        right: (decisions,) whether it is the gold one.
    """
    chances = confidence.astype(np.float64)
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], chances)
    surplus = np.bincount(bins, chances - right, BINS)
    decisions = max(len(right), 1)
    return {
        "ece": float(100 * np.abs(surplus).sum() / decisions),
        "confidence": float(100 * chances.sum() / decisions),
        "accuracy": float(100 * right.sum() / decisions),
    }


def single_label_calibration(probabilities: NDArray[np.floating], gold: NDArray[np.bool_]) -> Calibration:
    """Of the likeliest label of each text; both arguments are (texts, labels)."""
    best = probabilities.argmax(1)
    rows = np.arange(len(best))
    return calibration(probabilities[rows, best], gold[rows, best])


def multi_label_calibration(probabilities: NDArray[np.floating], gold: NDArray[np.bool_]) -> Calibration:
    """Of every yes and no, each label of each text being a decision; both arguments are (texts, labels)."""
    given = probabilities > 0.5
    return calibration(np.where(given, probabilities, 1 - probabilities).ravel(), (given == gold).ravel())
