"""The scores that belong on a model's card: of the fine-tuning runs that started from that very model."""

from __future__ import annotations

import json
import logging
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biobert_scale.config.history import budget_to_current
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, read_json, read_manifest, sha256_file

METRICS = "metrics.json"
FINETUNED_STAGE = "finetune"
"""The stage of a fine-tuning run's manifest."""
_log = logging.getLogger(__name__)


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
    groups: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = defaultdict(dict)
    strangers = 0
    for path in sorted(evaluation.rglob(METRICS)):
        if (
            not (path.parent / MANIFEST).is_file()
            or read_json(path.parent / MANIFEST).get("stage") != FINETUNED_STAGE
        ):
            continue
        if digest not in {record["sha256"] for record in read_manifest(path.parent).inputs}:
            strangers += 1
            continue
        run = read_json(path)
        run["config"] = budget_to_current(run["config"], where=path)
        data = json.dumps(run["data"], sort_keys=True)
        groups[run["task"], run["protocol"], run["kind"], json.dumps(run["config"], sort_keys=True), data][
            run["seed"]
        ] = run
    if strangers:
        _log.warning(
            "%d run(s) below %s started from other models: they are not on the card", strangers, evaluation
        )
    if not groups:
        raise UserError(
            "no finished fine-tuning run of this model",
            where=evaluation,
            remedy="run `biobert-scale evaluate finetune` with the exported model first, or check the path",
        )
    return [_score(runs) for _, runs in sorted(groups.items())]


def _score(runs: dict[int, dict[str, Any]]) -> Score:
    first = next(iter(runs.values()))
    seeds = sorted(runs)
    return Score(
        **{name: first[name] for name in ("task", "protocol", "score_name", "kind", "published_data")},
        budget=first["config"],
        seeds=tuple(seeds),
        values=tuple(runs[seed]["score"] for seed in seeds),
    )
