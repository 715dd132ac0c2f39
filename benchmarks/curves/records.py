"""What the curves table holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.learning.records import Settings
from benchmarks.result import Conditions


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One setting's curve beside that of the settings as shipped. Differences are relative to the latter."""

    switch: str
    """What was changed, in words."""
    changes: dict[str, Any]
    """Fields of `compute`."""
    early: float
    """Largest of a step's loss in the first quarter of the steps."""
    largest: float
    """Of any step's loss."""
    at_step: int
    """Where that was, counted from 1."""
    end: float
    """Of the mean over the last quarter of the steps, with its sign."""
    early_tolerance: float | None
    tolerance: float | None
    """Of `early` and `largest`; None where the curves part by chance."""
    end_tolerance: float
    within: bool
    """Whether the setting left the mathematics as it was, as far as can be seen."""


class CurveSettings(Settings):
    """Of the recipe as it was trained."""

    vocabulary: int


class CurvesResult(Conditions):
    """All of it."""

    device: str
    settings: CurveSettings
    steps: int
    end_steps: int
    seeds: int
    dropout: float
    standard_errors: float
    rows: list[Comparison]
    curves: dict[str, list[float]]
    """Loss of each step by setting."""
    dropout_curves: dict[str, list[list[float]]]
    """By setting and seed."""
