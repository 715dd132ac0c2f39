"""What the parts of the GPU suite measure."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from benchmarks.result import Conditions
from benchmarks.train_step.records import Contest, Operation


class Products(TypedDict):
    """Square matrix products."""

    device: str
    torch: str
    size: int
    flops_per_second: dict[str, float]
    """Sustained, by type."""


class Error(TypedDict):
    """Relative, against the plain way in fp32."""

    loss: float
    gradient: float


class DropoutError(TypedDict):
    """Attention with dropout, against a plain computation in fp32 with the same mask."""

    probability: float
    dropped: float
    """The fraction."""
    standard_error: float
    """Of that fraction."""
    values: float
    """Relative error of what was kept."""
    gradient: float
    """Largest relative error of the gradients of query, key and value."""


class Comparison(TypedDict):
    """Losses and gradients by how they were computed."""

    errors: dict[str, Error]
    leak: float
    """How far a changed neighbour changes a sequence's loss."""


class JudgedComparison(Comparison):
    """With dropout."""

    dropout: dict[str, DropoutError]


class Parity(JudgedComparison):
    """With what is out of its bounds, a line each."""

    troubles: list[str]


class SweepRow(TypedDict):
    """A step of 256 sequences; of one that could not be taken, why."""

    dtype: str
    lengths: str
    engine: str
    compiled: bool
    micro_batch_size: int
    pad_to_multiple_of: NotRequired[int]
    first_seconds: NotRequired[float]
    seconds: NotRequired[list[float]]
    memory_bytes: NotRequired[int]
    sequences: NotRequired[int]
    tokens: NotRequired[int]
    flops: NotRequired[float]
    failed: NotRequired[str]


class Sweep(TypedDict):
    """All rows so far."""

    rows: list[SweepRow]


class SuiteContest(Contest):
    """On samples of which lengths."""

    lengths: str


class Contests(TypedDict):
    """All contests so far."""

    contests: list[SuiteContest]


class TrainerRun(TypedDict):
    """What `train` logged; speed is that of the second half of its steps."""

    dtype: str
    compiled: bool
    steps: int
    sequences_per_second: float
    mfu: float
    data_wait_fraction: float
    loss_scales: list[float | None]
    skipped_steps: int
    losses: list[float]
    peak_memory_bytes: int
    checkpoint_stall_seconds: list[float]
    checkpoint_write_seconds: list[float]


class Profile(TypedDict):
    """Kernels of a step by their time."""

    engine: str
    compiled: bool
    seconds: float
    kernels: list[Operation]


class Profiles(TypedDict):
    """All profiles so far."""

    profiles: list[Profile]


class SuiteResult(Conditions):
    """All of it."""

    tiny: bool
    gpu: str
    commit: str
    parts: dict[str, Any]
    """By part: `Products`, `Parity`, `Sweep`, `Contests`, `TrainerRun` or `Profiles`."""
    seconds: dict[str, float]
    cut_short: dict[str, str]
    left_out: dict[str, str]
    failed: dict[str, str]
