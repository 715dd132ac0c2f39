from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from biobert_scale.config import FinetuneConfig, history
from biobert_scale.config.history import Added
from biobert_scale.evaluation.table import score_table
from biobert_scale.files import finish_stage, write_json


def test_runs_of_two_versions_with_the_same_settings_are_one_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(history.ADDED, "evaluation.entities.dropout", Added(since="9", before=0.3))
    older = asdict(FinetuneConfig(dropout=0.3))
    del older["dropout"]
    for seed, config in enumerate((older, asdict(FinetuneConfig(dropout=0.3)))):
        run = tmp_path / f"seed{seed}"
        metrics = {
            "task": "NCBI-disease",
            "protocol": "blurb",
            "score_name": "entity F1",
            "kind": "pre-trained",
            "model": "export",
            "seed": seed,
            "score": 80.0,
            "scores": {"micro": {"precision": 80.0, "recall": 80.0, "f1": 80.0}},
            "published_data": False,
            "config": config,
            "data": {"test.jsonl": "abc"},
            "seconds": 2.0,
        }
        write_json(run / "metrics.json", metrics)
        finish_stage(
            run, stage="finetune", key="k", inputs=[], config={}, counts={}, outputs=[run / "metrics.json"]
        )
    (row,) = score_table(tmp_path)["rows"]
    assert row["seeds"] == [0, 1] and row["config"]["dropout"] == 0.3
