from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from biobert_scale.config import FinetuneConfig, history
from biobert_scale.config.history import Added
from biobert_scale.files import describe_inputs, finish_stage, write_json
from biobert_scale.release.finetuning_results import FINETUNED_STAGE, METRICS, read_scores


def test_runs_of_two_versions_with_the_same_settings_are_one_line_of_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(history.ADDED, "evaluation.entities.dropout", Added(since="9", before=0.3))
    (tmp_path / "model").mkdir()
    finish_stage(tmp_path / "model", stage="export", key="k", inputs=[], config={}, counts={})
    older = asdict(FinetuneConfig(dropout=0.3))
    del older["dropout"]
    for seed, config in enumerate((older, asdict(FinetuneConfig(dropout=0.3)))):
        run = tmp_path / "runs" / f"seed{seed}"
        metrics = {
            "task": "NCBI-disease",
            "protocol": "blurb",
            "score_name": "entity F1",
            "kind": "pre-trained",
            "seed": seed,
            "score": 80.0 + seed,
            "published_data": False,
            "config": config,
            "data": {"test.jsonl": "abc"},
        }
        write_json(run / METRICS, metrics)
        finish_stage(
            run,
            stage=FINETUNED_STAGE,
            key="k",
            inputs=describe_inputs([tmp_path / "model"]),
            config={},
            counts={},
        )
    (line,) = read_scores(tmp_path / "runs", tmp_path / "model")
    assert line.values == (80.0, 81.0) and line.budget["dropout"] == 0.3
