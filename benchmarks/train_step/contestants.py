"""Ways to take optimizer steps: this project's, and what people run otherwise, on the same model, samples,
precision and AdamW."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import torch

from benchmarks.train_step.load import Load, Runner, timed
from benchmarks.train_step.peers import loop, trainer
from biobert_scale.data.samples import build_samples
from biobert_scale.errors import UserError
from biobert_scale.modeling.model import build_model
from biobert_scale.training import runtime
from biobert_scale.training.engine.ddp import DdpEngine
from biobert_scale.training.engine.optimizer import build_optimizer
from biobert_scale.training.preemption import signals_given_back
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.step import HostStep, StepResult, train_step
from biobert_scale.training.trainer import Trainer as PreTrainer


def ours(load: Load) -> Runner:
    """This package's model on its own micro-batches; as `load.config.compute` has it."""
    take = stepper(load)

    def run() -> None:
        for number in range(len(load.steps)):
            take(number)

    return lambda: timed(load, run)


def trained(load: Load) -> Runner:
    """`train`'s own loop: making batches, guards, joining the ranks' figures and records included; neither
    saves nor validation.

    Raises:
        UserError: there are no token shards.
    """
    if load.tokenizer is None:
        what = "`train` needs token shards"
        raise UserError(what, where="--contestants t", remedy="give --tokens")
    tokens, run = load.tokenizer.parent, Path(tempfile.mkdtemp())
    training = replace(
        load.config.training, engine=replace(load.config.training.engine, name="ddp"), trackers=()
    )
    config = replace(load.config, training=training)
    with rank_environment() as ranks:
        accelerator = runtime.start(ranks, config)
    build_samples(tokens, run / "samples", config.data, seed=config.seed)
    with signals_given_back():
        trainer = PreTrainer(accelerator, config, tokens, run, run / "samples")
    loader = trainer.loader()
    Finalize(None, _end, (trainer,), exitpriority=0)  # also at the end of a worker process

    def take() -> None:
        for _ in load.steps:
            trainer.take_step(loader)

    return lambda: timed(load, take)


def _end(trainer: PreTrainer) -> None:
    trainer.close()
    runtime.leave()
    shutil.rmtree(trainer.run)


def stepper(load: Load) -> Callable[..., StepResult]:
    """Training's own step on the load's of a number, at a learning rate where one is given."""
    with load.device:  # where drawing weights takes no time
        model = build_model(load.shape(), load.config.compute, seed=load.config.seed)
    optimizer, scaled = load.config.training.optimizer, load.dtype == torch.float16
    fused = load.config.compute.fused_optimizer and not scaled
    engine = DdpEngine(
        model,
        build_optimizer(model, optimizer, fused=fused),
        device=load.device,
        micro_steps=len(load.steps[0].micro_batches),
        max_grad_norm=optimizer.max_grad_norm,
        autocast=None if load.dtype == torch.float32 else load.dtype,
        scaler=torch.amp.GradScaler(load.device.type) if scaled else None,
    )
    batches = [HostStep.of(step, pin=load.device.type == "cuda") for step in load.steps]

    def take(number: int, learning_rate: float = optimizer.learning_rate) -> StepResult:
        return train_step(engine, batches[number], learning_rate)

    return take


def with_settings(load: Load, **changes: Any) -> Runner:
    """This package's model with other settings of `compute`."""
    return ours(replace(load, config=replace(load.config, compute=replace(load.config.compute, **changes))))


Maker = Callable[[Load], Runner]
CONTESTANTS: dict[str, tuple[str, Maker]] = {
    "o": ("this project", ours),
    "p": ("this project, compiled", partial(with_settings, compile=True)),
    "a": ("(a) BertForPreTraining, plain Accelerate loop", loop),
    "b": ("(b) Trainer with its masked-LM collator", trainer),
    "c": ("(c) as (a), sdpa and torch.compile", partial(loop, compiled=True)),
    "t": ("this project, as `train` runs it", trained),
}
"""By the letter that names them on the command line."""

SETTINGS: dict[str, dict[str, Any]] = {
    "compiled": {"compile": True},
    "padded rows": {"unpadded": False},
    "MLM head on all positions": {"head_on_masked_positions_only": False},
    "last layer on all positions": {"last_layer_on_masked_positions_only": False},
    "fp32 logits, all at once": {"head_rows": 0},
    "attention and dropout as PyTorch has them": {"attention": "sdpa", "quick_dropout": False},
    "three products for queries, keys, values": {"fused_qkv": False},
    "AdamW one operation after another": {"fused_optimizer": False},
    "layers computed again in the backward pass": {"activation_checkpointing": True},
}
"""Settings of `compute` other than as shipped, by name."""
SETTINGS["every switch off"] = {
    name: value for changes in SETTINGS.values() for name, value in changes.items()
} | {"compile": False, "activation_checkpointing": False}

ABLATION: dict[str, Maker] = {
    "as shipped": ours,
    **{title: partial(with_settings, **changes) for title, changes in SETTINGS.items()},
}
"""This package's model with one setting of `compute` changed, and with all of them off."""
