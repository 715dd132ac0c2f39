"""The scores that belong on a model's card: of the fine-tuning runs that started from that very model."""

from __future__ import annotations

import json
import logging
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from biobert_scale.config.history import budget_to_current
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, files_below, read_json, read_manifest, sha256_file

METRICS = "metrics.json"
FINETUNED_STAGE = "finetune"
"""The stage of a fine-tuning run's manifest."""
_log = logging.getLogger(__name__)


class Measures(TypedDict):
    """In percent."""

    precision: float
    recall: float
    f1: float


class Selection(TypedDict):
    rule: str


class FinetunedRun(TypedDict):
    """What a card says of a fine-tuning run: a part of its `metrics.json`."""

    task: str
    protocol: str
    score_name: str
    kind: str
    model: str
    seed: int
    data: dict[str, str]
    published_data: bool
    score: float
    scores: dict[str, Measures]
    interval_95: tuple[float, float]
    selection: Selection
    chosen_epoch: int
    config: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A benchmark's test score in percent under one protocol and one budget, one value for each seed."""

    task: str
    protocol: str
    score_name: str
    kind: str
    """`pre-trained`, or `random weights`: the same shape without pre-training."""
    published_data: bool
    """Whether it was measured on the published set: the figure then compares with others'."""
    budget: dict[str, Any]
    """Learning rate, epochs and the like."""
    seeds: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def read_scores(evaluation: Path, model: Path) -> list[Score]:
    """Gather the finished fine-tuning runs below a directory that started from a model. None is chosen and
    none left out for its score.

    Args:
        evaluation: directory of runs, at any depth.
        model: an exported model's directory; a run's manifest names it by its manifest's SHA-256.

    Raises:
        UserError: there is no such run.
    """
    digest = sha256_file(model / MANIFEST)
    groups: dict[tuple[str, ...], dict[int, FinetunedRun]] = defaultdict(dict)
    strangers = 0
    for path in files_below(evaluation):
        if path.name != METRICS or not is_finetuned(path.parent):
            continue
        if digest not in {record["sha256"] for record in read_manifest(path.parent).inputs}:
            strangers += 1
            continue
        run: FinetunedRun = read_json(path)
        run["config"] = budget_to_current(run["config"], where=path)
        budget, data = (json.dumps(part, sort_keys=True) for part in (run["config"], run["data"]))
        groups[run["task"], run["protocol"], run["kind"], budget, data][run["seed"]] = run
    if strangers:
        others = f"{strangers} run(s) below {evaluation} started from other models"
        _log.warning("%s: they are not on the card", others)
    if not groups:
        remedy = "run `biobert-scale evaluate finetune` with the exported model first, or check the path"
        raise UserError("no finished fine-tuning run of this model", where=evaluation, remedy=remedy)
    return [_score(runs) for _, runs in sorted(groups.items())]


def is_finetuned(run: Path) -> bool:
    """Whether a directory is a finished fine-tuning run."""
    manifest = run / MANIFEST
    return manifest.is_file() and read_json(manifest).get("stage") == FINETUNED_STAGE


def _score(runs: dict[int, FinetunedRun]) -> Score:
    first, seeds = next(iter(runs.values())), sorted(runs)
    return Score(
        task=first["task"],
        protocol=first["protocol"],
        score_name=first["score_name"],
        kind=first["kind"],
        published_data=first["published_data"],
        budget=first["config"],
        seeds=tuple(seeds),
        values=tuple(runs[seed]["score"] for seed in seeds),
    )
