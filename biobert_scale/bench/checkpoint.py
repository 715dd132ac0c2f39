"""How long training stands still for a checkpoint: written at once, written behind its back, and by
accelerate's and torch's own means.

Contestants take turns in one process on one model's weights and AdamW moments; every file goes to the same
disk. "Stall" is the time from the call until training may go on, "all" until the checkpoint is complete.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict_saver import async_save

from biobert_scale.bench.environment import machine, versions
from biobert_scale.bench.page import spread
from biobert_scale.bench.results import write_result
from biobert_scale.config import Config
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.training import runtime
from biobert_scale.training.checkpoint.checkpoints import Checkpoints
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.engine import Engine, build_engine
from biobert_scale.training.engine.ddp import DdpEngine
from biobert_scale.training.ranks import rank_environment, this_process

_AT_ONCE, _BEHIND, _ACCELERATE, _TORCH = (
    "this project, at once",
    "this project, behind training",
    "accelerate's save_state",
    "torch's distributed async_save",
)
_LIBRARIES = ("torch", "accelerate", "safetensors")


@rank_environment()
def bench_checkpoint(config: Config, output: Path, *, directory: Path | None = None, repeats: int = 5) -> str:
    """Measure saves of a recipe's model in fp32 without DeepSpeed, and write `checkpoint-DATE.json` and
    `checkpoint-DATE.md`.

    Args:
        output: directory of the results.
        directory: where the checkpoints go meanwhile (default: a temporary directory); two of them must fit.
        repeats: turns of each contestant.

    Returns:
        The page.
    """
    training = replace(
        config.training,
        checkpoint=replace(config.training.checkpoint, keep_last=1),
        micro_batch_size=config.training.global_batch_size,
        precision=replace(config.training.precision, dtype="fp32"),
        engine=replace(config.training.engine, name="ddp"),
    )
    config = replace(config, training=training)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        accelerator = runtime.start(this_process(), config, run=scratch)
        if not torch.distributed.is_initialized():  # torch's own way asks for a group, if of one
            torch.distributed.init_process_group("gloo", rank=0, world_size=1)
        model = build_model(
            bert_config(config.model, vocabulary_size=config.vocabulary.size, pad_token_id=0),
            seed=config.seed,
        )
        engine = build_engine(accelerator, model, config)
        assert isinstance(engine, DdpEngine)
        megabytes = (
            sum(fragment.numel for fragment in engine.local_fragments()) * 12 / 1e6
        )  # also makes the moments
        accelerator.prepare(model, engine.optimizer)  # for its own way
        ways: dict[str, Callable[[Path], tuple[float, float]]] = {
            _AT_ONCE: _ours(accelerator, config, engine, Path(scratch) / "at once", wait=True),
            _BEHIND: _ours(accelerator, config, engine, Path(scratch) / "behind", wait=False),
            _ACCELERATE: lambda run: _timed(
                lambda: accelerator.save_state(str(run / "saved")), lambda _: None
            ),
            _TORCH: partial(_of_torch, model, engine.optimizer),
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, save in ways.items():
                run = Path(tempfile.mkdtemp(dir=scratch))
                seconds[name].append(save(run))
                shutil.rmtree(run)
        runtime.leave()
    result = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(_LIBRARIES),
        "megabytes": megabytes,
        "model": config.name,
        "command": f"biobert-scale bench checkpoint --config {config.name} --repeats {repeats}",
        "stall_seconds": {name: [stall for stall, _ in taken] for name, taken in seconds.items()},
        "all_seconds": {name: [whole for _, whole in taken] for name, taken in seconds.items()},
    }
    page = checkpoint_page(result)
    write_result(output, f"checkpoint-{result['date']}", result, page)
    return page


def _timed(save: Callable[[], Any], finish: Callable[[Any], object]) -> tuple[float, float]:
    begun = time.perf_counter()
    handle = save()
    stall = time.perf_counter() - begun
    finish(handle)
    return stall, time.perf_counter() - begun


def _ours(
    accelerator: Any, config: Config, engine: Engine, run: Path, *, wait: bool
) -> Callable[[Path], tuple[float, float]]:
    checkpoints = Checkpoints(accelerator, run, config, engine, samples_fingerprint="bench")
    steps = count(1)

    def save(_run: Path) -> tuple[float, float]:
        """The saves of one run, one after another, as in training: its first one gets the memory that the
        others use again."""
        return _timed(
            lambda: checkpoints.save(TrainerState(global_step=next(steps)), validation_loss=None, wait=wait),
            lambda _: checkpoints.finish(),
        )

    return save


def _of_torch(model: nn.Module, optimizer: Any, run: Path) -> tuple[float, float]:
    def save() -> Any:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        return async_save(state, checkpoint_id=str(run / "saved"))

    return _timed(save, lambda future: future.result())


def checkpoint_page(result: dict[str, Any]) -> str:
    """Render what `bench_checkpoint` measured; medians, with the least and the most."""
    stalls, wholes = result["stall_seconds"], result["all_seconds"]
    at_once = statistics.median(stalls[_AT_ONCE])
    lines = [
        f"# Saving a checkpoint, {result['date']}",
        "",
        f"- Command: `{result['command']}`",
        (
            f"- Machine: {result['machine']['cpu']}, {result['machine']['cores']} cores,"
            f" {result['machine']['system']}; the device is the CPU, where copies are of memory to memory"
        ),
        f"- Versions: {', '.join(f'{name} {version}' for name, version in result['versions'].items())}",
        f"- {result['model']}: {result['megabytes']:,.0f} MB of fp32 weights and moments, one rank",
        "",
        "| | stall, seconds | of a save at once | all, seconds |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {spread(stalls[name], 2)} | {statistics.median(stalls[name]) / at_once:.0%} |"
        f" {spread(wholes[name], 2)} |"
        for name in stalls
    ]
    lines += [
        "",
        (
            "This project's saves end with every byte synced to the disk and its SHA-256 in the manifest; the"
            " others' do neither."
        ),
        "Its first save behind training (the slowest) also gets the memory that later ones use again.",
    ]
    return "\n".join(lines) + "\n"
