"""Reads what the stages left in a directory; every part may be missing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from biobert_scale.corpus.build import STAGE as CORPUS_STAGE
from biobert_scale.corpus.synthetic import STAGE as SYNTHETIC_STAGE
from biobert_scale.data.batches import STAGE as SAMPLES_STAGE
from biobert_scale.errors import UserError
from biobert_scale.evaluation.table import score_table
from biobert_scale.evaluation.tasks import STAGE as BENCHMARKS_STAGE
from biobert_scale.files import MANIFEST, Manifest, read_json, read_manifest
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import STAGE as VOCABULARY_STAGE
from biobert_scale.training.telemetry import METRICS, read_metrics

_PARTS = ("raw", "corpus", "vocabulary", "tokens", "pretraining", "export", "evaluation", "environment.json")


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """A run was stopped and went on later."""

    global_step: int
    """The last step that the stopped run took."""
    resumed_step: int
    """The step of the checkpoint that the run went on from: smaller than `global_step` where steps were computed again."""
    signal: str
    exit_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sources:
    """A directory's parts; None or empty where a part is missing."""

    name: str
    """The directory's own name."""
    synthetic: Manifest | None
    corpus: Manifest | None
    vocabulary: Manifest | None
    tokens: Manifest | None
    samples: Manifest | None
    benchmarks: Manifest | None
    config: dict[str, Any]
    """The resolved configuration of the pre-training run."""
    training: list[dict[str, Any]]
    """Records of training steps, in the order they were logged."""
    validation: list[dict[str, Any]]
    finished: dict[str, Any] | None
    interruptions: list[Interruption]
    parameters: int | None
    """Numbers in the exported weights."""
    scores: dict[str, Any] | None
    """See `evaluation.table.score_table`."""
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
        raise UserError("no such directory", where=run, remedy="check the path: it is the --output of `biobert-scale demo` or `train`")
    alone = (run / METRICS).is_file()
    if not alone and not any((run / part).exists() for part in _PARTS):
        raise UserError("no stage has left anything here", where=run, remedy="check the path, or run `biobert-scale demo` first")
    pretraining = run if alone else run / "pretraining"
    records = read_metrics(pretraining)
    scores, problem = _scores(run / "evaluation")
    return Sources(
        name=run.resolve().name,
        synthetic=_manifest(run / "raw", SYNTHETIC_STAGE),
        corpus=_manifest(run / "corpus", CORPUS_STAGE),
        vocabulary=_manifest(run / "vocabulary", VOCABULARY_STAGE),
        tokens=_manifest(run / "tokens", TOKENS_STAGE),
        samples=_manifest(pretraining / "samples", SAMPLES_STAGE),
        benchmarks=_benchmarks(run),
        config=_json(pretraining / "config.json", dict),
        training=[record for record in records if "train/loss" in record],
        validation=[record for record in records if "validation/mlm_loss" in record],
        finished=_json(pretraining / "finished.json", dict) or None,
        interruptions=_interruptions(pretraining / "interruptions.json"),
        parameters=count_parameters(run / "export"),
        scores=scores,
        scores_problem=problem,
        environment=_json(run / "environment.json", dict),
    )


def _manifest(directory: Path, stage: str) -> Manifest | None:
    """A finished stage's manifest; None for another stage's, as a directory of real files may bring one of its own."""
    if not (directory / MANIFEST).is_file() or read_json(directory / MANIFEST).get("stage") != stage:
        return None
    return read_manifest(directory, stage)


def _benchmarks(run: Path) -> Manifest | None:
    found = [_manifest(path.parent, BENCHMARKS_STAGE) for pattern in ("*", "evaluation/*") for path in sorted(run.glob(f"{pattern}/{MANIFEST}"))]
    return next(filter(None, found), None)


def _json(path: Path, kind: Callable[..., Any]) -> Any:
    """A JSON file's content, or an empty value of its kind."""
    return kind(read_json(path)) if path.is_file() else kind()


def _interruptions(path: Path) -> list[Interruption]:
    try:
        return sorted((Interruption(**entry) for entry in _json(path, list)), key=lambda interruption: interruption.resumed_step)
    except TypeError as error:
        raise UserError(f"not a list of interruptions ({error})", where=path, remedy="restore or delete the file") from None


def count_parameters(export: Path) -> int | None:
    """The number of parameters of exported weights, read from the headers of their files; None where there are none."""
    total = 0
    for path in sorted(export.glob("*.safetensors")):
        with safe_open(path, framework="np") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118 (not a mapping)
    return total or None


def _scores(evaluation: Path) -> tuple[dict[str, Any] | None, str]:
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
        plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, dict)}
        if section and plain:
            lines.append(f"\n[{section}]")
        lines.extend(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict):
                add(f"{section}.{key}" if section else key, value)

    add("", config)
    return "\n".join(lines).strip()
