"""FP16 with dynamic loss scaling, through real overflows: on a CPU, with a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.training.checkpoint.retention import newest_intact
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.launching import Job, attempt, column, train

WORKER = str(Path(__file__).with_name("faulty_worker.py"))


def run_fp16(
    tokens: Path, run: Path, overflowing: str, *overrides: str, processes: int = 1, steps: int = 8
) -> Job:
    scaling = (
        "--training.precision.initial-scale-power",
        "10",
        "--training.precision.hysteresis",
        "1",
        "--training.precision.loss-scale-window",
        "4",
    )
    return attempt(
        tokens,
        run,
        *scaling,
        *overrides,
        processes=processes,
        dtype="fp16",
        steps=steps,
        worker=WORKER,
        variables={"OVERFLOWING_STEPS": overflowing, "LIFT_FP16": "1"},
    )


@pytest.fixture(scope="module")
def norms(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Of the first two steps, in fp32."""
    return [
        norm
        for _, norm in column(
            train(tokens, tmp_path_factory.mktemp("fp32") / "run", processes=1, steps=3), "optim/grad_norm"
        )
    ][:2]


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "processes"), [("zero1", 2), ("zero2", 1), ("zero3", 1)])
@pytest.mark.fault(
    "gradients overflow fp16 under {engine}",
    "the step is skipped, the loss scale halved, and grows again",
    lost="one batch",
)
def test_an_overflow_halves_the_scale_skips_and_training_goes_on(
    tokens: Path, norms: list[float], tmp_path: Path, engine: str, processes: int
) -> None:
    done = run_fp16(
        tokens, tmp_path / "run", "2", "--training.engine.deepspeed-config", engine, processes=processes
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = column(
        read_metrics(tmp_path / "run"),
        "optim/loss_scale",
        "optim/skipped_steps",
        "optim/learning_rate",
        "consumed_samples",
    )
    steps = [record[0] for record in records]
    assert steps == [1, 2, 2, 3, 4, 5, 6, 7, 8], "a skipped step must not count as taken"
    assert [record[1] for record in records][:4] == [
        1024,
        1024,
        512,
        512,
    ], "the live scale is told, not the configured one"
    assert [record[2] for record in records] == [0, 0, *[1] * 7]
    assert records[2][3] == records[3][3], "the schedule has moved on a skipped step"
    assert [record[4] for record in records] == [16 * attempt for attempt in range(1, 10)], (
        "samples seen must count"
    )
    told = [norm for step, norm in column(read_metrics(tmp_path / "run"), "optim/grad_norm")]
    assert told[:2] == pytest.approx(norms, rel=0.02), "the norm is not that of the unscaled gradients"
    grown = next(k for k, record in enumerate(records) if record[1] > 512)
    assert told[grown] == pytest.approx(told[grown - 1], rel=0.5), "the norm jumps where the scale changes"
    assert records[-1][1] > 512, "the scale must grow again after the window"


@pytest.mark.fault("fp16 under ZeRO-0, where DeepSpeed does not scale the loss", "refused at the start")
def test_stage_0_is_refused(tokens: Path, tmp_path: Path) -> None:
    """DeepSpeed 0.19 leaves the loss unscaled there: its gradients would be smaller by the scale than they
    are."""
    done = run_fp16(tokens, tmp_path / "run", "", "--training.engine.deepspeed-config", "zero0")
    assert done.returncode == 2 and "does not scale the loss" in done.stderr


@pytest.mark.fault(
    "gradients overflow at the lowest loss scale",
    "one line; the last checkpoint is intact",
    lost="the steps since the last save",
)
def test_an_overflow_at_the_floor_stops_in_one_line_and_keeps_the_checkpoint(
    tokens: Path, tmp_path: Path
) -> None:
    overrides = ("--training.precision.min-loss-scale", "256", "--training.engine.deepspeed-config", "zero1")
    done = run_fp16(tokens, tmp_path / "run", "4,5,6,7,8", *overrides)
    told = [line for line in done.stderr.splitlines() if line.startswith("biobert-scale:")]
    assert (
        done.returncode == 1
        and len(told) == 1
        and "floor of 256" in told[0]
        and "Traceback" not in done.stderr
    ), done.stderr[-3000:]
    kept = newest_intact(tmp_path / "run")
    assert kept is not None and kept.name == "step-00000003"


@pytest.mark.slow
@pytest.mark.fault(
    "step after step overflows",
    "one line after the number that the recipe sets; the last checkpoint is intact",
    lost="the steps since the last save",
)
def test_too_many_skipped_steps_in_a_row_stop(tokens: Path, tmp_path: Path) -> None:
    done = run_fp16(
        tokens,
        tmp_path / "run",
        "4,5,6,7",
        "--training.precision.max-skipped-in-a-row",
        "3",
        "--training.engine.deepspeed-config",
        "zero1",
    )
    assert done.returncode == 1 and "3 steps in a row overflowed" in done.stderr, done.stderr[-3000:]
    assert newest_intact(tmp_path / "run") is not None
