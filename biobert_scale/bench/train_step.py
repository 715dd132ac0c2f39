"""Optimizer steps a second, in turns on the same batches of the stream: forward, backward, clipping,
AdamW."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biobert_scale.bench.contestants import ABLATION, CONTESTANTS, Load, Maker, Runner, load_of, ours
from biobert_scale.bench.engine import forget_memory, reason_of
from biobert_scale.bench.environment import machine, versions
from biobert_scale.bench.operations import operations
from biobert_scale.bench.results import recipe_argument, write_result
from biobert_scale.bench.train_step_page import train_step_page
from biobert_scale.bench.turns import in_turns
from biobert_scale.config import Config
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.modeling.flops import training_flops
from biobert_scale.training.device import device_peak, peak_memory_bytes

_LIBRARIES = ("torch", "transformers", "accelerate")


def bench_train_step(
    config: Config,
    tokens: Path | None,
    output: Path,
    *,
    steps: int,
    repeats: int,
    contestants: str,
    name: str,
    lengths: str = "full",
    profile: bool = False,
) -> str:
    """Measure, and write `train-step-NAME-DATE.json` and `.md`.

    Args:
        config: model, sample lengths, precision and batch; one process computes the whole global batch, in
            micro-batches.
        tokens: finished token shards, whose documents decide the samples' lengths; None for made-up samples
            (see `lengths`).
        steps: optimizer steps of a turn.
        repeats: turns of each contestant, after one that is not counted.
        contestants: letters of `CONTESTANTS`; or `ablation`, for this project with one switch after another
            changed.
        name: what the result is called.
        lengths: of made-up samples: `full` or `abstracts`.
        profile: at the end, take this project's steps once more, and tell which operations they spend their
            time in.

    Returns:
        The page.
    """
    if contestants != "ablation" and "t" in contestants and set(contestants) & set("abc"):
        what = "t goes with o and p alone"
        raise UserError(what, where="--contestants", remedy="measure the others by themselves")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    load = load_of(config, tokens, steps, lengths, device)
    makers = (
        ABLATION
        if contestants == "ablation"
        else {CONTESTANTS[letter][0]: CONTESTANTS[letter][1] for letter in contestants}
    )
    kind = "ablation" if contestants == "ablation" else "train-step"
    command = (
        f"biobert-scale bench train-step --config {recipe_argument(config)} --dtype"
        f" {config.training.precision.dtype} "
        + (f"--lengths {lengths}" if tokens is None else "--tokens DIR")
        + f" --sequences {config.training.global_batch_size} --micro-batch-size"
        f" {config.training.micro_batch_size} --steps {steps} --repeats {repeats} --contestants"
        f" {contestants}" + " --profile" * profile
    )
    result = {
        "date": date.today().isoformat(),
        "name": name,
        "kind": kind,
        "command": command,
        **contest(load, makers, repeats=repeats),
    }
    if profile:
        run = ours(load)
        run()
        result["profile"] = operations(run, device)
    page = train_step_page(result)
    stem = f"{kind}-{name}-{result['date']}"
    write_result(output, stem, result, page)
    return page


def contest(
    load: Load,
    makers: dict[str, Maker],
    *,
    repeats: int,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Let contestants take all steps of a load in turns.

    Args:
        tell: called after each turn of all of them with what is returned at the end.

    Returns:
        Seconds of each turn and peak memory by contestant, why others could not take part (`failed`), and
        what was computed, where.

    Raises:
        RunFailed: none could.
    """
    runners: dict[str, Runner] = {}
    memory: dict[str, int] = {}
    failed: dict[str, str] = {}
    for title, make in makers.items():
        try:
            runners[title], memory[title] = _ready(load, make)
        except RuntimeError as error:  # no memory, no compiler: the others go on
            failed[title] = reason_of(error)
    if not runners:
        raise RunFailed(
            "; ".join(f"{title}: {why}" for title, why in failed.items()),
            where="train-step",
            remedy="remove the cause, or choose other --contestants or a smaller --micro-batch-size",
        )
    seconds: dict[str, list[float]] = {title: [] for title in runners}
    found = {**_conditions(load), "seconds": seconds, "peak_memory_bytes": memory, "failed": failed}
    for number, (_, title) in enumerate(in_turns(list(runners), repeats), start=1):
        seconds[title].append(runners[title]())
        if number % len(runners) == 0:
            tell(found)
    found["peak"] = max(
        found["peak"], device_peak(load.device, load.dtype).flops_per_second
    )  # what else ran on the machine lowers it
    return found


def _conditions(load: Load) -> dict[str, Any]:
    """What is computed, where."""
    config, sizes = (
        load.config,
        np.concatenate(
            [np.diff(micro_batch.cu_seqlens) for step in load.steps for micro_batch in step.micro_batches]
        ),
    )
    predictions = sum(
        len(micro_batch.mlm_labels) for step in load.steps for micro_batch in step.micro_batches
    )
    peak = device_peak(load.device, load.dtype)
    return {
        "machine": {**machine(), "device": peak.device},
        "versions": versions(_LIBRARIES),
        "dtype": config.training.precision.dtype,
        "steps": len(load.steps),
        "sequences": len(sizes),
        "tokens": int(sizes.sum()),
        "predictions": predictions,
        "mean_length": float(sizes.mean()),
        "max_seq_length": config.data.max_seq_length,
        "micro_batch_size": config.training.micro_batch_size,
        "global_batch_size": config.training.global_batch_size,
        "model": [
            config.model.num_hidden_layers,
            config.model.hidden_size,
            config.model.intermediate_size,
            load.vocabulary_size,
        ],
        "flops": float(training_flops(load.shape(), sizes, predictions)),
        "peak": peak.flops_per_second,
    }


def _ready(load: Load, make: Maker) -> tuple[Runner, int]:
    """A contestant that has compiled and allocated, and its peak memory: on a GPU of its tensors, on a CPU of
    one step in a process of its own, libraries included."""
    if load.device.type == "cuda":
        forget_memory()
        others = torch.cuda.memory_allocated()
        run = make(load)
        run()
        return run, peak_memory_bytes(load.device) - others
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        memory = pool.apply(_peak_of_process, (replace(load, steps=load.steps[:1]), make))
    run = make(load)
    run()
    return run, memory


def _peak_of_process(load: Load, make: Maker) -> int:
    make(load)()
    return peak_memory_bytes(load.device)
