"""Ranks leave no thread behind: one of gloo's that is at work while the interpreter ends aborts a process
that had finished."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import write_tokens
from tests.launching import ROOT, environment, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are read from /proc"),
]

SHORT = [
    "--training.schedule.total-steps",
    "2",
    "--training.schedule.warmup-steps",
    "1",
    "--training.checkpoint.every-steps",
    "2",
]
COMMANDS = {
    "doctor": ["doctor", "--config", "demo"],
    "train with DeepSpeed": ["train", "--config", "demo", *SHORT, "--training.engine.name", "deepspeed"],
    "train with DDP": ["train", "--config", "demo", *SHORT, "--training.engine.name", "ddp"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_thread_of_the_ranks_network_outlives_the_command(command: list[str], tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "made", documents=60)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    worker = str(ROOT / "tests" / "distributed" / "told_threads.py")
    done = subprocess.run(
        [
            sys.executable,
            *launcher,
            worker,
            *command,
            "--tokens",
            str(tokens),
            "--output",
            str(tmp_path / "run"),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert all(f"rank {rank} leaves gloo []" in done.stdout for rank in (0, 1)), done.stdout
