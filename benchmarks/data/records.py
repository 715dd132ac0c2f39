"""What the data table holds. Lists of seconds or speeds have one entry a turn."""

from __future__ import annotations

from typing import TypedDict

from benchmarks.result import Conditions
from benchmarks.turns import Speed


class SampleRace(TypedDict):
    """Speeds at one length."""

    max_seq_length: int
    samples: int
    speeds: list[Speed]


class Guesses(TypedDict):
    """How well a decision tree guesses the NSP label; one accuracy a fold."""

    pairs: int
    random_share: float
    accuracy: list[float]
    balanced_accuracy: list[float]


class LabelTree(Guesses):
    """Of which pairs."""

    max_seq_length: int
    documents: str
    name: str
    """Whose pairs they are."""


class IndexBuilding(TypedDict):
    """Packing on one core, and the whole stage."""

    tokens: int
    samples: int
    shards: int
    stage_tokens: int
    packing_cpu_seconds: list[float]
    stage_seconds: dict[str, list[float]]
    """By number of workers, by the clock."""


class TokenizingSpeed(TypedDict):
    """One contestant."""

    name: str
    cpu_seconds: list[float]
    seconds: list[float]
    tokens: int


class Tokenizing(TypedDict):
    """Text to word pieces."""

    megabytes: float
    """UTF-8 text, 10^6 bytes."""
    documents: int
    speeds: list[TokenizingSpeed]


class Drawn(TypedDict):
    """A fresh process that opened a data stream and drew one step."""

    import_seconds: float
    """Of starting Python too."""
    open_seconds: float
    draw_seconds: float
    private_megabytes_before: float
    private_megabytes_after: float
    sequences: int
    tokens: int


class FirstStep(Drawn):
    """Medians of several."""

    world_size: int
    rank: int
    step: int


class SimulatedIndex(TypedDict):
    """A very large index and its tokens."""

    samples: int
    tokens: int
    shards: int
    index_bytes: int


class LargeIndex(SimulatedIndex):
    """With what opening it takes."""

    first_step: list[FirstStep]


class Ratio(TypedDict):
    """Of the maximum to the mean."""

    mean: float
    worst: float


class Balance(TypedDict):
    """How evenly tokens are spread over ranks and micro-steps."""

    steps: int
    samples: int
    mean_length: float
    ways: dict[str, dict[str, Ratio]]
    """By how samples are assigned, then `micro_batch` (the fullest of a micro-step over their mean), `rank`
    (the same of the ranks' totals) and `step` (all micro-steps' fullest over perfectly equal ones)."""


class DocumentsBalance(Balance):
    """Of which documents."""

    documents: str


class CorpusSize(TypedDict):
    """What was measured on."""

    documents: int
    sentences: int
    tokens: int
    vocabulary: int


class DataResult(Conditions):
    """All of it."""

    load_before: float
    corpus: CorpusSize
    samples: list[SampleRace]
    labels: list[LabelTree]
    index: IndexBuilding
    tokenizing: Tokenizing
    large: LargeIndex
    balance: DocumentsBalance
