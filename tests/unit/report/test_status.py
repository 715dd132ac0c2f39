"""`status`: what it makes of a run directory."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from biobert_scale import holder as holders
from biobert_scale.cli import main
from biobert_scale.config import PhaseConfig
from biobert_scale.errors import UserError
from biobert_scale.files import write_json
from biobert_scale.holder import this_process
from biobert_scale.lock import LOCK, Lock
from biobert_scale.recipes import load_config
from biobert_scale.report.status import Status, read_status, watch
from biobert_scale.training.checkpoint.retention import FINISHED
from biobert_scale.training.monitor.guards import record_event
from biobert_scale.training.restarts import FAILED, LAST_START
from tests.factories import write_checkpoint


def record(step: int, seconds: float = 2.0) -> str:
    loss = {"train/loss": 9.0 - step / 100, "optim/learning_rate": 1e-4}
    speed = {"perf/step_seconds": seconds, "perf/tokens_per_second_per_device": 5e4}
    return json.dumps({"global_step": step, "consumed_samples": 16 * step, **loss, **speed}) + "\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """At step 300 of its schedule, with a checkpoint of step 200."""
    write_json(tmp_path / "config.json", load_config("demo"))
    write_json(tmp_path / LAST_START, asdict(this_process("train")))
    validation = json.dumps({"global_step": 300, "validation/mlm_loss": 5.5}) + "\n"
    lines = [record(10, seconds=60.0), *(record(step) for step in range(20, 301, 10)), validation, '{"glo']
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    write_checkpoint(tmp_path, 200)
    for step in range(1, 8):
        record_event(tmp_path, "loss spike", step, 0, "the loss is 9.000")
    return tmp_path


def test_figures_are_those_of_the_last_records(run: Path) -> None:
    status, total = read_status(run), load_config("demo").training.schedule.total_steps
    assert (status.global_step, status.total_steps) == (300, total)
    assert (status.train_loss, status.validation_mlm_loss, status.learning_rate) == (6.0, 5.5, 1e-4)
    assert status.seconds_to_go == 2.0 * (total - 300) and status.tokens_per_second_per_device == 5e4
    assert status.checkpoint == "step-00000200"
    assert [event["global_step"] for event in status.events] == [3, 4, 5, 6, 7]


def test_a_run_that_trains_is_running_and_says_what_it_does(run: Path) -> None:
    for rank, step in ((0, 301), (1, 300)):
        where = {"rank": rank, "host": "n1", "global_step": step, "micro_step": 0, "since": 1.0}
        write_json(run / "heartbeats" / f"rank-{rank:05d}.json", {**where, "doing": "saving"})
    with Lock(run, "train"):
        status = read_status(run)
    assert status.state == "running" and status.doing == "rank 1 on n1, step 300: saving"
    assert f"process {os.getpid()} on " in status.process


@pytest.mark.parametrize("work", ["train", "checkpoint prune"])
def test_only_a_dead_training_process_was_killed(work: str, run: Path) -> None:
    write_json(run / LOCK, asdict(replace(this_process(work), started="0")))
    assert read_status(run).state == ("killed" if work == "train" else "stopped")


def test_how_a_run_ended(run: Path) -> None:
    assert read_status(run).state == "stopped"
    write_json(run / FAILED, {"global_step": 7, "what": "no space"})
    failed = read_status(run)
    assert (failed.state, failed.failure) == ("failed", "no space (at step 7)")
    (run / FAILED).write_text("{")
    assert read_status(run).state == "stopped"
    write_json(run / FINISHED, {})
    assert read_status(run).state == "finished"


def test_only_a_run_directory_has_a_status(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run has begun here"):
        read_status(tmp_path)


def test_a_run_that_has_just_begun_has_one(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "events.jsonl").unlink()
    shutil.rmtree(run / "checkpoints")
    status = read_status(run)
    assert (status.global_step, status.train_loss, status.checkpoint, status.events) == (0, None, "", [])


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (
            "JobState=PENDING Reason=Priority RunTime=0 StartTime=2026-01-02T03:04:05",
            "job 7 is PENDING (Priority), starts 2026-01-02 03:04:05",
        ),
        ("JobState=PENDING Reason=BeginTime StartTime=Unknown", "job 7 is PENDING (BeginTime)"),
        (
            "JobState=RUNNING Reason=None RunTime=01:02:03 TimeLimit=1-00:00:00",
            "job 7 is RUNNING for 01:02:03 of 1-00:00:00",
        ),
        ("JobState=TIMEOUT Reason=TimeLimit", "job 7 is TIMEOUT"),
        ("", "job 7 is no longer in the queue"),
    ],
)
def test_slurm_is_asked_about_the_last_start_s_job(
    shown: str, says: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(run / LAST_START, asdict(replace(this_process("train"), job="7", cluster="c")))
    script = f"""#!/bin/sh
[ "$2" = config ] && echo "ClusterName = c" || echo "JobId=7 Restarts=0 {shown}"
"""
    (run / "scontrol").write_text(script)
    (run / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{run}:{os.environ['PATH']}")
    assert read_status(run).slurm == says
    monkeypatch.setattr(holders, "_scontrol", lambda *_: None)
    assert read_status(run).slurm == ""


def test_the_command_prints_once_where_there_is_no_terminal(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    assert main(["status", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(lines) and sum(line.startswith("step ") for line in lines) == 1
    assert main(["status", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["global_step"] == 300
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before, "only read"


def test_a_terminal_is_refreshed_until_the_run_is_over(run: Path) -> None:
    stopped = read_status(run)
    waiting = replace(stopped, slurm="job 7 is PENDING (Priority)")
    states = iter([replace(stopped, state="running"), waiting, stopped])
    seen, waits = list[Status](), list[float]()

    def read() -> Status:
        seen.append(next(states))
        return seen[-1]

    watch(read, console=Console(file=io.StringIO(), force_terminal=True), wait=waits.append)
    assert len(seen) == 3 and len(waits) == 2


def test_ctrl_c_ends_the_watching(run: Path) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    running, shown = replace(read_status(run), state="running"), io.StringIO()
    watch(lambda: running, console=Console(file=shown, force_terminal=True), wait=interrupted)
    assert "running" in shown.getvalue()


def test_the_time_to_go_counts_longer_samples_and_larger_batches(run: Path) -> None:
    demo = load_config("demo")
    training = demo.training  # 480 steps of 128 sequences of 32 tokens
    phases = (PhaseConfig(steps=400, max_seq_length=16), PhaseConfig(global_batch_size=64))
    write_json(run / "config.json", replace(demo, training=replace(training, phases=phases)))
    assert read_status(run).seconds_to_go == 2.0 * (100 + 80)
    warm = replace(training, micro_batch_size=8, batch_warmup_start=64, batch_warmup_steps=400)
    write_json(run / "config.json", replace(demo, training=warm))
    assert read_status(run).seconds_to_go == 2.0 * (100 + 2 * 80)
