"""What the end-to-end table holds."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from benchmarks.result import Conditions
from benchmarks.trainer import Trained
from biobert_scale.config import Config


class StageCost(TypedDict):
    """Of one stage, in a process of its own."""

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    start_seconds: NotRequired[float]
    """Of the training: until its first step."""


class Parsed(TypedDict):
    """The peer's reading of the raw files."""

    documents: int


class PeerTraining(Trained):
    """The peer's training."""

    ready_at: float
    """When the model and the data were there, in seconds since the epoch."""


class Way(Trained):
    """One side's way from raw XML to a model."""

    name: str
    documents: int
    """Trained on."""
    stages: dict[str, StageCost]


class Side(Way):
    """With its final model's loss on the held-out documents in the peer's form."""

    blocks_loss: float


class Files(TypedDict):
    """What both sides read."""

    files: int
    records: int
    left_out: int
    """Records at which pubmed-parser stops."""


class EndToEndResult(Conditions):
    """All of it."""

    load_before: float
    device: str
    recipe_dtype: str
    files: Files
    settings: Config
    loss: float
    """Held-out MLM loss in nats, the time to which is compared."""
    loss_given: bool
    """Or the worse of the two final losses."""
    rounds: list[list[Side]]
    """This package's side and its peer's, a round each."""
