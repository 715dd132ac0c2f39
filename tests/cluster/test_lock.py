"""Holders of a lock on two nodes whose processes have equal numbers, in jobs that SLURM ends or requeues."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest

from biobert_scale.corpus.synthetic import write_synthetic
from biobert_scale.files import read_manifest
from biobert_scale.lock import LOCK
from tests.slurm_cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

HOLD = """
import os, sys, time
from pathlib import Path
from biobert_scale.lock import Lock
directory = Path(sys.argv[1])
with Lock(directory, "train"):
    Path(sys.argv[2]).write_text(f"{os.getpid()}")
    while not (directory / "end").exists():
        time.sleep(0.1)
"""
TAKE = """
import sys
from pathlib import Path
from biobert_scale.errors import UserError
from biobert_scale.lock import Lock
try:
    with Lock(Path(sys.argv[1]), "train") as lock:
        print("held by", lock.me)
except UserError as error:
    print(error)
"""


def submit(cluster: Cluster, directory: Path, node: str, *options: str) -> str:
    """Start a holder of `directory/run` on a node, with the number that the one on the other node has."""
    directory.mkdir(exist_ok=True)
    (directory / "hold.py").write_text(HOLD)
    (directory / "job.sh").write_text(
        "#!/bin/bash\necho 4999 > /proc/sys/kernel/ns_last_pid\n"
        f"{sys.executable} {directory}/hold.py {directory}/run {directory}/held &\nwait\n"
    )
    log = f"--output={directory}/job-%j.log"
    return cluster.run(
        "sbatch", "--parsable", "--mem=500", f"--nodelist={node}", log, *options, str(directory / "job.sh")
    ).strip()


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 100
    while not path.exists() or not (text := path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return text


def take(cluster: Cluster, directory: Path, node: str) -> str:
    """What another node's process gets."""
    return cluster.run(
        "srun",
        "--quiet",
        f"--nodelist={node}",
        "--ntasks=1",
        "--mem=500",
        sys.executable,
        "-c",
        TAKE,
        str(directory / "run"),
    )


@pytest.mark.fault(
    "a run is locked by a process on the other node, alive, whose number is another process' here",
    "refused with node, process and job",
)
@pytest.mark.fault(
    "the holder's job is killed; a process of its number runs on here",
    "SLURM says that the job is over: taken over",
)
def test_a_holder_on_the_other_node_is_at_work_whatever_has_its_number_here(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = submit(cluster, tmp_path, "node1")
    other = submit(cluster, tmp_path / "other", "node2")
    pids = wait_for(tmp_path / "held"), wait_for(tmp_path / "other" / "held")
    assert pids == ("5000", "5000")
    holder = json.loads((tmp_path / "run" / LOCK).read_text())
    assert (holder["host"], holder["job"], holder["pid"]) == ("node1", job, 5000)
    said = take(cluster, tmp_path, "node2")
    assert f"'train' is at work here: process 5000 on node1 (SLURM job {job})" in said
    cluster.run("scancel", "--signal=KILL", "--full", job)
    while cluster.run("squeue", "--noheader", f"--jobs={job}", "--states=RUNNING,COMPLETING"):
        time.sleep(0.1)
    # Process 5000 is still there on the second node; SLURM knows that the holder's job is over.
    assert (tmp_path / "run" / LOCK).exists()
    assert re.fullmatch(r"held by process \d+ on node2 .*\n", take(cluster, tmp_path, "node2"))
    (tmp_path / "other" / "run" / "end").touch()
    while cluster.run("squeue", "--noheader", f"--jobs={other}", "--states=RUNNING,COMPLETING"):
        time.sleep(0.1)
    assert not (tmp_path / "other" / "run" / LOCK).exists()


@pytest.mark.fault("a requeued job finds the lock of its own earlier start", "taken over at once")
def test_a_requeued_job_takes_its_own_lock_over_at_once(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "node1", "--requeue", "--open-mode=append")
    wait_for(tmp_path / "held")
    (tmp_path / "held").unlink()
    first = json.loads((tmp_path / "run" / LOCK).read_text())
    cluster.run("scontrol", "requeue", job)
    wait_for(tmp_path / "held")
    second = json.loads((tmp_path / "run" / LOCK).read_text())
    assert (second["job"], second["requeues"], first["requeues"]) == (job, 1, 0)
    assert second["token"] != first["token"]
    (tmp_path / "run" / "end").touch()
    while (tmp_path / "run" / LOCK).exists():
        time.sleep(0.1)


@pytest.mark.fault(
    "a second build into the output of array tasks",
    "refused with the holder's name; the first one finishes",
)
def test_a_second_build_into_the_output_of_array_tasks_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    """The command that submits them holds the lock for all of them."""
    write_synthetic(tmp_path / "raw", seed=1, abstracts=60, full_texts=2)
    first = cluster.build(tmp_path / "raw", tmp_path / "corpus")
    holder = json.loads(wait_for(tmp_path / "corpus" / LOCK))
    second = cluster.build(tmp_path / "raw", tmp_path / "corpus")
    complaint = second.communicate(timeout=100)[1]
    assert second.returncode == 2 and complaint.count("\n") == 1
    assert f"'corpus' is at work here: process {holder['pid']} on head" in complaint
    complaint = first.communicate(timeout=200)[1]
    assert first.returncode == 0, complaint
    assert read_manifest(tmp_path / "corpus").counts["documents"] > 0
    assert not (tmp_path / "corpus" / LOCK).exists()
