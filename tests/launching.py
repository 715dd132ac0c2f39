"""Runs under the real launcher, for the tests beside this file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from biobert_scale.files import write_json
from biobert_scale.launch.ports import free_port
from biobert_scale.training.telemetry import read_metrics
from tests.factories import TINY

ROOT = Path(__file__).parents[1]


def command(
    tokens: Path,
    run: Path,
    *overrides: str,
    processes: int,
    dtype: str = "fp32",
    steps: int = 8,
    worker: str = "",
) -> list[str]:
    """The command line of a run.

    Args:
        worker: a Python file that every rank runs in place of the package's own module.
    """
    recipe = run.with_suffix(".json")
    write_json(recipe, TINY)
    launcher = [
        "-m",
        "accelerate.commands.launch",
        "--use_deepspeed",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--num_cpu_threads_per_process",
        "1",
        "--main_process_port",
        str(free_port()),
    ]
    options = [
        "--config",
        str(recipe),
        "--tokens",
        str(tokens),
        "--output",
        str(run),
        "--training.precision.dtype",
        dtype,
        "--training.schedule.total-steps",
        str(steps),
        *overrides,
    ]
    return [
        sys.executable,
        *(launcher if processes > 1 else []),
        *([worker] if worker else ["-m", "biobert_scale.train"]),
        *options,
    ]


def environment() -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    }
    return {**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def train(
    tokens: Path, run: Path, *overrides: str, timeout: float = 300, **options: Any
) -> list[dict[str, Any]]:
    """A run to its end; returns its metrics."""
    done = subprocess.run(
        command(tokens, run, *overrides, **options),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=run.parent,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return read_metrics(run)


def column(metrics: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """(step, values) of the records that have the first name."""
    return [
        tuple(record[name] for name in ("global_step", *names)) for record in metrics if names[0] in record
    ]
