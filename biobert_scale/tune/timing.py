"""A recipe's step under its engine, on made-up samples, timed on this rank."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from accelerate.state import AcceleratorState

from biobert_scale.config import Config
from biobert_scale.data.layouts import fill_bucket
from biobert_scale.modeling.flops import training_flops
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.training import runtime
from biobert_scale.training.device import peak_memory_bytes
from biobert_scale.training.engine import Engine, build_engine, partitions_weights
from biobert_scale.training.ranks import this_process
from biobert_scale.training.step import HostStep, train_step
from biobert_scale.tune.made_up import made_up_steps


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What one rank saw."""

    seconds: list[float]
    """Of each optimizer step."""
    peak_memory_bytes: int
    parameters: int
    world_size: int
    sequences: int
    """Of this rank's step, as are the next two."""
    tokens: int
    flops: float
    """See `training_flops`."""


OUT_OF_MEMORY = "out of memory"


def reason_of(error: RuntimeError) -> str:
    """Why a step could not be taken, in a line: memory that did not suffice has more than one name."""
    message = str(error).lower()
    if isinstance(error, torch.OutOfMemoryError) or any(
        name in message for name in ("out of memory", "alloc_failed", "allocate memory")
    ):
        return OUT_OF_MEMORY
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:300]


def on_engine(config: Config, engine: str) -> Config:
    """The recipe under another engine (`ddp`, or a file of `ds_configs/`), without trackers."""
    chosen = (
        replace(config.training.engine, name="ddp")
        if engine == "ddp"
        else replace(config.training.engine, name="deepspeed", deepspeed_config=engine)
    )
    return replace(config, training=replace(config.training, engine=chosen, trackers=()))


def time_steps(
    config: Config,
    *,
    lengths: str,
    steps: int,
    before_step: Callable[[], None] = lambda: None,
    at_end: Callable[[Callable[[], None], torch.device], None] = lambda step, device: None,
) -> Timed:
    """Take some optimizer steps as training does, and let go of everything but the process group, so that it
    can be called again, all inside `rank_environment`.

    Args:
        lengths: of the samples, `full` or `abstracts`.
        before_step: called before each.
        at_end: called with a function that takes one more step, and its device.
    """
    training = config.training
    accelerator = runtime.start(this_process(), config)
    on_gpu, world_size = accelerator.device.type == "cuda", accelerator.num_processes
    shape = bert_config(config.model, vocabulary_size=config.vocabulary.size, pad_token_id=0)
    with accelerator.device:  # where drawing weights takes no time
        partitioned = partitions_weights(accelerator)
        model = build_model(shape, config.compute, seed=config.seed, partitioned=partitioned)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    engine = build_engine(accelerator, model, config)
    del model
    (step,) = made_up_steps(
        1,
        sequences=training.global_batch_size // world_size,
        micro_batch_size=training.micro_batch_size,
        max_seq_length=config.data.max_seq_length,
        mlm_probability=config.data.mlm_probability,
        vocabulary_size=config.vocabulary.size,
        lengths=lengths,
        seed=accelerator.process_index,
    )
    full = [
        fill_bucket(
            batch,
            bucket=config.loader.pad_to_multiple_of,
            max_seq_length=config.data.max_seq_length,
            mlm_probability=config.data.mlm_probability,
            pad_token_id=0,
        )
        if config.loader.pad_to_multiple_of
        else batch
        for batch in step.micro_batches
    ]
    batch = HostStep.of(replace(step, micro_batches=tuple(full)), pin=on_gpu)

    def take(engine: Engine) -> None:
        # An argument, so that no closure keeps the engine alive.
        train_step(engine, batch, training.optimizer.learning_rate)
        if on_gpu:
            torch.cuda.synchronize()

    taken = []
    for _ in range(steps):
        accelerator.wait_for_everyone()
        before_step()
        begun = time.perf_counter()
        take(engine)
        taken.append(time.perf_counter() - begun)
    memory = peak_memory_bytes(accelerator.device)
    at_end(partial(take, engine), accelerator.device)
    del engine
    accelerator.free_memory()
    lengths_of_all = np.concatenate([np.diff(batch.cu_seqlens) for batch in step.micro_batches])
    return Timed(
        seconds=taken,
        peak_memory_bytes=memory,
        parameters=parameters,
        world_size=world_size,
        sequences=len(lengths_of_all),
        tokens=step.global_tokens,
        flops=float(training_flops(shape, lengths_of_all, step.global_predictions)),
    )


def forget_engine() -> None:
    """After `time_steps`, or after it ran out of memory: make room for another engine in this process."""
    AcceleratorState._reset_state(
        reset_partial_state=True
    )  # it keeps DeepSpeed as the kind of distribution, and another engine would meet it
    forget_memory()


def forget_memory() -> None:
    """Free what nobody refers to. Engines refer to themselves, so that they wait for the collector."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
