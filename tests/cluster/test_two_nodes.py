"""Faults between two nodes that train together: each costs at most the steps since the last save, and the end
is that of a run that nothing happened to."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from biobert_scale.training.checkpoint.retention import complete
from tests.slurm_cluster import Cluster
from tests.slurm_runs import (
    RECIPE,
    STEPS,
    log,
    losses,
    prepare,
    pretrain,
    ranks_of,
    state,
    step,
    submit,
    wait_until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]
EQUAL = "requeued, resumed; losses equal the undisturbed run's"
SAVE = "the steps since the last save"
SIZES = ("--nodes", "2", "--devices-per-node", "2", "--settings", f"training.schedule.total-steps={STEPS}")


def of_node(cluster: Cluster, pids: list[str], node: str) -> list[str]:
    """Those of the head's processes that are on the node, by the network that they see."""
    there = cluster.run("readlink", f"/proc/{cluster.first_process(node)}/ns/net")
    return [pid for pid in pids if cluster.run("readlink", f"/proc/{pid}/ns/net") == there]


def assert_the_same_end(cluster: Cluster, job: str, work: Path, undisturbed: Path) -> None:
    """The job ends well, after another start from a checkpoint, with the losses of an undisturbed run."""
    wait_until(lambda: state(cluster, job) in ("COMPLETED", "FAILED", "CANCELLED"), work)
    assert state(cluster, job) == "COMPLETED" and "resuming from step-" in log(work), log(work)[-6000:]
    assert losses(work) == losses(undisturbed)


