"""Reads what the stages left in a directory; every part may be missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from biobert_scale.config import BatchSizes
from biobert_scale.corpus.build import STAGE as CORPUS_STAGE
from biobert_scale.corpus.synthetic import STAGE as SYNTHETIC_STAGE
from biobert_scale.data.samples import STAGE as SAMPLES_STAGE
from biobert_scale.errors import UserError
from biobert_scale.evaluation.records import ScoreTable
from biobert_scale.evaluation.table import score_table
from biobert_scale.files import MANIFEST, Manifest, read_json, read_manifest
from biobert_scale.recipes import load_config
from biobert_scale.release.export import STAGE as EXPORT_STAGE
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.shards import SPLITS
from biobert_scale.tokens.sources import SOURCES, SourceRun, read_runs, totals
from biobert_scale.tokens.vocabulary import STAGE as VOCABULARY_STAGE
from biobert_scale.training.checkpoint.continuation import described
from biobert_scale.training.checkpoint.manifest import read_record
from biobert_scale.training.checkpoint.retention import complete
from biobert_scale.training.monitor.telemetry import METRICS, read_metrics

_PARTS = ("raw", "corpus", "vocabulary", "tokens", "pretraining", "export", "evaluation", "environment.json")


Record = dict[str, Any]
"""A line of `metrics.jsonl`: the values of metrics by their names."""


def attempts(record: Record) -> int:
    """Steps taken and skipped; one skipped for an overflow keeps `global_step` but has used its samples."""
    return int(record["global_step"] + record.get("optim/skipped_steps", 0))


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """A run was stopped, and resumed later."""

    global_step: int
    """The last step that the stopped run recorded."""
    signal: str
    resumed_step: int | None = None
    """The first step recorded after it resumed: not above `global_step` where steps were computed again; None
    where it has not resumed."""
    exit_code: int | None = None

    @property
    def last_kept_step(self) -> int:
        """The last step before the interruption that the final curve holds."""
        return self.global_step if self.resumed_step is None else min(self.global_step, self.resumed_step - 1)


@dataclass(frozen=True, kw_only=True)
class RunSources:
    """The samples of a run by the source of their text."""

    samples: dict[str, int]
    epoch: list[tuple[str, int]]
    """See `data.stream.SampleStream.epoch`."""
    first_sample: int = 0
    """Of its phase."""
    later_phases: list[RunSources] = field(default_factory=list)

    @property
    def samples_an_epoch(self) -> int:
        return sum(samples for _, samples in self.epoch)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """A directory's parts; None or empty where a part is missing."""

    name: str
    """The directory's own name."""
    synthetic: Manifest | None
    corpus: Manifest | None
    vocabulary: Manifest | None
    tokens: Manifest | None
    tokens_by_source: dict[str, dict[str, SourceRun]]
    """By split and source; empty splits where the tokens do not know their sources."""
    samples: Manifest | None
    samples_by_source: RunSources | None
    config: dict[str, Any]
    """The resolved configuration of the pre-training run."""
    batch_sizes: BatchSizes | None
    training: list[Record]
    """Records of training steps, in the order they were logged."""
    validation: list[Record]
    finished: bool
    interruptions: list[Interruption]
    continued: list[str]
    """The runs that it continues, oldest first, and what was changed then."""
    export: Manifest | None
    scores: ScoreTable | None
    scores_problem: str
    """Why there are no scores, as a sentence."""
    environment: dict[str, Any]

    def setting(self, *path: str) -> Any:
        """A value of the configuration, or None."""
        value: Any = self.config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_sources(run: Path) -> Sources:
    """Read the parts of a demonstration's directory, or of a pre-training run's own directory.

    Raises:
        UserError: no such directory, nothing in it that a stage writes, or a damaged file.
    """
    if not run.is_dir():
        remedy = "check the path: it is the --output of `biobert-scale demo` or `train`"
        raise UserError("no such directory", where=run, remedy=remedy)
    alone = (run / METRICS).is_file()
    if not alone and not any((run / part).exists() for part in _PARTS):
        remedy = "check the path, or run `biobert-scale demo` first"
        raise UserError("no stage has left anything here", where=run, remedy=remedy)
    pretraining = run if alone else run / "pretraining"
    path = pretraining / "config.json"
    config = load_config(path) if path.is_file() else None
    records = read_metrics(pretraining)
    scores, problem = _scores(run / "evaluation")
    return Sources(
        name=run.resolve().name,
        synthetic=_manifest(run / "raw", SYNTHETIC_STAGE),
        corpus=_manifest(run / "corpus", CORPUS_STAGE),
        vocabulary=_manifest(run / "vocabulary", VOCABULARY_STAGE),
        tokens=_manifest(run / "tokens", TOKENS_STAGE),
        tokens_by_source={split: totals(read_runs(run / "tokens" / split)) for split in SPLITS},
        samples=_manifest(pretraining / "samples", SAMPLES_STAGE),
        samples_by_source=_samples_by_source(pretraining / SOURCES),
        config=asdict(config) if config else {},
        batch_sizes=BatchSizes.of(config) if config else None,
        training=[dict(record) for record in records if "train/loss" in record],
        validation=[dict(record) for record in records if "validation/mlm_loss" in record],
        finished=bool(_json(pretraining / "finished.json", dict)),
        interruptions=_interruptions(pretraining / "interruptions.json"),
        continued=_continued(pretraining),
        export=_manifest(run / "export", EXPORT_STAGE),
        scores=scores,
        scores_problem=problem,
        environment=_json(run / "environment.json", dict),
    )


