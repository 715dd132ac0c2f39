from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import FinetuneConfig, history
from biobert_scale.config.history import Added
from biobert_scale.evaluation.table import name_of, score_table
from biobert_scale.files import finish_stage, write_json


def write_run(run: Path, **changes: Any) -> None:
    """A finished run of NCBI-disease without its documents."""
    metrics: dict[str, Any] = {
        "task": "NCBI-disease",
        "protocol": "blurb",
        "score_name": "entity F1",
        "kind": "pre-trained",
        "model": "export",
        "seed": 1,
        "score": 80.0,
        "scores": {"micro": {"precision": 80.0, "recall": 80.0, "f1": 80.0}},
        "interval_95": [79.0, 81.0],
        "published_data": False,
        "config": asdict(FinetuneConfig()),
        "data": {"test.jsonl": "abc"},
        "seconds": 2.0,
    }
    write_json(run / "metrics.json", metrics | changes)
    finish_stage(
        run, stage="finetune", key="k", inputs=[], config={}, counts={}, outputs=[run / "metrics.json"]
    )


def test_runs_of_two_versions_with_the_same_settings_are_one_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(history.ADDED, "evaluation.entities.dropout", Added(since="9", before=0.3))
    older = asdict(FinetuneConfig(dropout=0.3))
    del older["dropout"]
    for seed, config in enumerate((older, asdict(FinetuneConfig(dropout=0.3)))):
        write_run(tmp_path / f"seed{seed}", seed=seed, config=config)
    (row,) = score_table(tmp_path)["rows"]
    assert row["seeds"] == [0, 1] and row["config"]["dropout"] == 0.3


def test_one_model_under_different_settings_has_different_names(tmp_path: Path) -> None:
    usual = asdict(FinetuneConfig(epochs=3))
    settings: dict[str, dict[str, Any]] = {
        "none": {},
        "decay": {"layer_decay": 0.9},
        "grid": {"learning_rate": [1e-5, 3e-5], "layer_decay": 0.9},
    }
    for name, changes in settings.items():
        write_run(tmp_path / name, config=usual | changes)
    write_run(tmp_path / "other-model", model="other")
    write_run(
        tmp_path / "other-task", task="JNLPBA", config=usual | {"layer_decay": 0.9, "max_seq_length": 96}
    )
    names = {row["directories"][0]: name_of(row) for row in score_table(tmp_path)["rows"]}
    assert names == {
        "none": "export, pre-trained",
        "decay": "export, pre-trained, --layer-decay 0.9",
        "grid": "export, pre-trained, --layer-decay 0.9, --grid.learning-rate 1e-05 3e-05",
        "other-model": "other, pre-trained",
        "other-task": "export, pre-trained, --layer-decay 0.9",
    }


def test_two_models_or_training_sets_of_one_name_have_different_names(tmp_path: Path) -> None:
    for number in range(2):
        digests = {"test.jsonl": "abc", "train.jsonl": f"{number}" * 64}
        write_run(tmp_path / f"data{number}", data=digests, kind="random weights")
        write_run(tmp_path / f"model{number}", model_fingerprint=f"{number}" * 64)
    assert sorted(name_of(row) for row in score_table(tmp_path)["rows"]) == [
        "export, pre-trained, model 00000000",
        "export, pre-trained, model 11111111",
        "export, random weights, NCBI-disease/train.jsonl 00000000",
        "export, random weights, NCBI-disease/train.jsonl 11111111",
    ]
