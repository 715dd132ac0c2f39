"""The same small run under every launcher, by the commands and files of `launch/`: the same losses, to the
last digit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import write_tokens
from tests.launching import ROOT, column, command, environment, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ACCELERATE = ["-m", "accelerate.commands.launch", "--config_file"]
TWO_RANKS = {
    "accelerate, the file for a CPU": [
        *ACCELERATE,
        str(ROOT / "launch/accelerate/cpu-2.yaml"),
        "--main_process_port",
        "PORT",
        "-m",
    ],
    "accelerate, the file for a node": [
        *ACCELERATE,
        str(ROOT / "launch/accelerate/node-8.yaml"),
        "--num_processes",
        "2",
        "--main_process_port",
        "PORT",
        "-m",
    ],
    "deepspeed": ["-m", "deepspeed.launcher.runner", "--num_gpus", "2", "--master_port", "PORT", "--module"],
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "PORT", "-m"],
}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


def launched(launcher: list[str], tokens: Path, run: Path, *more: str) -> list[tuple[Any, ...]]:
    """Every step's loss and gradient norm of a run under a launcher."""
    own = command(tokens, run, *more, processes=1)
    line = [
        sys.executable,
        *(str(free_port()) if part == "PORT" else part for part in launcher),
        *own[own.index("biobert_scale.train") :],
    ]
    done = subprocess.run(
        line, env=environment(), capture_output=True, text=True, timeout=400, cwd=run.parent
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return column(read_metrics(run), "train/loss", "optim/grad_norm")


def test_two_ranks_have_the_same_losses_under_every_launcher(tokens: Path, tmp_path: Path) -> None:
    losses = {
        name: launched(launcher, tokens, tmp_path / f"run{number}")
        for number, (name, launcher) in enumerate(TWO_RANKS.items())
    }
    expected = losses["torchrun"]
    assert len(expected) == 8 and all(found == expected for found in losses.values()), losses


def test_the_file_for_one_process_is_a_run_without_a_launcher(tokens: Path, tmp_path: Path) -> None:
    launcher = [*ACCELERATE, str(ROOT / "launch/accelerate/one.yaml"), "--main_process_port", "PORT", "-m"]
    assert launched(launcher, tokens, tmp_path / "one") == launched(["-m"], tokens, tmp_path / "plain")


@pytest.mark.proof  # sixteen ranks
def test_deepspeed_starts_sixteen_ranks(tokens: Path, tmp_path: Path) -> None:
    many = launched(
        ["-m", "deepspeed.launcher.runner", "--num_gpus", "16", "--master_port", "PORT", "--module"],
        tokens,
        tmp_path / "many",
        "--training.micro-batch-size",
        "1",
    )
    alone = launched(["-m"], tokens, tmp_path / "alone")
    assert [loss for _, loss, _ in many] == pytest.approx([loss for _, loss, _ in alone], rel=1e-4)
