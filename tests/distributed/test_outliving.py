"""The last save of a run outlives its rank, and the next start waits for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.files import read_json, write_json
from biobert_scale.holder import started_at
from biobert_scale.training.checkpoint.manifest import problem
from biobert_scale.training.checkpoint.outliving import being_written, wait_for_writers
from biobert_scale.training.checkpoint.retention import complete
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import write_tokens
from tests.launching import ROOT, attempt, command, environment, free_port

SCRIPT = str(ROOT / "tests/distributed/apart.py")
SLOW = str(ROOT / "tests/distributed/slow_worker.py")


def until(condition: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline and (process is None or process.poll() is None)
        time.sleep(0.01)


def begin(directory: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, str(directory)],
        env={**environment(), **more},
        start_new_session=True,  # as torchrun starts its ranks
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.fault(
    "SIGKILL of a rank and its process group during a save",
    "the save is finished by its own process; the next start waits for it",
)
def test_a_save_is_finished_where_its_rank_and_the_rank_s_group_are_killed(tmp_path: Path) -> None:
    rank = begin(tmp_path)
    until((tmp_path / "writing").exists, rank)
    staging = tmp_path / "checkpoints" / ".step-00000007.part"
    os.killpg(rank.pid, signal.SIGTERM)
    os.killpg(rank.pid, signal.SIGKILL)
    rank.wait()
    assert being_written(staging) and not (tmp_path / "committed").exists()
    waiting = threading.Thread(target=wait_for_writers, args=(tmp_path,), kwargs={"patience": 240})
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive(), "the next start waits"
    (tmp_path / "go").touch()
    waiting.join()
    assert (tmp_path / "committed").read_text() == "1 False"
    assert not being_written(staging)


@pytest.mark.slow
def test_the_rank_waits_and_says_what_went_wrong(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    rank = begin(tmp_path)
    assert rank.communicate()[0] == "trouble None\n"
    assert (tmp_path / "committed").read_text() == "1 False"
    (tmp_path / "checkpoints" / ".step-00000007.part").mkdir()
    (tmp_path / "checkpoints" / ".step-00000007.part").rmdir()
    assert "step-00000007" in begin(tmp_path).communicate()[0], "the name is taken"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "no memory"])
@pytest.mark.fault("the process that writes a checkpoint: {how}", "the rank writes it itself")
def test_a_process_that_is_lost_is_replaced(how: str, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    assert begin(tmp_path, CRASH=how).communicate()[0] == "trouble None\n"
    assert (tmp_path / "committed").read_text() == "1 True"


@pytest.mark.slow
def test_a_process_that_is_lost_after_its_work_has_done_it(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    assert begin(tmp_path, CRASH="killed after its work").communicate()[0] == "trouble None\n"
    assert (tmp_path / "committed").read_text() == "1 False"


def test_a_writer_that_is_lost_with_all_parts_written_is_replaced(tokens: Path, tmp_path: Path) -> None:
    """It has read the other rank's note, which the rank in its place must read again."""
    death = {"point": "its writer, before the name", "step": 2, "rank": 0, "asked_at": 2}
    write_json(tmp_path / "deaths.json", [death])
    patience = ("--training.engine.communication-timeout-seconds", "40")
    job = attempt(
        tokens,
        tmp_path / "run",
        *patience,
        *("--training.guards.stall-seconds", "30"),
        processes=2,
        worker=str(ROOT / "tests/distributed/restless_worker.py"),
        variables={"DEATHS": str(tmp_path / "deaths.json")},
    )
    assert job.returncode == 75 and "was lost; writing it here" in job.stderr, job.stderr[-2000:]
    (checkpoint,) = complete(tmp_path / "run")
    assert checkpoint.name == "step-00000002" and problem(checkpoint) is None
    assert not list(checkpoint.glob(".*"))


@pytest.mark.slow
def test_a_writer_that_was_given_up_does_not_end_another_start_s_save(tmp_path: Path) -> None:
    """It waits for the part of a rank that is lost; a later start saves the same step meanwhile."""
    (tmp_path / "go").touch()
    rank = begin(tmp_path, RANKS="2")
    staging = tmp_path / "checkpoints" / ".step-00000007.part"
    until((staging / ".rank-00000.json").exists, rank)
    writer = read_json(staging / ".writer-00000.json")["process"]
    rank.kill()
    rank.wait()
    shutil.rmtree(staging)
    staging.mkdir()
    note = {"file": "state-00001-of-00002.safetensors", "bytes": 1, "sha256": "0" * 64}
    write_json(staging / ".rank-00001.json", note)
    until(lambda: not started_at(writer))
    assert not (tmp_path / "committed").exists() and staging.exists()


@pytest.mark.parametrize(
    "mark", [{}, [], {"host": "here"}, {"host": os.uname().nodename, "process": 1, "started": "-1"}]
)
@pytest.mark.fault("the mark of a writer that is dead, or no mark at all in its file", "not waited for")
def test_what_a_killed_writer_left_is_not_waited_for(mark: object, tmp_path: Path) -> None:
    staging = tmp_path / "checkpoints" / ".step-00000007.part"
    staging.mkdir(parents=True)
    write_json(staging / ".writer-00000.json", mark)
    if mark != {"host": "here"}:
        assert not being_written(staging)
        wait_for_writers(tmp_path, patience=240)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["2", "120"])
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
@pytest.mark.fault(
    "SIGTERM to {launcher}, which waits {seconds} s for its ranks, during a slow save",
    "the checkpoint of the step at hand is complete and intact",
)
def test_a_save_that_takes_longer_than_the_launcher_waits(
    launcher: str, seconds: str, tokens: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    line = command(
        tokens, run, "--training.checkpoint.every-steps", "1000", processes=2, steps=4000, worker=SLOW
    )
    if launcher == "torchrun":
        start = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
        line = [sys.executable, *start, *line[line.index(SLOW) :]]
    where = {**environment(), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": seconds, "SLOW": str(tmp_path / "go")}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(line, env=where, stdout=log, stderr=log, cwd=tmp_path)
        until(lambda: any(record["global_step"] >= 4 for record in read_metrics(run)), process)
        process.send_signal(signal.SIGTERM)
        if seconds == "2":
            process.wait(240)  # while the save still waits
            assert not complete(run)
        (tmp_path / "go").touch()
        process.wait(240)
    wait_for_writers(run, patience=240)
    (checkpoint,) = complete(run)
    assert problem(checkpoint) is None
    assert ("stopped at step" in (tmp_path / "log").read_text()) == (seconds != "2")
    stopped_at = max(record["global_step"] for record in read_metrics(run) if "train/loss" in record)
    assert checkpoint.name == f"step-{stopped_at:08d}"
