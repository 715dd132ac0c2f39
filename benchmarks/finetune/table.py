"""Time and F1 of `evaluate finetune` and of transformers' token-classification example, in turns."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from benchmarks.child import command
from benchmarks.result import Conditions, conditions, heading, spread, write_result
from benchmarks.turns import cpu_seconds, in_turns
from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import RunFailed
from biobert_scale.evaluation.finetune import read_metrics
from biobert_scale.ranges import within

OURS, PEER = "`biobert-scale evaluate finetune`", "transformers' Trainer, padded batches"


class FinetuneResult(Conditions):
    """Of each contestant, an entry a turn."""

    threads: int
    seconds: dict[str, list[float]]
    """Of the whole process, from its start to the test score."""
    cpu_seconds: dict[str, list[float]]
    scores: dict[str, list[float]]
    """Test F1 in percent."""


@within(epochs="[1, 1000]", turns="[1, 100]", batch_size="[1, 4096]", threads="[0, 1024]")
def finetune(
    *,
    prepared: Path,
    model: Path,
    output: Path,
    task: str = "NCBI-disease",
    epochs: int = 4,
    learning_rate: float = 1e-4,
    batch_size: int = 16,
    precision: Literal["fp32", "bf16"] = "fp32",
    turns: int = 1,
    threads: int = 0,
) -> None:
    """Compare `evaluate finetune` with transformers' token-classification example: time and test F1.

    Same weights, sentences, budget and scorer; every turn has a seed of its own. Writes dated JSON and
    Markdown.

    Args:
        prepared: a directory that `evaluate prepare` wrote.
        model: a Hugging Face BERT directory with its tokenizer.
        output: directory of the results.
        task: an entity task.
        turns: how often each is run.
        threads: of each process; 0 for all cores.
    """
    budget = FinetuneConfig(
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        precision=precision,
        keep_weights=False,
    )
    threads = threads or os.cpu_count() or 1
    seconds, processor, scores = ({name: list[float]() for name in (OURS, PEER)} for _ in range(3))
    options = f"finetune --prepared DIR --model {model.name} --task {task} --epochs {epochs}"
    options += f" --learning-rate {learning_rate:g} --batch-size {batch_size} --precision {precision}"
    options += f" --turns {turns} --threads {threads}"
    stated = conditions(options, ("torch", "transformers", "accelerate", "datasets"))
    result: FinetuneResult = {
        **stated,
        "threads": threads,
        "seconds": seconds,
        "cpu_seconds": processor,
        "scores": scores,
    }
    for turn, name in in_turns([OURS, PEER], turns):
        begun, used = time.monotonic(), cpu_seconds(resource.RUSAGE_CHILDREN)
        run = _ours if name == OURS else _peer
        scores[name].append(run(prepared, model, task, budget, turn + 1, threads))
        seconds[name].append(round(time.monotonic() - begun, 1))
        processor[name].append(round(cpu_seconds(resource.RUSAGE_CHILDREN) - used, 1))
    stem = f"finetune-{precision}-{stated['date']}"
    page = _page(result)
    write_result(output, stem, result, page)
    print(page)


def _run(line: list[str], threads: int) -> str:
    variables = f"OMP_NUM_THREADS={threads}", "TOKENIZERS_PARALLELISM=false", "HF_HUB_OFFLINE=1"
    done = subprocess.run(["env", *variables, *line], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        what = f"a contestant ended with code {done.returncode}"
        raise RunFailed(what, where=" ".join(line[:4]), remedy="see the messages above")
    return done.stdout


def _ours(prepared: Path, model: Path, task: str, budget: FinetuneConfig, seed: int, threads: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        line = [sys.executable, "-m", "biobert_scale", "evaluate", "finetune", "--task", task]
        line += ["--prepared", str(prepared), "--model", str(model), "--output", directory]
        line += ["--seed", str(seed), "--no-keep-weights", "--precision", budget.precision]
        for name in ("learning_rate", "epochs", "batch_size"):
            line += [f"--{name.replace('_', '-')}", str(getattr(budget, name))]
        _run(line, threads)
        (metrics,) = Path(directory).glob("*/*/metrics.json")
        return read_metrics(metrics.parent)["score"]


def _peer(prepared: Path, model: Path, task: str, budget: FinetuneConfig, seed: int, threads: int) -> float:
    names = ("epochs", "batch_size", "learning_rate", "warmup_fraction", "weight_decay")
    settings = {name: value for name, value in asdict(budget).items() if name in names}
    settings |= {"prepared": str(prepared), "task": task, "model": str(model), "seed": seed}
    line = command("benchmarks.finetune.peer", {**settings, "dtype": budget.precision})
    return float(json.loads(_run(line, threads).splitlines()[-1]))


def _page(result: FinetuneResult) -> str:
    lines = heading("Fine-tuning", result, f"{result['threads']} threads")
    lines += [
        "- Of the whole process, start and test score included; medians of the turns (lowest to highest).",
        "  The processor's seconds are comparable also where other work takes turns on the machine.",
        "",
        "| contestant | test F1 | CPU seconds | times as fast | seconds | times as fast by the clock |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in (OURS, PEER):
        cells = [spread(result["scores"][name])]
        for taken in (result["cpu_seconds"], result["seconds"]):
            ratios = [theirs / mine for theirs, mine in zip(taken[PEER], taken[name], strict=True)]
            cells += [spread(taken[name], 0), spread(ratios, 2)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
