"""A chain that is submitted twice: the second waits for the first, job by job."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.slurm_cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(200)]
STUB = '#!/bin/bash\ncase "$*" in *biobert_scale.train*) sleep 100 ;; esac\n'
SITE = (
    'doctor = false\npython = "{python}"\n[devices]\noption = ""\nmemory_gib_per_device = 1\n'
    "[processors]\ncpus = 1\nmemory_gib = 1\n"
)


@pytest.mark.fault("a chain of jobs is submitted twice", "the second waits for the first, job by job")
def test_two_jobs_of_one_output_never_run_at_once(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "python").write_text(STUB)
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "site.toml").write_text(SITE.format(python=tmp_path / "python"))
    (tmp_path / "work" / "tokens").mkdir(parents=True)
    chosen = ["--site", str(tmp_path / "site.toml"), "--config", "demo", "--work", str(tmp_path / "work")]
    sizes = [
        "--nodes",
        "1",
        "--devices-per-node",
        "1",
        "--stages",
        "pretrain",
        "table",
        "--quiet",
        "--submit",
    ]
    submitted = [
        cluster.run(sys.executable, "-m", "biobert_scale.cli", "launch", "slurm", *chosen, *sizes)
        for _ in range(2)
    ]
    jobs = [
        dict(line.split()[1:] for line in printed.splitlines() if line.startswith("submitted: "))
        for printed in submitted
    ]

    def seen(job: str) -> str:
        return cluster.run("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T %E").strip()

    deadline = time.monotonic() + 60
    while not seen(jobs[0]["pretrain"]).startswith("RUNNING"):
        assert time.monotonic() < deadline, seen(jobs[0]["pretrain"])
        time.sleep(0.2)
    assert seen(jobs[1]["pretrain"]) == "PENDING singleton(unfulfilled)"
    waiting = f"afterok:{jobs[1]['pretrain']}(unfulfilled),singleton(unfulfilled)"
    assert seen(jobs[1]["table"]) == f"PENDING {waiting}"
    cluster.run("scancel", jobs[0]["pretrain"])
    deadline = time.monotonic() + 60
    while not seen(jobs[1]["pretrain"]).startswith("RUNNING"):
        assert time.monotonic() < deadline, seen(jobs[1]["pretrain"])
        time.sleep(0.2)
    cluster.run("scancel", *jobs[1].values())
