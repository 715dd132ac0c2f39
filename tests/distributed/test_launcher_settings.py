"""A left-over configuration file of accelerate, and variables of its launcher: the recipe decides."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from biobert_scale.training.monitor.telemetry import read_metrics
from tests.launching import column, command, environment, train

HOSTILE = {
    "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "8",
    "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_USE_FSDP": "true",
}
LEFT_OVER = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config: {fsdp_version: 1, fsdp_auto_wrap_policy: NO_WRAP}
mixed_precision: bf16
dynamo_config: {dynamo_backend: INDUCTOR}
num_processes: 3
use_cpu: true
"""


def run(tokens: Path, run: Path, variables: dict[str, str], *overrides: str, processes: int) -> list[tuple]:
    clean = {name: value for name, value in environment().items() if not name.startswith("ACCELERATE_")}
    done = subprocess.run(
        command(tokens, run, *overrides, processes=processes),
        env={**clean, **variables},
        cwd=run.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (run / "finished.json").exists()
    return column(read_metrics(run), "train/loss", "optim/grad_norm")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["deepspeed", "ddp"])
@pytest.mark.fault(
    "five `ACCELERATE_*` variables against the recipe, {engine}",
    "losses and norms of a run without them",
)
def test_variables_change_nothing(tokens: Path, tmp_path: Path, engine: str) -> None:
    chosen = ("--training.engine.name", engine)
    names = ("train/loss", "optim/grad_norm")
    still = train(tokens, tmp_path / "still", *chosen, processes=1)
    hostile = train(tokens, tmp_path / "hostile", *chosen, processes=1, variables=HOSTILE)
    assert column(hostile, *names) == column(still, *names)


@pytest.mark.slow
@pytest.mark.fault(
    "a left-over default configuration of accelerate (FSDP, bf16, CPU)",
    "losses and norms of a run without it",
)
def test_a_left_over_file_changes_nothing(tokens: Path, tmp_path: Path) -> None:
    (tmp_path / "hf" / "accelerate").mkdir(parents=True)
    (tmp_path / "hf" / "accelerate" / "default_config.yaml").write_text(LEFT_OVER)
    home = {"HF_HOME": str(tmp_path / "hf")}
    still = run(tokens, tmp_path / "still", {"HF_HOME": os.devnull}, processes=2)
    assert run(tokens, tmp_path / "hostile", home, processes=2) == still