@pytest.mark.fault("SIGKILL of {whom}", EQUAL, lost=SAVE)
@pytest.mark.parametrize("whom", ["every rank of the second node", "srun"])
def test_what_belongs_together_is_killed(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path, whom: str
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    if whom == "srun":
        chosen = cluster.run("pgrep", "--full", f"^srun .*{tmp_path}/").split()
    else:
        chosen = of_node(cluster, ranks_of(cluster, tmp_path), "node2")
    assert len(chosen) == 2
    cluster.run("sh", "-c", f"kill -KILL {' '.join(chosen)} || true")  # one may go with the other
    assert_the_same_end(cluster, job, tmp_path, undisturbed)


@pytest.mark.fault(
    "a rank on the second node stands still (SIGSTOP)", f"the rank is named; {EQUAL}", lost=SAVE
)
def test_a_rank_that_stands_still_ends_the_start_and_not_the_run(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    prepare(tmp_path, tokens, RECIPE)
    limits = ("training.guards.stall-seconds=4", "training.engine.communication-timeout-seconds=12")
    job = submit(cluster, tmp_path, *SIZES, *limits)["pretrain"]
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    chosen = of_node(cluster, ranks_of(cluster, tmp_path), "node2")[0]
    cluster.run("kill", "-STOP", chosen)
    assert_the_same_end(cluster, job, tmp_path, undisturbed)
    said = [line for line in log(tmp_path).splitlines() if "biobert-scale: " in line]
    assert any("on node2" in line and "no sign of life" in line for line in said), said


@pytest.mark.fault(
    "a node loses its power three times before the first checkpoint", EQUAL, lost="all steps so far"
)
def test_starts_that_lose_a_node_before_their_first_checkpoint_are_no_crash_loop(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    prepare(tmp_path, tokens, RECIPE)
    job = submit(cluster, tmp_path, *SIZES, "training.checkpoint.every-steps=1000")["pretrain"]
    away = cluster.directory / "node2.down"
    for start, reached in enumerate((10, 30, 50)):
        wait_until(lambda start=start: f"start {start}, on" in log(tmp_path), tmp_path)  # type: ignore[misc]
        wait_until(lambda reached=reached: begun(cluster, tmp_path, job, reached), tmp_path)  # type: ignore[misc]
        away.touch()
        cluster.run("kill", "-KILL", cluster.first_process("node2"))
        wait_until(lambda: state(cluster, job) == "PENDING", tmp_path)
        assert not complete(tmp_path / "pretraining")
        away.unlink()
    wait_until(lambda: state(cluster, job) in ("COMPLETED", "FAILED"), tmp_path)
    assert state(cluster, job) == "COMPLETED" and "start 3, on" in log(tmp_path), log(tmp_path)[-6000:]
    assert losses(tmp_path) == losses(undisturbed)


def begun(cluster: Cluster, work: Path, job: str, reached: int) -> bool:
    """This start of the job has taken so many steps."""
    assert state(cluster, job) != "FAILED", log(work)[-6000:]
    return bool(ranks_of(cluster, work)) and reached <= step(work) < STEPS


@pytest.mark.fault("the daemon of a node dies, its ranks live on", EQUAL, lost=SAVE)
def test_a_node_whose_daemon_died_is_replaced_by_another_start(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    (daemon,) = cluster.run("pgrep", "--full", "^slurmd -D -N node2").split()
    cluster.run("kill", "-KILL", daemon)
    # SLURM gives the node up; SIGSTOP keeps its ranks from reaching the end before that.
    for rank in of_node(cluster, ranks_of(cluster, tmp_path), "node2"):
        cluster.run("kill", "-STOP", rank)
    wait_until(lambda: state(cluster, job) == "PENDING", tmp_path)
    cluster.on_node("node2", "slurmd", "-N", "node2")
    assert_the_same_end(cluster, job, tmp_path, undisturbed)


@pytest.mark.fault("the network between the nodes is cut", EQUAL, lost=SAVE)
def test_nodes_that_no_longer_reach_each_other(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run("ip", "link", "set", "to-node2", "down")
    try:
        wait_until(lambda: state(cluster, job) == "PENDING", tmp_path)
    finally:
        cluster.run("ip", "link", "set", "to-node2", "up")
    assert_the_same_end(cluster, job, tmp_path, undisturbed)


@pytest.mark.fault("SLURM's controller is killed and started again under a run", "the run trains on")
def test_a_controller_that_restarts_is_not_noticed(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run("kill", "-KILL", *cluster.run("pgrep", "--exact", "slurmctld").split())
    before = step(tmp_path)
    wait_until(lambda: step(tmp_path) >= min(before + 10, STEPS), tmp_path)
    cluster.run("sh", "-c", "exec slurmctld > /dev/null 2>&1 < /dev/null")
    wait_until(lambda: cluster.start("scontrol", "ping").wait(60) == 0, tmp_path)
    wait_until(lambda: state(cluster, job) in ("COMPLETED", "FAILED"), tmp_path)
    assert state(cluster, job) == "COMPLETED" and "start 1, on" not in log(tmp_path), log(tmp_path)[-6000:]
    assert losses(tmp_path) == losses(undisturbed)


@pytest.mark.fault("an urgent job preempts the run", EQUAL, lost=SAVE)
def test_a_preempted_run_comes_back(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    urgent = (
        "--partition=urgent",
        "--nodes=2",
        "--exclusive",
        "--wait",
        "--wrap=sleep 1",
        "--output=/dev/null",
    )
    cluster.run("sbatch", *urgent)
    assert_the_same_end(cluster, job, tmp_path, undisturbed)


@pytest.mark.fault(
    "the shared disk is full when two nodes save", f"one line; with room again {EQUAL}", lost=SAVE
)
def test_a_shared_disk_that_is_full(cluster: Cluster, undisturbed: Path, tokens: Path) -> None:
    """A small disk that the nodes share; this process sees it through the head's first process."""
    inside = cluster.directory / "small" / "work"
    work = Path(f"/proc/{cluster.head}/root{inside}")
    prepare(work, tokens, RECIPE)
    job = submit(cluster, inside, *SIZES)["pretrain"]
    wait_until(lambda: step(work) >= 12, work)
    with open(work.parent / "junk", "wb", buffering=0) as junk:
        with suppress(OSError):
            while True:
                junk.write(bytes(1 << 16))
        junk.truncate(junk.tell() - (1 << 17))  # room for records, not for a checkpoint
    wait_until(lambda: "biobert-scale: " in log(work), work)
    (work.parent / "junk").unlink()
    said = [line for line in log(work).splitlines() if "biobert-scale: " in line]
    assert any("could not be written" in line for line in said), said
    assert_the_same_end(cluster, job, work, undisturbed)


@pytest.mark.fault(
    "the run is stopped, and meanwhile {what}", EQUAL, lost="the steps since the checkpoint before"
)
@pytest.mark.parametrize(
    "what",
    [
        "the second node's file of the newest checkpoint is cut",
        "the newest checkpoint disappears",
        "the newest checkpoint loses its manifest",
    ],
)
def test_the_newest_checkpoint_is_damaged_between_two_starts(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path, what: str
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run("scontrol", "requeuehold", job)
    wait_until(lambda: state(cluster, job) == "PENDING" and not ranks_of(cluster, tmp_path), tmp_path)
    *_, before, newest = complete(tmp_path / "pretraining")
    if "cut" in what:
        os.truncate(newest / "state-00003-of-00004.safetensors", 1000)
    elif "manifest" in what:
        (newest / "manifest.json").unlink()
    else:
        shutil.rmtree(newest)
    cluster.run("scontrol", "release", job)
    assert_the_same_end(cluster, job, tmp_path, undisturbed)
    assert f"resuming from {before.name}" in log(tmp_path)
    assert ("passed over" in log(tmp_path)) == ("cut" in what)


@pytest.mark.fault(
    "a second job trains into the same directory from the other node",
    "refused with node and job; the first trains on",
)
def test_a_second_job_is_refused_from_the_other_node(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    job = pretrain(cluster, tokens, tmp_path, nodes=1, steps=1_000_000)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    node = cluster.run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    other = {"node1": "node2", "node2": "node1"}[node]
    # Under another name, so that it does not wait for the first.
    options = ("--parsable", "--job-name=another", f"--nodelist={other}", f"--chdir={tmp_path}")
    second = cluster.run("sbatch", *options, str(tmp_path / "jobs" / "pretrain.sbatch")).strip()
    wait_until(lambda: state(cluster, second) in ("FAILED", "COMPLETED"), tmp_path)
    assert state(cluster, second) == "FAILED"
    assert "'train' is at work here: process" in log(tmp_path) and f"on {node} (SLURM job {job})" in log(
        tmp_path
    )
    reached = step(tmp_path)
    wait_until(lambda: step(tmp_path) >= reached + 10, tmp_path)
    cluster.run("scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: state(cluster, job) == "FAILED", tmp_path)
    numbers = [number for number, _ in losses(tmp_path)]
    assert numbers == list(range(1, len(numbers) + 1)) and complete(tmp_path / "pretraining")
