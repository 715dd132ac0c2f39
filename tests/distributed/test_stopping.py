"""Asking a run to stop under each launcher, by what that launcher passes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biobert_scale.training.checkpoint.retention import complete
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import write_tokens
from tests.launching import command, environment, free_port

pytestmark = pytest.mark.slow
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "PORT", "-m"],
    "torchrun with USR1": [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "PORT",
        "--signals-to-handle",
        "SIGTERM,SIGINT,SIGUSR1",
        "-m",
    ],
    "elastic torchrun": [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "5",
        "-m",
    ],
    "deepspeed": ["-m", "deepspeed.launcher.runner", "--num_gpus", "2", "--master_port", "PORT", "--module"],
}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


@pytest.mark.parametrize(
    ("launcher", "request_"),
    [
        ("torchrun", "SIGTERM"),
        ("torchrun with USR1", "SIGUSR1"),
        ("torchrun", "the file STOP"),
        ("elastic torchrun", "the file STOP"),
        ("elastic torchrun", "SIGTERM"),
        ("deepspeed", "the file STOP"),
        ("accelerate", "the file STOP"),
    ],
)
@pytest.mark.fault("{request_}, to a run under {launcher}", "the step at hand ends; saved, stopped")
def test_a_request_ends_the_step_at_hand_and_saves(
    tokens: Path, tmp_path: Path, launcher: str, request_: str
) -> None:
    run = tmp_path / "run"
    line = command(tokens, run, processes=2, steps=4000)
    if launcher != "accelerate":
        line = [
            sys.executable,
            *(str(free_port()) if part == "PORT" else part for part in LAUNCHERS[launcher]),
            *line[line.index("biobert_scale.train") :],
        ]
    log = open(tmp_path / "log", "w")  # noqa: SIM115
    process = subprocess.Popen(line, env=environment(), stdout=log, stderr=log, cwd=tmp_path)
    deadline = time.monotonic() + 240
    while not any(record["global_step"] >= 4 for record in read_metrics(run)):
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.05)
    if request_ == "the file STOP":
        (run / "STOP").touch()
    else:
        process.send_signal(signal.Signals[request_])
    code = process.wait(120)
    told = (tmp_path / "log").read_text()
    stopped_at = max(record["global_step"] for record in read_metrics(run) if "train/loss" in record)
    assert (
        stopped_at < 4000
        and complete(run)[-1].name == f"step-{stopped_at:08d}"
        and not (run / "finished.json").exists()
    ), told[-3000:]
    assert "stopped at step" in told and told.count("resuming from") == 0
    assert not (run / "STOP").exists(), "the file would stop the next start as well"
    assert (code == 0) == (launcher == "elastic torchrun" and request_ == "the file STOP"), (
        code,
        told[-2000:],
    )
