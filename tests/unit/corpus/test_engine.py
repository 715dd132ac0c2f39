"""Tasks on this machine: what a dead process, a mistake and a restart leave behind; and a cluster that is not
there."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from biobert_scale.corpus import engine
from biobert_scale.corpus.engine import Progress, run_tasks
from biobert_scale.errors import RunFailed, UserError
from tests.factories import leave_a_mark

ROOT = Path(__file__).parents[3]


def die_once(directory: Path, rank: int) -> None:
    """Task 2 is killed the first time, as by a machine that runs out of memory."""
    if rank == 2 and not (directory / "died").exists():
        (directory / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    leave_a_mark(directory, rank)


def refuse(directory: Path, rank: int) -> None:
    if rank == 1:
        raise UserError("not what it says", where=directory / "a.xml.gz", remedy="fetch it again")
    leave_a_mark(directory, rank)


def leave_early(_directory: Path, rank: int) -> None:
    os._exit(3)


@pytest.mark.fault(
    "SIGKILL of a worker of a local build",
    "named; the same command repeats that task only",
    lost="one task's work",
)
def test_a_killed_process_is_told_instead_of_waited_for(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="task 2 was killed by SIGKILL") as failure:
        run_tasks(partial(die_once, tmp_path), tasks=5, workers=2, work=tmp_path / "work")
    assert failure.value.exit_code == 1 and "same command" in failure.value.remedy
    completed = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work" / "completions").iterdir()}
    assert completed.keys() & {"00000", "00001"} and "00002" not in completed
    run_tasks(partial(die_once, tmp_path), tasks=5, workers=2, work=tmp_path / "work")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work" / "completions").iterdir()}
    assert after.items() >= completed.items() and len(after) == 5
    assert all((tmp_path / f"mark-{int(rank)}").read_text() == "x" for rank in completed)


@pytest.mark.fault("a worker exits by itself", "named with its exit code")
def test_a_process_that_leaves_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="ended with code 3"):
        run_tasks(partial(leave_early, tmp_path), tasks=2, workers=2, work=tmp_path / "work")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_in_the_input_arrives_as_it_was_raised(
    tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as failure:
        run_tasks(partial(refuse, tmp_path), tasks=3, workers=workers, work=tmp_path / "work")
    assert (
        str(failure.value) == f"not what it says: {tmp_path / 'a.xml.gz'}; fetch it again"
        and failure.value.exit_code == 2
    )
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_runs_once(tmp_path: Path, workers: int) -> None:
    for _ in range(2):
        run_tasks(partial(leave_a_mark, tmp_path), tasks=7, workers=workers, work=tmp_path / "work")
    assert [(tmp_path / f"mark-{rank}").read_text() for rank in range(7)] == ["x"] * 7
    run_tasks(partial(leave_a_mark, tmp_path), tasks=0, workers=workers, work=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_progress_without_a_terminal_is_few_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Progress("reading", 9) as progress:
        progress.show(1)
        monkeypatch.setattr(engine, "_SECONDS_BETWEEN_LINES", 0)
        for completed in (2, 2, 3):
            progress.show(completed, "4 RUNNING")
    assert caplog.messages == ["reading: 2 of 9 done (4 RUNNING)", "reading: 3 of 9 done (4 RUNNING)"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--executor", "slurm"], "no sbatch, squeue, scancel on the PATH"),
        (["--partition", "main"], "add --executor slurm"),
        (["--executor", "slurm", "--tasks", "0"], "--tasks cannot be 0"),
    ],
)
@pytest.mark.parametrize("stage", ["corpus", "tokens"])
def test_a_cluster_that_is_not_there_is_one_line_before_any_work(
    tmp_path: Path, stage: str, options: list[str], says: str
) -> None:
    inputs = ["--raw", "raw"] if stage == "corpus" else ["--corpus", "corpus", "--vocabulary", "vocabulary"]
    command = [
        sys.executable,
        "-m",
        "biobert_scale.cli",
        stage,
        "build",
        *inputs,
        "--output",
        "out",
        *options,
    ]
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()
