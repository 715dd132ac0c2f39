"""The rendered jobs on a real cluster: to the end, through every kind of interruption with the same losses,
and as a chain."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from biobert_scale.corpus.synthetic import write_synthetic
from biobert_scale.files import read_json
from biobert_scale.training.checkpoint.retention import complete
from tests.launching import column, train
from tests.slurm_cluster import ROOT, Cluster
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

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]
SAVED = "saved, requeued, resumed; losses equal the undisturbed run's"


def test_two_nodes_of_two_ranks_train_like_one_process(
    undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    assert read_json(undisturbed / "pretraining" / "finished.json")["global_step"] == STEPS
    told = log(undisturbed)
    assert (
        "4 rank(s) on" in told
        and "on node[1-2]" in told
        and "pre-training ended with 0" in told
        and "resuming from" not in told
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
        pytest.param(
            ("scancel", "--batch", "--signal=USR1"),
            "SIGUSR1: asking the run to save and stop",
            id="USR1",
            marks=pytest.mark.fault("SIGUSR1 to the job", SAVED),
        ),
        pytest.param(
            ("scontrol", "requeue"),
            "start 1, on",
            id="requeue",
            marks=pytest.mark.fault("the job is requeued by its administrator", SAVED),
        ),
    ],
)
def test_an_interrupted_run_comes_back_with_the_same_losses(
    cluster: Cluster, undisturbed: Path, tokens: Path, tmp_path: Path, command: tuple[str, ...], says: str
) -> None:
    job = pretrain(cluster, tokens, tmp_path)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run(*command, job)
    wait_until(lambda: state(cluster, job) == "COMPLETED", tmp_path)
    told = log(tmp_path)
    assert says in told and "start 1, on" in told and "resuming from step-" in told, told
    assert losses(tmp_path) == losses(undisturbed)


@pytest.mark.fault(
    "SIGKILL of one of four ranks",
    "srun ends the others, the job requeues itself; losses equal the undisturbed run's",
    lost="the steps since the last save",
)
@pytest.mark.fault(
    "SIGKILL of a rank of the next start before it makes a step",
    "requeued once more; losses equal the undisturbed run's",
)
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
    assert "resuming from" not in log(tmp_path)
    cluster.run("kill", "-KILL", ranks_of(cluster, tmp_path)[-1])
    wait_until(lambda: state(cluster, job) == "COMPLETED", tmp_path)
    assert (
        log(tmp_path).count("pre-training ended with 137") == 2
        and "start 2, on" in log(tmp_path)
        and "resuming from step-" in log(tmp_path)
    )
    assert losses(tmp_path) == losses(undisturbed)


@pytest.mark.fault("a run that cannot begin", "failed with one line; not requeued for ever")
def test_a_run_that_fails_before_its_first_checkpoint_stays_failed(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    prepare(tmp_path, None, RECIPE)
    job = submit(cluster, tmp_path, "--nodes", "2", "--devices-per-node", "1")["pretrain"]
    wait_until(lambda: state(cluster, job) == "FAILED", tmp_path)
    assert (
        "pre-training ended with 2" in log(tmp_path) and log(tmp_path).count("biobert-scale: unfinished") == 1
    )


@pytest.mark.fault("the job's time limit", "SLURM's signal ahead of it: saved, requeued, resumed")
@pytest.mark.fault("SIGTERM to the job", "saved; the job ends and stays ended")
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
            f"resuming from {saved}" in log(tmp_path)
            and step(tmp_path) > int(saved.removeprefix("step-")) + 5
        ),
        tmp_path,
    )
    cluster.run("scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: state(cluster, job) == "FAILED", tmp_path)
    assert log(tmp_path).count("ended with 75") == 2 and complete(tmp_path / "pretraining")[-1].name > saved
    numbers = [number for number, _ in losses(tmp_path)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.fault(
    "`scancel` in the middle of training",
    "an intact checkpoint stays",
    lost="the steps since the last save",
)
def test_a_cancelled_job_leaves_an_intact_checkpoint(cluster: Cluster, tokens: Path, tmp_path: Path) -> None:
    job = pretrain(cluster, tokens, tmp_path, steps=1_000_000)
    wait_until(lambda: step(tmp_path) >= 12, tmp_path)
    cluster.run("scancel", job)
    wait_until(lambda: state(cluster, job) == "CANCELLED", tmp_path)
    said = cluster.run(
        sys.executable, "-m", "biobert_scale.cli", "checkpoint", "verify", str(tmp_path / "pretraining")
    )
    assert complete(tmp_path / "pretraining")[-1].name in said, said


@pytest.mark.fault(
    "a node loses its power",
    "requeued, resumed when it is back; losses equal the undisturbed run's",
    lost="the steps since the last save",
)
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
    assert "start 1, on" in log(tmp_path) and "resuming from step-" in log(tmp_path)
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


@pytest.mark.fault(
    "the first stage of a chain of six jobs fails",
    "the others are cancelled and leave nothing behind",
)
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
        "(2 host(s))" in found["checkpoint directory on all ranks"]["text"]
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