def _manifest(directory: Path, stage: str) -> Manifest | None:
    """A finished stage's manifest; None for another stage's, as a directory of real files may bring one of
    its own."""
    if not (directory / MANIFEST).is_file() or read_json(directory / MANIFEST).get("stage") != stage:
        return None
    return read_manifest(directory, stage)


def _json(path: Path, kind: Callable[..., Any]) -> Any:
    """A JSON file's content, or an empty value of its kind."""
    return kind(read_json(path)) if path.is_file() else kind()


def _samples_by_source(path: Path) -> RunSources | None:
    try:
        if not path.is_file():
            return None
        found = RunSources(**read_json(path))
        return replace(found, later_phases=[RunSources(**phase) for phase in found.later_phases])  # type: ignore[arg-type]
    except TypeError as error:
        raise UserError(
            f"not a run's sources ({error})", where=path, remedy="restore or delete the file"
        ) from None


def _interruptions(path: Path) -> list[Interruption]:
    try:
        found = [Interruption(**entry) for entry in _json(path, list)]
        return sorted(found, key=lambda entry: entry.global_step)
    except TypeError as error:
        what = f"not a list of interruptions ({error})"
        raise UserError(what, where=path, remedy="restore or delete the file") from None


def _continued(run: Path) -> list[str]:
    for checkpoint in reversed(complete(run)):
        with suppress(UserError):  # damaged; another one says the same
            return [described(link) for link in read_record(checkpoint).get("lineage", [])]
    return []


def _scores(evaluation: Path) -> tuple[ScoreTable | None, str]:
    if not evaluation.is_dir():
        return None, "Not evaluated yet."
    try:
        return score_table(evaluation), ""
    except UserError as error:
        return None, f"No scores: {error}."


def toml_text(config: dict[str, Any]) -> str:
    """A nested configuration as TOML; values that are None are left out."""
    lines: list[str] = []

    def add(section: str, values: dict[str, Any]) -> None:
        nested = {key: value for key, value in values.items() if isinstance(value, dict) and value}
        tables = {key: value for key, value in values.items() if _is_tables(value)}
        plain = {
            key: value
            for key, value in values.items()
            if key not in nested and key not in tables and value is not None
        }
        if section and plain:
            lines.append(f"\n[{section}]")
        lines.extend(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items())
        for key, value in nested.items():
            add(f"{section}.{key}" if section else key, value)
        for key, several in tables.items():
            for value in several:
                lines.append(f"\n[[{section}.{key}]]")
                lines.extend(f"{_key(name)} = {json.dumps(one)}" for name, one in value.items())

    add("", config)
    return "\n".join(lines).strip()


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, dict) for each in value)


def _key(name: str) -> str:
    """A name that users choose may need quotes."""
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
