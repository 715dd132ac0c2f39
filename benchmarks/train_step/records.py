"""What the train-step table holds."""

from __future__ import annotations

from typing import TypedDict

from benchmarks.result import Machine


class Operation(TypedDict):
    """Of a profile: an operation, or on a GPU a kernel."""

    name: str
    seconds: float
    """Its own, without what it calls."""
    share: float
    """Of all operations' seconds."""
    count: int


class Computed(TypedDict):
    """The same steps for all contestants, and the device."""

    machine: Machine
    versions: dict[str, str]
    dtype: str
    steps: int
    sequences: int
    """Of all steps, as are the next three."""
    tokens: int
    predictions: int
    flops: float
    """What tokens and predictions need."""
    mean_length: float
    max_seq_length: int
    micro_batch_size: int
    global_batch_size: int
    model: list[int]
    """Layers, hidden size, intermediate size, vocabulary entries."""
    peak: float
    """FLOP/s of the device."""


class Contest(Computed):
    """Contestants on the same steps."""

    seconds: dict[str, list[float]]
    """Of all steps, by contestant, a turn each."""
    peak_memory_bytes: dict[str, int]
    failed: dict[str, str]
    """Why others could not take part."""


class TrainStepResult(Contest):
    """All of it."""

    date: str
    command: str
    name: str
    kind: str
    """`train-step` or `ablation`."""
    profile: list[Operation]
    """Where this project's step spends its time; empty where that was not asked for."""
