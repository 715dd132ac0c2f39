"""The command `train` itself, on made-up tokens."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.made_up_tokens import write_made_up_tokens
from benchmarks.gpu.records import TrainerRun
from benchmarks.gpu.settings import TINY, Report, possible
from benchmarks.train_step.load import this_device
from biobert_scale.errors import RunFailed


def measure_trainer(report: Report, *, tiny: bool, dtype: str, scratch: str, compile: bool = False) -> None:
    """The command `train` itself under DeepSpeed, on made-up tokens: its metrics of some steps, a save behind
    training included."""
    dtype = possible(dtype, this_device())
    vocabulary, documents = (1000, 400) if tiny else (28_996, 2_000)
    tokens = write_made_up_tokens(
        Path(scratch) / "tokens",
        documents=documents,
        vocabulary_size=vocabulary,
        sentences=10 if tiny else 150,
    )
    steps = 6 if tiny else 24
    sizes = {
        "training.global-batch-size": 8 if tiny else 256,
        "training.micro-batch-size": 4 if tiny else 32,
        "training.schedule.warmup-steps": 4,
        "training.schedule.total-steps": steps,
    }
    shape = {
        f"model.{name.replace('_', '-')}": getattr(TINY, name)
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    } | {"data.max-seq-length": 128}
    settings = {
        **sizes,
        **(shape if tiny else {}),
        "training.precision.dtype": dtype,
        "training.log-every-steps": 1,
        "training.checkpoint.every-steps": steps // 3,
        "training.checkpoint.keep-best": 0,
        "training.checkpoint.keep-last": 1,
        "training.validation.sequences": 64,
        "training.precision.loss-scale-window": 8,
        "training.precision.initial-scale-power": 24,
        "training.precision.hysteresis": 1,
    }
    command = [
        sys.executable,
        "-m",
        "biobert_scale.train",
        "--config",
        "one-gpu",
        "--tokens",
        str(tokens),
        "--output",
        f"{scratch}/run-{dtype}",
    ]
    command += ["--compute.compile" if compile else "--compute.no-compile"] + [
        part for name, value in settings.items() for part in (f"--{name}", str(value))
    ]
    metrics = Path(scratch) / f"run-{dtype}" / "metrics.jsonl"
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    finally:  # where the part's time ends, too: what was trained so far is reported
        records = (
            [
                json.loads(line)
                for line in metrics.read_text().splitlines(keepends=True)
                if line.endswith("\n")
            ]
            if metrics.exists()
            else []
        )
        if any("perf/mfu" in record for record in records):
            report(_summary(records, dtype=dtype, compiled=compile))
    if done.returncode:
        raise RunFailed(
            f"it ended with code {done.returncode}: {done.stderr[-2000:]}",
            where="train",
            remedy="see its messages",
        )


def _summary(records: list[dict[str, Any]], *, dtype: str, compiled: bool) -> TrainerRun:
    """Of the records of a run's `metrics.jsonl`."""
    trained = [record for record in records if "perf/mfu" in record]
    steady = trained[len(trained) // 2 :]

    def median(name: str) -> float:
        return statistics.median(record[name] for record in steady)

    return {
        "dtype": dtype,
        "compiled": compiled,
        "steps": len(trained),
        "sequences_per_second": median("perf/sequences_per_second"),
        "mfu": median("perf/mfu"),
        "data_wait_fraction": sum(record["perf/data_wait_seconds"] for record in steady)
        / sum(record["perf/step_seconds"] for record in steady),
        "loss_scales": [record.get("optim/loss_scale") for record in trained],
        "skipped_steps": trained[-1]["optim/skipped_steps"],
        "losses": [record["train/loss"] for record in trained],
        "peak_memory_bytes": max(record["perf/peak_memory_bytes"] for record in trained),
        "checkpoint_stall_seconds": [
            record["perf/checkpoint_stall_seconds"]
            for record in records
            if "perf/checkpoint_stall_seconds" in record
        ],
        "checkpoint_write_seconds": [
            record["perf/checkpoint_write_seconds"]
            for record in records
            if "perf/checkpoint_write_seconds" in record
        ],
    }
