"""Fine-tuning as an array of a real cluster: what is killed is resumed, what fails is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.factories import write_model, write_prepared
from tests.slurm_cluster import Cluster, only_child

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]
OPTIONS = ("--learning-rate", "1e-3", "--epochs", "1", "--batch-size", "8", "--max-seq-length", "32")
SLURM = {"partition": "main", "tasks": "2", "memory-gib": "2", "poll-seconds": "0.5", "time": "00:10:00"}


def finetune(cluster: Cluster, work: Path) -> subprocess.Popen[str]:
    """Start two tasks with two seeds on the head, each run in an element on a node."""
    options = [word for name, value in SLURM.items() for word in (f"--slurm.{name}", value)]
    return cluster.start(
        *(sys.executable, "-m", "biobert_scale.cli", "evaluate", "finetune", "--executor", "slurm"),
        *(
            "--prepared",
            str(work / "prepared"),
            "--model",
            str(work / "model"),
            "--output",
            str(work / "out"),
        ),
        *("--task", "NCBI-disease", "HoC", "--seed", "1", "2", "--no-keep-weights", *OPTIONS, *options),
    )


@pytest.mark.fault(
    "SIGKILL of the command that waits for an array of fine-tuning",
    "the same command waits for the same array; failed runs are named, and they alone are done again",
)
def test_an_array_outlives_its_command_and_failed_runs_are_done_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    write_prepared(tmp_path / "sets").rename(tmp_path / "prepared")
    write_model(tmp_path / "model")
    lost = tmp_path / "prepared" / "HoC" / "test.jsonl"
    lost.rename(tmp_path / "elsewhere")
    before = len(cluster.elements())
    process = finetune(cluster, tmp_path)
    while not list((tmp_path / "out").glob(".sweep/*/slurm_logs/*.out")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.kill(only_child(process), signal.SIGKILL)
    process.communicate()
    _, said = (process := finetune(cluster, tmp_path)).communicate(timeout=300)
    assert process.returncode == 1 and "Traceback" not in said, said
    assert "2 of 4 runs failed (HoC pretrained-seed1: FileNotFoundError" in said
    assert len(list((tmp_path / "out").rglob("metrics.json"))) == 2
    (tmp_path / "elsewhere").rename(lost)
    printed, said = (process := finetune(cluster, tmp_path)).communicate(timeout=300)
    assert process.returncode == 0, said
    assert cluster.elements()[before:] == [4, 2]
    assert sum("pre-trained" in line for line in printed.splitlines()) == 4
