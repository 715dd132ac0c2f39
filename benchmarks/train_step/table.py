"""Optimizer steps a second, in turns on the same batches of the stream."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.result import conditions, machine, recipe_argument, versions, write_result
from benchmarks.train_step.contestants import ABLATION, CONTESTANTS, Maker, ours
from benchmarks.train_step.load import Load, Runner, load_of, this_device
from benchmarks.train_step.operations import operations
from benchmarks.train_step.page import train_step_page
from benchmarks.train_step.records import Computed, Contest, Operation, TrainStepResult
from benchmarks.turns import in_turns
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.modeling.flops import training_flops
from biobert_scale.ranges import within
from biobert_scale.recipes import load_config
from biobert_scale.training.device import device_peak, peak_memory_bytes
from biobert_scale.tune.timing import forget_memory, reason_of

_LIBRARIES = ("torch", "transformers", "accelerate")


@within(sequences="[1, 1e9]", micro_batch_size="[1, 1e6]", steps="[1, 1e6]", repeats="[1, 1000]")
def train_step(
    *,
    output: Path,
    tokens: Path | None = None,
    lengths: Literal["full", "abstracts"] = "full",
    config: str = "biobert-large",
    dtype: Literal["", "fp32", "bf16", "fp16"] = "",
    sequences: int = 32,
    micro_batch_size: int = 8,
    steps: int = 2,
    repeats: int = 5,
    contestants: str = "oab",
    name: str = "steps",
    profile: bool = False,
) -> None:
    """Measure optimizer steps a second, beside transformers' own ways to take them.

    On the same samples in turns: forward, backward, clipping, AdamW. Writes dated JSON and Markdown.

    Args:
        tokens: finished token shards; their documents' lengths decide the samples'. Without them samples are
            made up.
        lengths: of made-up samples: full, or abstracts (a mean of about 290 tokens of 512).
        output: directory of the results.
        config: recipe: a name or the path of a TOML file.
        dtype: fp32, bf16 or fp16 (default: the recipe's).
        sequences: sequences of a step; one process computes all of it.
        micro_batch_size: sequences of a forward pass.
        steps: steps of a turn.
        repeats: turns of each contestant, after one that is not counted.
        contestants: o: this project; p: compiled; a: BertForPreTraining in an Accelerate loop; b: the
            Trainer; c: as a, with torch.compile; t: this project as `train` runs it (with --tokens). Or
            `ablation`: this project with one setting of [compute] after another changed.
        name: part of the result's file name.
        profile: also print which operations this project's step spends its time in.
    """
    is_ablation = contestants == "ablation"
    if not is_ablation and (unknown := set(contestants) - set(CONTESTANTS)):
        what = f"no contestant '{min(unknown)}'"
        raise UserError(
            what, where="--contestants", remedy=f"choose of {', '.join(CONTESTANTS)}, or ablation"
        )
    recipe = load_config(config)
    training = replace(
        recipe.training,
        precision=replace(recipe.training.precision, dtype=dtype or recipe.training.precision.dtype),
        global_batch_size=sequences,
        micro_batch_size=micro_batch_size,
    )
    recipe = replace(recipe, training=training)
    load = load_of(recipe, tokens, steps, lengths, this_device())
    makers = ABLATION if is_ablation else dict(CONTESTANTS[letter] for letter in contestants)
    source = f"--lengths {lengths}" if tokens is None else "--tokens DIR"
    command = (
        f"train-step --config {recipe_argument(recipe)} --dtype {training.precision.dtype} {source}"
        f" --sequences {sequences} --micro-batch-size {micro_batch_size} --steps {steps} --repeats {repeats}"
        f" --contestants {contestants}" + " --profile" * profile
    )
    kind = "ablation" if is_ablation else "train-step"
    found, spent = contest(load, makers, repeats=repeats), list[Operation]()
    if profile:
        run = ours(load)
        run()
        spent = operations(run, load.device)
    result: TrainStepResult = {
        **conditions(command, ()),
        **found,
        "name": name,
        "kind": kind,
        "profile": spent,
    }
    page = train_step_page(result)
    write_result(output, f"{kind}-{name}-{result['date']}", result, page)
    print(page)


def contest(
    load: Load,
    makers: dict[str, Maker],
    *,
    repeats: int,
    report: Callable[[Contest], None] = lambda _: None,
) -> Contest:
    """Let contestants take all steps of a load in turns.

    Args:
        report: called after each turn of all of them with what is returned at the end.

    Raises:
        RunFailed: none could take part.
    """
    runners: dict[str, Runner] = {}
    memory: dict[str, int] = {}
    failed: dict[str, str] = {}
    for title, make in makers.items():
        try:
            runners[title], memory[title] = _ready(load, make)
        except RuntimeError as error:  # no memory, no compiler: the others are measured
            failed[title] = reason_of(error)
    if not runners:
        raise RunFailed(
            "; ".join(f"{title}: {why}" for title, why in failed.items()),
            where="train-step",
            remedy="remove the cause, or choose other --contestants or a smaller --micro-batch-size",
        )
    seconds: dict[str, list[float]] = {title: [] for title in runners}
    found: Contest = {**_computed(load), "seconds": seconds, "peak_memory_bytes": memory, "failed": failed}
    for number, (_, title) in enumerate(in_turns(list(runners), repeats), start=1):
        seconds[title].append(runners[title]())
        if number % len(runners) == 0:
            report(found)
    found["peak"] = max(
        found["peak"], device_peak(load.device, load.dtype).flops_per_second
    )  # what else ran on the machine lowers it
    return found


def _computed(load: Load) -> Computed:
    config = load.config
    batches = [micro_batch for step in load.steps for micro_batch in step.micro_batches]
    sizes = np.concatenate([np.diff(batch.cu_seqlens) for batch in batches])
    predictions = sum(len(batch.mlm_labels) for batch in batches)
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
    """A contestant that has compiled and allocated, and its peak memory in bytes: on a GPU its tensors'. On a
    CPU it has a process of its own, libraries included; what it leaves there slows no other."""
    if load.device.type == "cuda":
        forget_memory()
        others = torch.cuda.memory_allocated()
        run = make(load)
        run()
        return run, peak_memory_bytes(load.device) - others
    # A pool of `multiprocessing` kills its worker at the end, and leaves the semaphore of a bar's lock.
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    memory = pool.submit(_begin, load, make).result()
    return lambda: pool.submit(_turn).result(), memory


_run: Runner
"""Of a contestant's process."""


def _begin(load: Load, make: Maker) -> int:
    """Make this process a contestant's, and take a turn; returns the process's peak memory in bytes."""
    global _run
    _run = make(load)
    _run()
    return peak_memory_bytes(load.device)


def _turn() -> float:
    return _run()
