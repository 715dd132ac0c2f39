"""What a scored run writes to `metrics.json`, and what is made of many: the keys and their types.

Scores are in percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from biobert_scale.evaluation.metrics.bootstrap import PairedDifference
from biobert_scale.evaluation.metrics.calibration import Calibration
from biobert_scale.evaluation.metrics.matches import Matches, Matching
from biobert_scale.evaluation.published import PublishedScores
from biobert_scale.evaluation.scores import Measure, Measures, Statistics
from biobert_scale.evaluation.tasks.spec import Kind


class Shared(TypedDict):
    """How many of a split's texts are in train."""

    in_train: int
    total: int


Overlap = dict[str, Shared]
"""By unit: `documents`, `sentences`, `mentions` and `names` (different mentions) of entities; `rows` of other
kinds, and `documents` where these have several rows."""


class RunDescription(TypedDict):
    """What every `metrics.json` begins with."""

    task: str
    task_kind: NotRequired[Kind]
    """Older runs say nothing of it."""
    protocol: str
    score_name: str
    measure: Measure
    kind: str
    """`pre-trained`, `random weights`, `predictions` (from a file) or `baseline`."""
    model: str
    seed: int | None
    split: str
    data: dict[str, str]
    """SHA-256 of each of the task's prepared files."""
    published_data: bool
    overlap: NotRequired[Overlap]
    """What the training set has of the split; older runs say nothing of it."""


class Breakdown(TypedDict):
    """Where the errors are: by kind of mention or by label, and so on."""

    by_type: dict[str, Measures]
    by_length: dict[str, Measures]
    by_familiarity: NotRequired[dict[str, Measures]]
    """Of entities: names that training showed (`seen`), and others (`unseen`)."""
    matches: NotRequired[dict[Matching, Matches]]
    """Of entities, as `matches_by_type`."""
    matches_by_type: NotRequired[dict[str, dict[Matching, Matches]]]


class Scored(TypedDict):
    """Scores of a split's predictions."""

    score: float
    scores: dict[str, Measures]
    """Of entities for each repair; of labels and numbers by measure."""
    interval_95: tuple[float, float]
    """Document bootstrap."""
    calibration: NotRequired[Calibration]
    """Of labels that have probabilities."""
    orphan_inside_tags: NotRequired[int]
    n_truncated_tokens: NotRequired[int]
    """Words without a prediction, or word pieces that were cut off."""
    passed_over: NotRequired[dict[str, int]]
    unscored_mentions: NotRequired[dict[str, int]]
    """Gold mentions by type that are not scored, since the tagger was trained on a task without it."""
    documents: NotRequired[Mapping[str, Statistics]]
    """By document. They have a file of their own: `documents.jsonl`."""
    predictions: NotRequired[Any]
    """Tags, probabilities or numbers. They have a file of their own as well."""


class Point(TypedDict):
    """One combination of the grid."""

    learning_rate: float
    batch_size: int
    epochs: int


class Trial(Point):
    dev_scores: list[float]
    """Of each epoch."""
    chosen_epoch: int


class Selection(TypedDict):
    """How settings and epoch were chosen."""

    rule: str
    chosen: NotRequired[Point]
    trials: NotRequired[list[Trial]]


class RunMetrics(RunDescription, Breakdown, Scored):
    """What every kind of run writes to `metrics.json`."""

    selection: Selection
    config: dict[str, Any]
    """The budget: learning rate, epochs and the like, lists where a grid was tried."""
    versions: dict[str, str]
    seconds: float


class Origin(TypedDict):
    """The pre-training that a model comes from; None where its directory says nothing."""

    model_fingerprint: str | None
    pretraining_step: int | None
    """The optimizer step that it was exported at; 0 for random weights."""
    pretraining_run: str | None
    """What keeps its run apart from others."""


class FinetunedMetrics(RunMetrics, Origin):
    random_weights: bool
    dev_scores: list[float]
    """Of each epoch; none where the protocol trains again on train and dev."""
    chosen_epoch: int
    max_seq_length: int
    device: str
    ranks: int
    precision: str
    train_losses: list[float]


class PredictedMetrics(RunMetrics, Origin):
    """Of a fine-tuned model's predictions, made again."""

    trained_on: dict[str, str]
    """SHA-256 of the files that it was fine-tuned on."""


class FileMetrics(RunMetrics):
    """Of predictions from a file."""

    predictions_sha256: str


class BaselineMetrics(RunMetrics):
    random_weights: None


class ScoreRow(TypedDict):
    """A system under one task and protocol, over its seeds."""

    task: str
    protocol: str
    score_name: str
    kind: str
    model: str
    distinction: str
    """In what it differs from another row of its model; empty where nothing has to be said."""
    published_data: bool
    mean: float
    sd: float | None
    """None for a single run."""
    seeds: list[int]
    scores: list[float]
    """One for each seed."""
    interval_95: list[float] | None
    """Document bootstrap of the mean; None where the documents' counts are gone."""
    precision: float | None
    recall: float | None
    """Means, as is precision; None where the measure has none."""
    pretraining_step: int | None
    pretraining_run: str | None
    data: dict[str, str]
    config: dict[str, Any]
    directories: list[str]
    seconds: float


class Comparison(PairedDifference):
    """The best system of a task and protocol against another."""

    task: str
    protocol: str
    first: str
    second: str


class ScoreTable(TypedDict):
    """`table.json`."""

    rows: list[ScoreRow]
    comparisons: list[Comparison]
    references: tuple[PublishedScores, ...]
    other_protocols: tuple[PublishedScores, ...]
