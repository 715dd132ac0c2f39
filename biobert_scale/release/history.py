"""What a model's card says of its past: the corpus it read, the run that made it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from biobert_scale.corpus.build import STAGE as CORPUS_STAGE
from biobert_scale.corpus.packages import XML_SUFFIXES, package_stem
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, Manifest, read_json, read_manifest, sha256_file
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.telemetry import read_metrics


class CorpusPart(NamedTuple):
    """Documents of one source under one group of licences."""

    source: str
    license: str
    documents: int


@dataclass(frozen=True, kw_only=True)
class CorpusHistory:
    manifest: Manifest
    parts: tuple[CorpusPart, ...]

    @property
    def raw_files(self) -> list[str]:
        """Names of the files that it was made from."""
        names = {record["name"] for record in self.manifest.inputs if "source" not in record}  # no own text
        return sorted(name for name in names if package_stem(name) or name.lower().endswith(XML_SUFFIXES))


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """A pre-training run as it stood at the exported step; None where its directory does not say."""

    device: str | None
    tokens_per_second_per_device: float | None
    """Median of the records."""
    mfu: float | None
    """Model FLOP/s of the device's peak, median of the records, as a fraction."""
    validation: RunMetrics | None
    """The last held-out measurement up to that step, with its `global_step`."""


def read_corpus(corpus: Path, tokens: Manifest) -> CorpusHistory:
    """Count a corpus' documents by source and licence.

    Raises:
        UserError: it is no finished corpus, or not the one that the token shards were made from.
    """
    manifest = read_manifest(corpus, CORPUS_STAGE)
    if sha256_file(corpus / MANIFEST) not in {record["sha256"] for record in tokens.inputs}:
        remedy = "give the one that `biobert-scale tokens build` read"
        raise UserError("not the corpus that the token shards were made from", where=corpus, remedy=remedy)
    counted: Counter[tuple[str, str]] = Counter()
    for name in sorted(name for name in manifest.outputs if name.endswith(".parquet")):
        table = pq.read_table(corpus / name, columns=["source", "license"])
        for row in table.group_by(["source", "license"]).aggregate([([], "count_all")]).to_pylist():
            counted[row["source"], row["license"] or ""] += row["count_all"]
    parts = (CorpusPart(source, license, number) for (source, license), number in sorted(counted.items()))
    return CorpusHistory(manifest=manifest, parts=tuple(parts))


def read_run(run: Path, global_step: int) -> RunHistory:
    """What a run's directory says of its device, its speed and its held-out loss."""
    records = [record for record in read_metrics(run) if record["global_step"] <= global_step]
    device = read_json(run / "device.json")["device"] if (run / "device.json").is_file() else None
    validations = [record for record in records if "validation/mlm_loss" in record]
    return RunHistory(
        device=device,
        tokens_per_second_per_device=_median(records, "perf/tokens_per_second_per_device"),
        mfu=_median(records, "perf/mfu"),
        validation=validations[-1] if validations else None,
    )


def _median(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [record[name] for record in records if record.get(name) is not None]
    return statistics.median(values) if values else None
