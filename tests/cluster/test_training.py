"""Pre-training as a job of a real cluster: two nodes, stopped by a signal or by its time, requeued, finished
without a seam."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.files import write_json
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import TINY, write_tokens
from tests.launching import column, train
from tests.slurm_cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]
STEPS = 400

JOB = """#!/bin/bash
#SBATCH --job-name=train --partition=main --nodes=2 --ntasks-per-node=1 --requeue --time={limit} --open-mode=append --output={directory}/job.log
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) MASTER_PORT=29511
# As the templates do: a rank that has saved and stopped must not be taken for a crash, which would kill the others.
srun --kill-on-bad-exit=1 bash -c 'trap "" USR1; "$@"; code=$?; [ $code = 75 ] && exit 0; exit $code' rank {python} -m biobert_scale.train {options}
code=$?
[ $code = 0 ] && ! [ -f {directory}/run/finished.json ] && code=75
echo "ended with $code"
[ $code = 75 ] && scontrol requeue $SLURM_JOB_ID
exit $code
"""  # noqa: E501


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


def submit(cluster: Cluster, tokens: Path, directory: Path, *options: str, limit: str = "00:10:00") -> str:
    write_json(directory / "recipe.json", TINY)
    chosen = (
        "--config",
        str(directory / "recipe.json"),
        "--tokens",
        str(tokens),
        "--output",
        str(directory / "run"),
        "--training.schedule.total-steps",
        str(STEPS),
        *options,
    )
    (directory / "job.sh").write_text(
        JOB.format(directory=directory, python=sys.executable, options=" ".join(chosen), limit=limit)
    )
    return cluster.run("sbatch", "--parsable", str(directory / "job.sh")).strip()


def wait_for(cluster: Cluster, job: str, directory: Path, step: int) -> None:
    deadline = time.monotonic() + 200
    while not any(record["global_step"] >= step for record in read_metrics(directory / "run")):
        assert time.monotonic() < deadline, (directory / "job.log").read_text()
        time.sleep(0.05)


@pytest.mark.fault("SIGUSR1 to every rank of a job without the templates", "saved, requeued, resumed")
def test_a_signal_to_the_job_saves_and_requeues_it(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    job = submit(cluster, tokens, tmp_path)
    wait_for(cluster, job, tmp_path, 10)
    cluster.run("scancel", "--signal=USR1", job)
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "finished.json").exists():
        assert time.monotonic() < deadline, (tmp_path / "job.log").read_text()
        time.sleep(0.5)
    log = (tmp_path / "job.log").read_text()
    assert "ended with 75" in log and "resuming from step-" in log and "stopped at step" in log
    still = train(tokens, tmp_path / "still", steps=STEPS, processes=1)
    ours, theirs = column(read_metrics(tmp_path / "run"), "train/loss"), column(still, "train/loss")
    assert [step for step, _ in ours] == list(range(1, STEPS + 1))
    assert [loss for _, loss in ours[:40]] == pytest.approx([loss for _, loss in theirs[:40]], rel=1e-4)


def test_status_has_what_the_queue_says_of_the_job(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    def status() -> dict[str, Any]:
        module = (sys.executable, "-m", "biobert_scale.cli")
        found: dict[str, Any] = json.loads(cluster.run(*module, "status", str(tmp_path / "run"), "--json"))
        return found

    job = submit(cluster, tokens, tmp_path, "--training.schedule.total-steps", "100000")
    wait_for(cluster, job, tmp_path, 10)
    running = status()
    assert (running["state"], running["total_steps"]) == ("running", 100_000) and running["global_step"] >= 10
    assert running["slurm"].startswith(f"job {job} is RUNNING for ")
    assert f"SLURM job {job}" in running["process"]
    cluster.run("scancel", job)
    deadline = time.monotonic() + 100
    while (over := status())["state"] == "running" or "RUNNING" in over["slurm"]:
        assert time.monotonic() < deadline, over
    assert over["state"] in ("stopped", "killed") and over["slurm"].startswith(f"job {job} is")


@pytest.mark.fault("the end of the job's time, read by the run itself", "saved and stopped before")
def test_a_job_saves_before_its_time_is_over(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    """A limit of two minutes, and a run that wants to stop 100 seconds before."""
    job = submit(
        cluster,
        tokens,
        tmp_path,
        "--save-before-limit",
        "100",
        "--training.schedule.total-steps",
        "100000",
        limit="00:02:00",
    )
    deadline = time.monotonic() + 150
    while "ended with 75" not in (
        log := (tmp_path / "job.log").read_text() if (tmp_path / "job.log").exists() else ""
    ):
        assert time.monotonic() < deadline, log
        time.sleep(0.5)
    cluster.run("scancel", job)
    assert "the end of the job's time" in log and any(
        (tmp_path / "run" / "checkpoints").glob("step-*/manifest.json")
    )
