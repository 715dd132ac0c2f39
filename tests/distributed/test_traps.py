"""Mistakes that these libraries invite and never report, each caught where it would show: in what the engine
of a real run did.

Those that need no engine are caught beside what they concern: a loss scale told from the configuration and
not from the engine (`test_fp16`); a saved model's own type (`unit/test_initial`); attention, the pooler and
predictions across the sequences of a packed row (`unit/test_modeling`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from biobert_scale.config import ScheduleConfig
from biobert_scale.files import read_json
from biobert_scale.release.export import export_model
from biobert_scale.training.monitor.telemetry import read_metrics
from biobert_scale.training.schedule import learning_rate
from tests.factories import write_tokens
from tests.launching import attempt, column

WORKER = str(Path(__file__).with_name("observed_worker.py"))
STEPS, RANKS, CLIP = 6, 2, 0.01
EMBEDDINGS, DECODER = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So few documents that the run goes through more than one epoch, which does not divide into steps."""
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=24)


@pytest.fixture(
    scope="module",
    params=[
        "ddp",
        "zero1",
        pytest.param("zero2", marks=pytest.mark.slow),
        pytest.param("zero3", marks=pytest.mark.slow),
    ],
)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(engine: str, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp(engine)
    chosen = (
        ("--training.engine.name", "ddp")
        if engine == "ddp"
        else ("--training.engine.deepspeed-config", engine)
    )
    overrides = (
        *chosen,
        "--training.micro-batch-size",
        "2",
        "--training.optimizer.max-grad-norm",
        str(CLIP),
        "--training.checkpoint.every-steps",
        "100",
    )
    done = attempt(
        tokens,
        directory / "run",
        *overrides,
        processes=RANKS,
        dtype="bf16",
        steps=STEPS,
        worker=WORKER,
        variables={"OBSERVED": str(directory)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return directory / "run"


@pytest.fixture(scope="module")
def ranks(run: Path) -> list[dict[str, Any]]:
    return [read_json(run.with_name(f"observed-{rank}.json")) for rank in range(RANKS)]


def test_manual_accumulation_one_optimizer_step_for_four_micro_batches(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["optimizer_steps"] == [STEPS] and rank["micro_batches"] == [4] * STEPS


def test_scheduler_steps_count_once_at_any_world_size(run: Path, ranks: list[dict[str, Any]]) -> None:
    expected = [
        learning_rate(step, peak=1e-3, schedule=ScheduleConfig(warmup_steps=2, total_steps=STEPS))
        for step in range(STEPS)
    ]
    for rank in ranks:
        assert [set(rates) for rates in rank["rates"]] == [{rate} for rate in expected]
    assert [rate for _, rate in column(read_metrics(run), "optim/learning_rate")] == expected


def test_clipping_reaches_the_optimizer(engine: str, run: Path, ranks: list[dict[str, Any]]) -> None:
    """After one step AdamW's first moment is a tenth of the gradient that it was given."""
    parts = ranks[:1] if engine == "ddp" else ranks  # of DDP's ranks each holds the whole
    given = math.sqrt(sum(rank["moments_squared"] for rank in parts)) / 0.1
    assert column(read_metrics(run), "optim/grad_norm")[0][1] > 10 * CLIP, (
        "nothing to clip: the test shows nothing"
    )
    assert given == pytest.approx(CLIP, rel=0.01)


def test_no_short_last_window_every_step_is_a_whole_batch(run: Path, ranks: list[dict[str, Any]]) -> None:
    epochs = [epoch for _, epoch in column(read_metrics(run), "data/epoch")]
    assert epochs[-1] > 1 and not any(epoch.is_integer() for epoch in epochs), (
        "no epoch ended inside a step: the test shows nothing"
    )
    assert [sum(rank["sequences"][step] for rank in ranks) for step in range(STEPS)] == [16] * STEPS


def test_tied_weights_stay_one_tensor(
    run: Path, tokens: Path, ranks: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert all(rank["tied"] for rank in ranks)
    export_model(run, tokens, tmp_path / "export")
    with safe_open(tmp_path / "export" / "model.safetensors", "pt") as file:
        assert EMBEDDINGS in file.keys() and DECODER not in file.keys()  # noqa: SIM118


def test_moments_are_fp32_whatever_the_model_s_type(engine: str, ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["types"] == (["torch.float32"] if engine == "ddp" else ["torch.bfloat16"])
        assert rank["state_types"] == ["torch.float32"]
