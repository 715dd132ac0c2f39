"""Faults put into real runs: what the guards and the watchdog do about them."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.files import read_json
from biobert_scale.lock import LOCK
from biobert_scale.training.checkpoint.manifest import problem
from biobert_scale.training.checkpoint.retention import complete
from biobert_scale.training.monitor.guards import EVENTS
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.launching import Job, attempt, column, start, train, wait_for_step, wait_until

WORKER = str(Path(__file__).with_name("faulty_worker.py"))
SAVE = "the steps since the last save"
ALONE = ("--training.engine.name", "ddp", "--training.micro-batch-size", "16")


def faulty(tokens: Path, run: Path, *overrides: str, **faults: str) -> Job:
    return attempt(tokens, run, *ALONE, *overrides, processes=1, worker=WORKER, variables=faults)


def events(run: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in (run / EVENTS).read_text().splitlines()]
        if (run / EVENTS).exists()
        else []
    )


@pytest.mark.fault(
    "a loss is NaN",
    "stopped with step and rank; the checkpoint before is intact",
    lost="the steps since the last save",
)
def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tokens: Path, tmp_path: Path) -> None:
    done = faulty(tokens, tmp_path / "run", NAN_STEPS="4")
    told = [line for line in done.stderr.splitlines() if line.startswith("biobert-scale:")]
    assert done.returncode == 1 and len(told) == 1 and "nan at step 5, from rank 0" in told[0], done.stderr[
        -2000:
    ]
    assert (tmp_path / "run" / "checkpoints" / "step-00000003" / "manifest.json").exists()


@pytest.mark.fault(
    "a loss is NaN, policy `roll_back`",
    "resumes from the last checkpoint on other samples, and finishes",
    lost="the steps since the last save",
)
def test_rolling_back_leaves_the_samples_behind_and_finishes(tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = faulty(tokens, run, "--training.guards.non-finite-loss", "roll_back", NAN_STEPS="4")
    assert done.returncode == 0, done.stderr[-2000:]
    steps = column(read_metrics(run), "train/loss", "consumed_samples")
    assert [step for step, *_ in steps] == list(range(1, 9)), "the records of what was rolled back must go"
    # Steps 4 and 5 are taken again, on other samples than the ones seen before.
    assert [consumed for *_, consumed in steps] == [16 * attempt for attempt in (1, 2, 3, 6, 7, 8, 9, 10)]
    assert [(event["global_step"], event["rank"]) for event in events(run)] == [(5, 0)]
    assert read_json(run / "finished.json")["global_step"] == 8


@pytest.mark.parametrize(
    "engine",
    ["zero0", pytest.param("zero1", marks=pytest.mark.slow), pytest.param("zero3", marks=pytest.mark.slow)],
)
@pytest.mark.fault(
    "NaN gradients on two ranks under {engine}, policy `roll_back`",
    "weights and moments of before; finishes",
    lost="the steps since the last save",
)
def test_rolling_back_restores_what_an_engine_learned_from_it(
    tokens: Path, tmp_path: Path, engine: str
) -> None:
    """DeepSpeed's stage 0 does not look at fp32 gradients: the bad step spoils weights and moments on both
    ranks."""
    run = tmp_path / "run"
    done = attempt(
        tokens,
        run,
        "--training.engine.deepspeed-config",
        engine,
        "--training.guards.non-finite-loss",
        "roll_back",
        processes=2,
        worker=WORKER,
        variables={"NAN_STEPS": "4"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = column(read_metrics(run), "train/loss", "optim/grad_norm", "consumed_samples")
    assert [(step, consumed) for step, *_, consumed in records] == [
        (step, 16 * attempt) for step, attempt in enumerate((1, 2, 3, 6, 7, 8, 9, 10), 1)
    ]
    assert all(0 < loss < 10 and 0 < norm < 100 for _, loss, norm, _ in records)


@pytest.mark.fault(
    "gradients are infinite, the loss is not",
    "the step is left out; training continues",
    lost="one batch",
)
def test_gradients_that_are_no_numbers_are_not_learned_from(tokens: Path, tmp_path: Path) -> None:
    """Without an engine that looks: the loop itself leaves the step out, and goes on."""
    run = tmp_path / "run"
    done = faulty(tokens, run, OVERFLOWING_STEPS="2")  # the loss that is told stays sound
    assert done.returncode == 0, done.stderr[-2000:]
    records = column(read_metrics(run), "train/loss", "optim/skipped_steps")
    assert [step for step, *_ in records] == [1, 2, 2, 3, 4, 5, 6, 7, 8] and records[-1][2] == 1
    assert all(0 < loss < 10 for _, loss, _ in records)


@pytest.mark.slow
@pytest.mark.fault("a rank stands still (SIGSTOP)", "the watchdog names it; training continues with it")
def test_a_rank_that_stands_still_is_named(tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = ("--training.guards.stall-seconds", "5", "--training.checkpoint.every-steps", "1000")
    job = start(tokens, run, *overrides, processes=2, steps=100_000)
    try:
        wait_for_step(job, run, 3)
        os.kill(job.pid(1), signal.SIGSTOP)
        wait_until(lambda: events(run), job)
        os.kill(job.pid(1), signal.SIGCONT)
        (event,) = events(run)
        assert event["kind"] == "stalled" and event["rank"] == 1
    finally:
        job.kill()


@pytest.mark.slow
@pytest.mark.fault(
    "a collective operation times out under {engine}",
    "one line with the rank that gives no sign of life",
    lost="the steps since the last save",
)
@pytest.mark.parametrize("engine", ["ddp", "deepspeed"])
def test_a_collective_that_times_out_ends_in_one_line(tokens: Path, tmp_path: Path, engine: str) -> None:
    run = tmp_path / "run"
    overrides = ("--training.guards.stall-seconds", "4", "--training.engine.name", engine)
    limit = ("--training.engine.communication-timeout-seconds", "12")
    job = start(tokens, run, *overrides, *limit, processes=2, steps=100_000)
    try:
        wait_for_step(job, run, 3)
        os.kill(job.pid(1), signal.SIGSTOP)
        wait_until(lambda: job.ranks[0].exitcode is not None, job)
    finally:
        job.kill()
    told = [text for text in job.stderr.splitlines() if text.startswith("biobert-scale:")]
    assert len(told) == 1 and "rank 1" in told[0] and "no sign of life" in told[0], job.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.fault("Ctrl-C to a run", "exit code 130; the lock is given up, a restart resumes", lost=SAVE)
def test_an_interrupted_run_leaves_nothing_in_the_way(tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = start(tokens, run, *ALONE, processes=1, steps=100_000)
    try:
        wait_for_step(job, run, 6)
        job.send_signal(signal.SIGINT)
        assert job.wait() == 130 and "Traceback" not in job.stderr, job.stderr[-3000:]
    finally:
        job.kill()
    assert not (run / LOCK).exists()
    saved = complete(run)[-1]
    assert problem(saved) is None
    reached = max(record["global_step"] for record in read_metrics(run))  # behind the checkpoint, perhaps
    again = start(tokens, run, *ALONE, processes=1, steps=100_000)
    try:
        wait_for_step(again, run, reached + 1)
        assert f"resuming from {saved.name}" in again.stderr
    finally:
        again.kill()


@pytest.mark.fault("{trouble}", "one line with address and port")
@pytest.mark.parametrize(
    "trouble",
    [
        "another program listens on the ranks' port",
        pytest.param("the second rank never comes", marks=pytest.mark.slow),
    ],
)
def test_ranks_that_do_not_meet_say_where(trouble: str, tokens: Path, tmp_path: Path) -> None:
    soon = ("--training.guards.stall-seconds", "2", "--training.engine.communication-timeout-seconds", "4")
    first = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        if "another program" not in trouble:
            other.close()
        done = attempt(tokens, tmp_path / "run", *soon, processes=1, variables={**first, "MASTER_PORT": port})
    told = [line for line in done.stderr.splitlines() if line.startswith("biobert-scale:")]
    assert done.returncode == 1 and len(told) == 1 and f"127.0.0.1:{port}" in told[0], done.stderr[-3000:]
    assert "Traceback" not in done.stderr


def test_a_profile_holds_the_steps_asked_for(tokens: Path, tmp_path: Path) -> None:
    train(tokens, tmp_path / "run", *ALONE, "--profile", "3:4", processes=1)
    trace = json.loads((tmp_path / "run" / "profile" / "rank-00000.json").read_text())
    assert len(trace["traceEvents"]) > 100
