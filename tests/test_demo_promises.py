"""What `make demo` promises, checked on its outputs: run it first."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.evaluation.table import score_table
from biobert_scale.files import read_json
from biobert_scale.training.monitor.telemetry import read_metrics

DEMO = Path(__file__).parents[1] / "runs" / "demo"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def finished_demo() -> None:
    if not (DEMO / "report.html").exists():
        pytest.skip("no finished demo: run `make demo` first")


def test_validation_loss_falls_by_a_quarter() -> None:
    losses = [
        record["validation/mlm_loss"]
        for record in read_metrics(DEMO / "pretraining")
        if "validation/mlm_loss" in record
    ]
    assert losses[-1] <= 0.75 * losses[0]


def test_pre_training_beats_random_weights_on_both_tasks() -> None:
    rows = {
        (row["task"], row["kind"]): row["mean"]
        for row in score_table(DEMO / "evaluation")["rows"]
        if row["kind"] != "baseline"
    }
    tasks = {task for task, _ in rows}
    assert tasks == {"NCBI-disease", "HoC"}
    for task in tasks:
        assert rows[task, "pre-trained"] > rows[task, "random weights"], rows


def test_the_run_was_stopped_and_resumed_without_a_gap() -> None:
    (interruption,) = read_json(DEMO / "pretraining" / "interruptions.json")
    assert (
        interruption["signal"] == "SIGTERM"
        and interruption["resumed_step"] == interruption["global_step"] + 1
    )
    steps = [record["global_step"] for record in read_metrics(DEMO / "pretraining") if "train/loss" in record]
    assert (
        steps == list(range(1, len(steps) + 1))
        and len(steps)
        == read_json(DEMO / "pretraining" / "config.json")["training"]["schedule"]["total_steps"]
    )


def test_the_export_opens_with_the_auto_classes() -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(DEMO / "export"),
        AutoTokenizer.from_pretrained(DEMO / "export"),
    )
    assert model.config.vocab_size == len(tokenizer)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
