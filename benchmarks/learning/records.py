"""What the learning table holds."""

from __future__ import annotations

from typing import Any, TypedDict

from benchmarks.result import Conditions
from benchmarks.trainer import Trained
from biobert_scale.config import DataConfig, ModelConfig, TrainingConfig


class PeerTraining(Trained):
    """The `Trainer`'s side."""

    attention: str
    """transformers' name of how it is computed."""


class Training(PeerTraining):
    """A side by name."""

    name: str
    engine: str
    schedule: str


class Side(Training):
    """With what its whole process took."""

    whole_seconds: float
    whole_cpu_seconds: float


class Settings(TypedDict):
    """Of the recipe as both sides ran it."""

    seed: int
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig


class LearningResult(Conditions):
    """All of it."""

    load_before: float
    device: str
    recipe_dtype: str
    tokens: dict[str, Any]
    """Counts of the token shards' manifest."""
    settings: Settings
    sides: list[Side]
    """This package's, then its peer's."""
