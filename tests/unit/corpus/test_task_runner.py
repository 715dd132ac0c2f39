"""Tasks on this machine: what a dead process, a mistake and a restart leave behind; and a cluster that is not
there."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from biobert_scale.corpus import task_runner
from biobert_scale.corpus.task_runner import Progress, run_tasks
from biobert_scale.errors import RunFailed, UserError
from tests.tasks import die_once, leave_a_mark, leave_early, raise_what_no_pickle_holds, refuse

ROOT = Path(__file__).parents[3]


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
@pytest.mark.parametrize("code", [0, 3])
def test_a_process_that_leaves_is_told(tmp_path: Path, code: int) -> None:
    with pytest.raises(RunFailed, match=f"the process of task [01] ended with code {code}"):
        run_tasks(partial(leave_early, code), tasks=2, workers=2, work=tmp_path / "work")


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_that_no_pickle_holds_arrives_with_its_message(tmp_path: Path, rank: int) -> None:
    completed = tmp_path / "completions" / f"{1 - rank:05d}"
    completed.parent.mkdir()
    completed.touch()
    with pytest.raises(RuntimeError, match=": page 3 is torn") as failure:
        run_tasks(raise_what_no_pickle_holds, tasks=2, workers=2, work=tmp_path)
    assert "raise_what_no_pickle_holds" in failure.value.__notes__[0]


@pytest.mark.fault("{how} of a local build with two workers", "the workers end with it")
@pytest.mark.parametrize(("how", "sent"), [("Ctrl-C", signal.SIGINT), ("SIGKILL", signal.SIGKILL)])
def test_no_worker_outlives_its_build(tmp_path: Path, how: str, sent: signal.Signals) -> None:
    code = (
        "import sys; from pathlib import Path; from biobert_scale.corpus.task_runner import run_tasks;"
        " from tests.tasks import stay;"
        " run_tasks(stay, tasks=2, workers=2, work=Path(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    workers = [os.pidfd_open(int(process.stdout.readline())) for _ in range(2)]
    try:
        process.send_signal(sent)
        assert process.wait(60)
        assert all(select.select([worker], [], [], 60)[0] for worker in workers)
    finally:
        for worker in workers:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            os.close(worker)
    assert not list(tmp_path.glob("completions/0*"))


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
        monkeypatch.setattr(task_runner, "_SECONDS_BETWEEN_LINES", 0)
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
