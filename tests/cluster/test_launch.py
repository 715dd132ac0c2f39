"""The rendered jobs on a real cluster: to the end, through every kind of interruption with the same losses,
and as a chain."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.corpus.synthetic import write_synthetic
from biobert_scale.files import read_json, write_json
from biobert_scale.training.retention import complete
from biobert_scale.training.telemetry import read_metrics
from tests.factories import TINY, write_tokens
from tests.launching import column, train
from tests.slurm_cluster import ROOT, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]
STEPS = 200
RECIPE: dict[str, Any] = {
    **TINY,
    "training": {**TINY["training"], "validation": {"every_steps": 100, "sequences": 21}},
}
SITE = """
{more}
[devices]
cpus_per_device = 1
memory_gib_per_device = 1
[processors]
cpus = 2
memory_gib = 4
"""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


def prepare(work: Path, tokens: Path | None, recipe: dict[str, Any], *, site: str = "doctor = false") -> None:
    work.mkdir(parents=True, exist_ok=True)
    (work / "site.toml").write_text(SITE.format(more=site))
    write_json(work / "recipe.json", recipe)
    if tokens is not None:
        (work / "tokens").symlink_to(tokens)


def submit(cluster: Cluster, work: Path, *options: str) -> dict[str, str]:
    """Render, check and submit; returns the jobs by their stages."""
    printed = cluster.run(
        sys.executable,
        "-m",
        "biobert_scale.cli",
        "launch",
        "slurm",
        "--site",
        str(work / "site.toml"),
        "--config",
        str(work / "recipe.json"),
        "--work",
        str(work),
        "--quiet",
        "--submit",
        *options,
    )
    assert "to start at" in printed, printed
    return dict(line.split()[1:] for line in printed.splitlines() if line.startswith("submitted: "))


def pretrain(
    cluster: Cluster,
    tokens: Path,
    work: Path,
    *options: str,
    steps: int = STEPS,
    nodes: int = 2,
    devices: int = 2,
) -> str:
    prepare(work, tokens, RECIPE)
    sizes = (
        "--nodes",
        str(nodes),
        "--devices-per-node",
        str(devices),
        "--settings",
        f"training.schedule.total-steps={steps}",
    )
    return submit(cluster, work, *sizes, *options)["pretrain"]


def log(work: Path) -> str:
    return "".join(path.read_text() for path in sorted((work / "jobs" / "logs").glob("*.log")))


def wait_until(condition: Callable[[], object], work: Path, *, seconds: float = 800) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log(work)[-6000:]
        time.sleep(0.2)


def state(cluster: Cluster, job: str) -> str:
    """The job's state; an array's are joined."""
    return "+".join(
        sorted(
            set(cluster.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").split())
        )
    )


def step(work: Path) -> int:
    return max((record["global_step"] for record in read_metrics(work / "pretraining")), default=0)


def losses(work: Path) -> list[tuple[Any, ...]]:
    return column(read_metrics(work / "pretraining"), "train/loss")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes of two ranks, to the end in one go."""
    work = tmp_path_factory.mktemp("undisturbed") / "work"
    job = pretrain(cluster, tokens, work)
    wait_until(lambda: state(cluster, job) not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"), work)
    assert state(cluster, job) == "COMPLETED", log(work)[-6000:]
    return work


def test_two_nodes_of_two_ranks_train_like_one_process(
    undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    assert read_json(undisturbed / "pretraining" / "finished.json")["global_step"] == STEPS
    told = log(undisturbed)
    assert (
        "4 rank(s) on" in told
        and "on node[1-2]" in told
        and "pre-training ended with 0" in told
        and "going on from" not in told
    )
    (record,) = (undisturbed / "pretraining" / "jobs").iterdir()
    assert (
        "torch==" in (record / "packages.txt").read_text()
        and "SLURM_JOB_NUM_NODES=2" in (record / "environment.txt").read_text()
    )
    assert (record / "job.sbatch").read_text() == (undisturbed / "jobs" / "pretrain.sbatch").read_text()
    alone = column(train(tokens, tmp_path / "alone", steps=STEPS, processes=1), "train/loss")
    ours = losses(undisturbed)
    assert [number for number, _ in ours] == list(range(1, STEPS + 1))
    assert [loss for _, loss in ours[:40]] == pytest.approx([loss for _, loss in alone[:40]], rel=1e-4)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("scancel", "--batch", "--signal=USR1"), "SIGUSR1: asking the run to save and stop"),
        (("scontrol", "requeue"), "start 1, on"),
    ],
    ids=["USR1", "requeue"],
)
def test_an_interrupted_run_comes_back_with_the_same_losses(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path, command: tuple[str, ...], says: str
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run(*command, job)
    wait_until(lambda: state(cluster, job) == "COMPLETED", tmp_path)
    told = log(tmp_path)
    assert says in told and "start 1, on" in told and "going on from step-" in told, told
    assert losses(tmp_path) == losses(undisturbed)


def test_a_killed_rank_costs_the_steps_since_the_last_checkpoint(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    """Also where the next start is killed before it gets anywhere: a failure that comes once, or twice, does
    not end the run."""
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    ranks = ranks_of(cluster, tmp_path)
    assert len(ranks) == 4
    cluster.run("kill", "-KILL", ranks[-1])
    wait_until(lambda: "start 1, on" in log(tmp_path) and ranks_of(cluster, tmp_path), tmp_path)
    assert "going on from" not in log(tmp_path)
    cluster.run("kill", "-KILL", ranks_of(cluster, tmp_path)[-1])
    wait_until(lambda: state(cluster, job) == "COMPLETED", tmp_path)
    assert (
        log(tmp_path).count("pre-training ended with 137") == 2
        and "start 2, on" in log(tmp_path)
        and "going on from step-" in log(tmp_path)
    )
    assert losses(tmp_path) == losses(undisturbed)


def ranks_of(cluster: Cluster, work: Path) -> list[str]:
    """The processes of a job's ranks, as the head numbers them."""
    process = cluster.start("pgrep", "--full", f"^{sys.executable} -m biobert_scale.train .*{work}/")
    return process.communicate(timeout=60)[0].split()


def test_a_run_that_fails_before_its_first_checkpoint_stays_failed(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    prepare(tmp_path, None, RECIPE)
    job = submit(cluster, tmp_path, "--nodes", "2", "--devices-per-node", "1")["pretrain"]
    wait_until(lambda: state(cluster, job) == "FAILED", tmp_path)
    assert (
        "pre-training ended with 2" in log(tmp_path) and log(tmp_path).count("biobert-scale: unfinished") == 1
    )


def test_the_time_limit_saves_requeues_and_goes_on(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    """SLURM's own signal ahead of a limit; then the end is asked for, and nothing comes back."""
    job = pretrain(cluster, tokens, tmp_path, "--time", "00:10:00", "--signal-seconds", "90", steps=1_000_000)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=3")
    wait_until(lambda: "start 1, on" in log(tmp_path), tmp_path)
    told = log(tmp_path)
    assert (
        "SIGUSR1: asking the run to save and stop" in told
        and "pre-training ended with 75, asked to stop" in told
        and "stopped at step" in told
    )
    saved = complete(tmp_path / "pretraining")[-1].name
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")
    wait_until(
        lambda: (
            f"going on from {saved}" in log(tmp_path)
            and step(tmp_path) > int(saved.removeprefix("step-")) + 5
        ),
        tmp_path,
    )
    cluster.run("scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: state(cluster, job) == "FAILED", tmp_path)
    assert log(tmp_path).count("ended with 75") == 2 and complete(tmp_path / "pretraining")[-1].name > saved
    numbers = [number for number, _ in losses(tmp_path)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_cancelled_job_leaves_an_intact_checkpoint(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    job = pretrain(cluster, tokens, tmp_path, steps=1_000_000)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run("scancel", job)
    wait_until(lambda: state(cluster, job) == "CANCELLED", tmp_path)
    said = cluster.run(
        sys.executable, "-m", "biobert_scale.cli", "checkpoint", "verify", str(tmp_path / "pretraining")
    )
    assert complete(tmp_path / "pretraining")[-1].name in said, said


def test_a_crashed_node_costs_the_steps_since_the_last_checkpoint(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    away = cluster.directory / "node2.down"
    away.touch()
    cluster.run("kill", "-KILL", (cluster.directory / "node2.pid").read_text().strip())
    wait_until(lambda: state(cluster, job) == "PENDING", tmp_path)
    away.unlink()
    wait_until(lambda: state(cluster, job) == "COMPLETED", tmp_path)
    assert "start 1, on" in log(tmp_path) and "going on from step-" in log(tmp_path)
    assert losses(tmp_path) == losses(undisturbed)


CHAIN = {
    **RECIPE,
    "corpus": {"minimum_words": 5},
    "vocabulary": {"size": 600},
    "tokens": {"validation_fraction": 0.1},
    "evaluation": {
        "tasks": ["NCBI-disease", "HoC"],
        "seeds": [1, 2],
        "entities": {"epochs": 1, "max_seq_length": 64, "dropout": 0.0},
        "documents": {"epochs": 1, "max_seq_length": 64, "dropout": 0.0},
    },
}
WHOLE = ("--stages", "all", "--nodes", "2", "--devices-per-node", "1", "--settings")


def test_the_whole_chain_from_raw_files_to_the_table(cluster: Cluster, tmp_path: Path) -> None:
    """The corpus as arrays that its job submits; pre-training is sent back to the queue once, and what comes
    after waits for it."""
    write_synthetic(tmp_path / "raw", seed=1, abstracts=300, full_texts=10)
    prepare(tmp_path, None, CHAIN)
    jobs = submit(cluster, tmp_path, *WHOLE, "training.schedule.total-steps=200", "--array-tasks", "2")
    assert list(jobs) == ["corpus", "tokens", "pretrain", "export", "evaluate", "table"]
    wait_until(
        lambda: (
            step(tmp_path) >= 12
            or "FAILED" in state(cluster, jobs["corpus"]) + state(cluster, jobs["tokens"])
        ),
        tmp_path,
    )
    cluster.run("scancel", "--batch", "--signal=USR1", jobs["pretrain"])
    wait_until(lambda: "start 1, on" in log(tmp_path), tmp_path)
    assert state(cluster, jobs["export"]) == "PENDING"
    wait_until(lambda: state(cluster, jobs["table"]) in ("COMPLETED", "CANCELLED", "FAILED"), tmp_path)
    assert {stage: state(cluster, job) for stage, job in jobs.items()} == dict.fromkeys(jobs, "COMPLETED"), (
        log(tmp_path)[-6000:]
    )
    scored = sorted(
        str(path.parent.relative_to(tmp_path / "evaluation"))
        for path in (tmp_path / "evaluation").rglob("metrics.json")
    )
    assert scored == [
        "HoC/pretrained-seed1",
        "HoC/pretrained-seed2",
        "NCBI-disease/pretrained-seed1",
        "NCBI-disease/pretrained-seed2",
    ]
    assert "NCBI-disease" in (tmp_path / "evaluation" / "table.txt").read_text()


def test_the_chain_ends_where_a_stage_fails(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    prepare(tmp_path, None, CHAIN)
    jobs = submit(cluster, tmp_path, *WHOLE, "training.schedule.total-steps=200")
    wait_until(lambda: state(cluster, jobs["table"]) in ("COMPLETED", "CANCELLED", "FAILED"), tmp_path)
    states = [state(cluster, job) for job in jobs.values()]
    assert states == ["FAILED", *["CANCELLED"] * 5], states
    assert not (tmp_path / "tokens").exists() and "biobert-scale: " in log(tmp_path)


def test_a_job_that_slurm_would_not_take_is_refused_before_it_is_submitted(
    cluster: Cluster, tokens: Path, tmp_path: Path
) -> None:
    prepare(tmp_path, tokens, RECIPE)
    queued = ("squeue", "--noheader", "--states=pending,running", "--format=%i")
    before = cluster.run(*queued)
    with pytest.raises(AssertionError, match=r"cannot be satisfied|not available"):
        submit(
            cluster,
            tmp_path,
            "--nodes",
            "2",
            "--devices-per-node",
            "9",
            "--settings",
            "training.global-batch-size=18",
            "training.micro-batch-size=1",
        )
    assert cluster.run(*queued) == before
    # By hand, without the check: what was submitted before the refused one leaves the queue.
    jobs = tmp_path / "jobs"
    (jobs / "submit.sh").write_text(
        (jobs / "submit.sh").read_text().replace("for stage in pretrain;", "for stage in first pretrain;")
    )
    (jobs / "first.sbatch").write_text("#!/bin/bash\n#SBATCH --begin=now+1hour\ntrue\n")
    (jobs / "pretrain.sbatch").write_text("#!/bin/bash\n#SBATCH --partition=none-such\ntrue\n")
    with pytest.raises(AssertionError, match="invalid partition"):
        cluster.run("bash", str(jobs / "submit.sh"))
    assert cluster.run(*queued) == before


@pytest.mark.parametrize(("open_files", "ends"), [(600, "COMPLETED"), (200, "FAILED")])
def test_the_doctor_looks_before_the_ranks_train(
    cluster: Cluster, tokens: Path, tmp_path: Path, open_files: int, ends: str
) -> None:
    """Four ranks can do with 288 open files, and shall have four times that: a warning goes on, what fails
    ends the job."""
    prepare(tmp_path, tokens, RECIPE, site=f'setup = "ulimit -n {open_files}"')
    job = submit(cluster, tmp_path, "--nodes", "2", "--devices-per-node", "2")["pretrain"]
    wait_until(lambda: state(cluster, job) in ("COMPLETED", "FAILED"), tmp_path)
    told, (record,) = log(tmp_path), (tmp_path / "pretraining" / "jobs").iterdir()
    assert state(cluster, job) == ends and "tiny on 4 rank(s), 2 node(s), cpu" in told, told[-6000:]
    found = {finding["check"]: finding for finding in read_json(record / "doctor.json")["findings"]}
    assert f"{found['open files']['status']:<4}  open files" in told and found["open files"]["remedy"] in told
    assert (
        found["open files"]["status"] == ("WARN" if ends == "COMPLETED" else "FAIL")
        and found["tokens"]["status"] == "OK"
    )
    assert (
        "(2 host(s))" in found["checkpoint directory on all ranks"]["told"]
        and found["all-reduce"]["figures"]["bus_bandwidth"] > 0
    )
    assert step(tmp_path) == (8 if ends == "COMPLETED" else 0) and ("pre-training ended" in told) == (
        ends == "COMPLETED"
    )


@pytest.mark.proof  # sixteen ranks
def test_two_nodes_of_eight_ranks(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    prepare(tmp_path, tokens, RECIPE)
    job = submit(
        cluster,
        tmp_path,
        "--nodes",
        "2",
        "--devices-per-node",
        "8",
        "--settings",
        "training.micro-batch-size=1",
    )["pretrain"]
    wait_until(lambda: state(cluster, job) in ("COMPLETED", "FAILED"), tmp_path)
    assert "16 rank(s) on" in log(tmp_path) and "pre-training ended with 0" in log(tmp_path), log(tmp_path)[
        -6000:
    ]
    alone = column(train(tokens, tmp_path / "alone", processes=1), "train/loss")
    assert [loss for _, loss in losses(tmp_path)] == pytest.approx([loss for _, loss in alone], rel=1e-4)


NODE_COMMANDS = {
    "accelerate": (
        "accelerate.commands.launch --config_file {root}/launch/accelerate/two-nodes-of-8.yaml"
        " --num_processes 4 --machine_rank $SLURM_NODEID --main_process_ip node1 --main_process_port 29517 -m"
    ),
    "deepspeed": (
        "deepspeed.launcher.runner --hostfile {work}/hostfile --no_ssh --node_rank $SLURM_NODEID"
        " --master_addr node1 --master_port 29518 --module"
    ),
    "torchrun": (
        "torch.distributed.run --nnodes 2 --nproc-per-node 2 --node-rank $SLURM_NODEID --master-addr node1"
        " --master-port 29519 -m"
    ),
}


@pytest.mark.parametrize("launcher", NODE_COMMANDS)
def test_a_launcher_on_each_of_two_nodes_trains_as_srun_does(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path, launcher: str
) -> None:
    """What a site without SLURM starts by hand on each node, here by srun, one process a node."""
    prepare(tmp_path, tokens, read_json(undisturbed / "jobs" / "recipe.json"))
    (tmp_path / "hostfile").write_text("node1 slots=2\nnode2 slots=2\n")
    (tmp_path / "job.sh").write_text(
        f"#!/bin/bash\ncd {tmp_path}\nsrun --kill-on-bad-exit=1 bash -c 'exec {sys.executable} -m"
        f" {NODE_COMMANDS[launcher].format(root=ROOT, work=tmp_path)} biobert_scale.train --config"
        " recipe.json --tokens tokens --output pretraining'\n"
    )
    options = (
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=2",
        "--mem=3G",
        f"--output={tmp_path}/jobs/logs/job.log",
    )
    (tmp_path / "jobs" / "logs").mkdir(parents=True)
    job = cluster.run("sbatch", "--parsable", *options, str(tmp_path / "job.sh")).strip()
    wait_until(lambda: state(cluster, job) in ("COMPLETED", "FAILED"), tmp_path)
    assert state(cluster, job) == "COMPLETED", log(tmp_path)[-6000:]
    assert losses(tmp_path) == losses(undisturbed)
