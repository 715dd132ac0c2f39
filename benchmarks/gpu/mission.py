"""BioBERT-Large for a short time: trained in fp16 with a dynamic loss scale, killed, resumed, exported and
fine-tuned."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.settings import TINY, possible
from benchmarks.result import Conditions, conditions, device_name, heading, write_result
from benchmarks.train_step.load import this_device
from biobert_scale.errors import RunFailed
from biobert_scale.evaluation.finetune import read_metrics
from biobert_scale.ranges import within
from biobert_scale.training.checkpoint.retention import complete, step_of

_LIBRARIES = ("torch", "transformers", "accelerate", "deepspeed")
_SECONDS_BETWEEN_LOOKS = 0.2


class MissionResult(Conditions):
    """All of it."""

    tiny: bool
    steps: int
    killed_at: int
    """The last step that the killed process logged."""
    resumed_at: int
    """The checkpoint's step."""
    losses: dict[str, float]
    """By step; of those that were taken twice, as the resumed run took them."""
    loss_scales: dict[str, float]
    skipped_steps: int
    sequences_per_second: float
    """Median over the second half of the steps."""
    peak_memory_bytes: int
    f1: float
    """Test F1 in percent on NCBI-disease."""
    dev_scores: list[float]
    seconds: dict[str, float]
    """By the clock, of each command."""


