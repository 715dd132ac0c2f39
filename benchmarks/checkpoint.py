"""How long training waits for a checkpoint: written at once, written by a thread, and by accelerate's and
torch's own means.

Contestants take turns in one process on one model's weights and AdamW moments; every file goes to the same
disk. "Stall" is the time from the call until training may continue, "all" until the checkpoint is complete.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict_saver import async_save

from benchmarks.result import Conditions, conditions, heading, recipe_argument, spread, write_result
from biobert_scale.config import Config
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.ranges import within
from biobert_scale.recipes import load_config
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


class CheckpointResult(Conditions):
    """Seconds by contestant, a save each."""

    megabytes: float
    """fp32 weights and moments, 10^6 bytes."""
    model: str
    stall_seconds: dict[str, list[float]]
    all_seconds: dict[str, list[float]]


@within(repeats="[1, 1000]")
@rank_environment()
def checkpoint(
    *, output: Path, config: str = "biobert-large", directory: Path | None = None, repeats: int = 5
) -> None:
    """Measure how long training waits for a checkpoint, beside accelerate's and torch's own.

    In fp32 without DeepSpeed, written at once and by a thread. Writes dated JSON and Markdown.

    Args:
        output: directory of the results.
        config: recipe: a name or the path of a TOML file.
        directory: a directory on the disk to measure (default: the temporary one); two checkpoints must fit.
        repeats: turns of each contestant.
    """
    recipe = load_config(config)
    training = replace(
        recipe.training,
        checkpoint=replace(recipe.training.checkpoint, keep_last=1),
        micro_batch_size=recipe.training.global_batch_size,
        precision=replace(recipe.training.precision, dtype="fp32"),
        engine=replace(recipe.training.engine, name="ddp"),
    )
    recipe = replace(recipe, training=training)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        accelerator = runtime.start(this_process(), recipe)
        if not torch.distributed.is_initialized():  # torch's own way asks for a group, if of one
            torch.distributed.init_process_group("gloo", rank=0, world_size=1)
        model = build_model(
            bert_config(recipe.model, vocabulary_size=recipe.vocabulary.size, pad_token_id=0),
            seed=recipe.seed,
        )
        engine = build_engine(accelerator, model, recipe)
        assert isinstance(engine, DdpEngine)
        megabytes = (
            sum(fragment.numel for fragment in engine.local_fragments()) * 12 / 1e6
        )  # also makes the moments
        accelerator.prepare(model, engine.optimizer)  # for its own way
        saves: dict[str, Callable[[Path], tuple[float, float]]] = {
            _AT_ONCE: _ours(accelerator, recipe, engine, Path(scratch) / "at once", wait=True),
            _BEHIND: _ours(accelerator, recipe, engine, Path(scratch) / "behind", wait=False),
            _ACCELERATE: lambda run: _timed(
                lambda: accelerator.save_state(str(run / "saved")), lambda _: None
            ),
            _TORCH: partial(_of_torch, model, engine.optimizer),
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in saves}
        for _ in range(repeats):
            for name, save in saves.items():
                run = Path(tempfile.mkdtemp(dir=scratch))
                seconds[name].append(save(run))
                shutil.rmtree(run)
        runtime.leave()
    result: CheckpointResult = {
        **conditions(f"checkpoint --config {recipe_argument(recipe)} --repeats {repeats}", _LIBRARIES),
        "megabytes": megabytes,
        "model": recipe.name,
        "stall_seconds": {name: [stall for stall, _ in taken] for name, taken in seconds.items()},
        "all_seconds": {name: [whole for _, whole in taken] for name, taken in seconds.items()},
    }
    page = checkpoint_page(result)
    write_result(output, f"checkpoint-{result['date']}", result, page)
    print(page)


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


def checkpoint_page(result: CheckpointResult) -> str:
    """Render what `checkpoint` measured; medians, with the least and the most."""
    stalls, wholes = result["stall_seconds"], result["all_seconds"]
    at_once = statistics.median(stalls[_AT_ONCE])
    lines = [
        *heading(
            "Saving a checkpoint", result, "the device is the CPU, where copies are of memory to memory"
        ),
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