class _Commands:
    """Runs this package's commands, and keeps how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "biobert_scale", *map(str, words)]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)

    def run(self, name: str, *words: object) -> None:
        begun = time.monotonic()
        code = self.start(*words).wait()
        self.seconds[name] = round(time.monotonic() - begun, 1)
        if code:
            raise RunFailed(f"it ended with code {code}", where=name, remedy="see its messages above")


@within(steps="[8, 1000000]", epochs="[1, 1000]", micro_batch_size="[1, 4096]")
def mission(
    *,
    tokens: Path,
    prepared: Path,
    output: Path,
    scratch: Path,
    steps: int = 200,
    micro_batch_size: int = 32,
    epochs: int = 5,
    tiny: bool = False,
) -> None:
    """Measure BioBERT-Large for some steps: trained, killed, resumed, exported, fine-tuned on NCBI-disease.

    Writes dated JSON and Markdown. The same line again goes on with what `scratch` holds.

    Args:
        tokens: token shards of the recipe's vocabulary.
        prepared: a directory that `evaluate prepare` wrote.
        output: directory of the results.
        scratch: directory of the run and the models, new for each measurement: 5 GB a checkpoint, of three.
        steps: optimizer steps of 256 sequences; a tenth of them warm-up.
        epochs: of fine-tuning.
        tiny: a small model, to try this itself, on a CPU as well.
    """
    device = this_device()
    home, model, scores = scratch / "run", scratch / "model", scratch / "scores"
    every = max(steps // 4, 2)
    settings: dict[str, Any] = {
        "training.micro-batch-size": 4 if tiny else micro_batch_size,
        "training.precision.dtype": possible("fp16", device),
        "training.log-every-steps": 1,
        "training.schedule.warmup-steps": steps // 10,
        "training.schedule.total-steps": steps,
        "training.checkpoint.every-steps": every,
        "training.validation.every-steps": every,
        "training.validation.sequences": 64 if tiny else 1024,
    }
    if tiny:
        settings |= {f"model.{name.replace('_', '-')}": value for name, value in vars(TINY).items() if value}
        settings |= {"training.global-batch-size": 8, "data.max-seq-length": 128}
    train = ["train", "--config", "biobert-large", "--tokens", tokens, "--output", home]
    train += [word for name, value in settings.items() for word in (f"--{name}", value)]
    commands = _Commands()
    killed_at = _train_and_kill(commands, train, home, after=2 * every)
    resumed_at = max(map(step_of, complete(home)))
    commands.run("the rest, resumed", *train)
    commands.run("export", "export", home, "--tokens", tokens, "--output", model)
    finetune = ["evaluate", "finetune", "--prepared", prepared, "--task", "NCBI-disease", "--model", model]
    finetune += ["--output", scores, "--epochs", epochs, "--no-keep-weights"]
    commands.run("fine-tuning", *finetune)
    (found,) = scores.glob("NCBI-disease/*/metrics.json")
    metrics = read_metrics(found.parent)
    records = [record for record in _records(home) if "perf/sequences_per_second" in record]
    steady = [record["perf/sequences_per_second"] for record in records if record["global_step"] > steps // 2]
    options = f"mission --tokens DIR --prepared DIR --scratch DIR --steps {steps}"
    options += f" --micro-batch-size {micro_batch_size} --epochs {epochs}" + " --tiny" * tiny
    stated = conditions(options, _LIBRARIES)
    stated["machine"]["device"] = device_name(stated["machine"]["cpu"])
    result: MissionResult = {
        **stated,
        "tiny": tiny,
        "steps": steps,
        "killed_at": killed_at,
        "resumed_at": resumed_at,
        "losses": {str(record["global_step"]): record["train/loss"] for record in records},
        "loss_scales": {
            str(record["global_step"]): record["optim/loss_scale"]
            for record in records
            if record.get("optim/loss_scale")
        },
        "skipped_steps": records[-1].get("optim/skipped_steps", 0),
        "sequences_per_second": statistics.median(steady),
        "peak_memory_bytes": max(record["perf/peak_memory_bytes"] for record in records),
        "f1": metrics["score"],
        "dev_scores": metrics["dev_scores"],
        "seconds": commands.seconds,
    }
    page = mission_page(result)
    write_result(output, f"mission-{result['date']}", result, page)
    print(page)


def _train_and_kill(commands: _Commands, train: list[Any], home: Path, *, after: int) -> int:
    """Train until a checkpoint of that step is complete and a later step is logged; then SIGKILL. Returns the
    last step that was logged."""
    begun = time.monotonic()
    process = commands.start(*train)
    while process.poll() is None:
        logged = max(
            (record["global_step"] for record in _records(home) if "train/loss" in record), default=0
        )
        if logged > after and any(step_of(checkpoint) >= after for checkpoint in complete(home)):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            commands.seconds["until it was killed"] = round(time.monotonic() - begun, 1)
            return logged
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise RunFailed(
        f"training ended with code {process.returncode} before it was killed",
        where=str(home),
        remedy="see its messages above; take more --steps, or another --scratch",
    )


def _records(home: Path) -> list[dict[str, Any]]:
    path = home / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def mission_page(result: MissionResult) -> str:
    """Render what `mission` measured."""
    losses = result["losses"]
    scales = list(result["loss_scales"].values())
    shown = sorted({1, result["steps"] // 4, result["steps"] // 2, result["steps"]})
    lines = heading("BioBERT-Large for a short time", result)
    if result["tiny"]:
        lines[0] += " (tiny model: a trial, no measurement)"
    lines += [
        f"- {result['steps']} steps; killed (SIGKILL) after step {result['killed_at']}, resumed at"
        f" step {result['resumed_at']}",
        f"- {result['sequences_per_second']:,.1f} sequences/s; memory at most"
        f" {result['peak_memory_bytes'] / 1e9:.1f} GB",
        f"- {len(losses)} of {result['steps']} steps are in the metrics; {result['skipped_steps']} skipped"
        + (f"; loss scale {scales[0]:,.0f} at first, {scales[-1]:,.0f} at last" if scales else ""),
        f"- NCBI-disease: test F1 {result['f1']:.2f}; dev "
        + ", ".join(f"{score:.2f}" for score in result["dev_scores"]),
        "",
        "| step | loss |",
        "|---|---|",
        *(f"| {step} | {losses[str(step)]:.4f} |" for step in shown if str(step) in losses),
        "",
        "| command | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.0f} |" for name, seconds in result["seconds"].items()),
    ]
    return "\n".join(lines) + "\n"
