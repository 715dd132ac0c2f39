"""What drives the ranks: one protocol (`base`), torch's own means (`ddp`) and DeepSpeed (`deepspeed`).

Nothing outside this package knows which one a run has.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn

from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.errors import RunFailed
from biobert_scale.training.engine.base import Engine, Update
from biobert_scale.training.engine.ddp import DdpEngine
from biobert_scale.training.engine.optimizer import build_optimizer, encoder_apart

__all__ = ["LIBRARIES", "Engine", "Update", "build_engine", "out_of_memory", "partitions_weights"]

LIBRARIES = ("torch", "deepspeed", "accelerate", "transformers")
"""Whose versions a checkpoint's manifest names."""
TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_engine(accelerator: Accelerator, module: nn.Module, config: Config) -> Engine:
    """The engine of a run, around a model in fp32.

    Args:
        accelerator: of `runtime.start`, for the same configuration.

    Raises:
        UserError: an optimizer class whose state is not known to be held completely.
    """
    training, dtype = config.training, config.training.precision.dtype
    groups = None
    if training.frozen_encoder_steps:
        groups = encoder_apart(module, training.optimizer.weight_decay)
    if training.engine.name == "deepspeed":
        # Here alone: a run without it that imports it keeps its process group's threads to the end.
        from biobert_scale.training.engine.deepspeed import DeepSpeedEngine

        fused = config.compute.fused_optimizer
        optimizer = build_optimizer(module, training.optimizer, fused=fused, groups=groups)
        return DeepSpeedEngine(accelerator, module, optimizer, fp16=dtype == "fp16")
    scaling, scaler = training.precision, None
    if dtype == "fp16":
        scaler = torch.amp.GradScaler(
            accelerator.device.type,
            init_scale=2.0**scaling.initial_scale_power,
            growth_interval=scaling.loss_scale_window,
        )
    fused = config.compute.fused_optimizer and scaler is None
    return DdpEngine(
        module,
        build_optimizer(module, training.optimizer, fused=fused, groups=groups),
        device=accelerator.device,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        micro_steps=gradient_accumulation_steps(training, accelerator.num_processes),
        max_grad_norm=training.optimizer.max_grad_norm,
        autocast=None if dtype == "fp32" else TORCH_TYPES[dtype],
        scaler=scaler,
    )


def partitions_weights(accelerator: Accelerator) -> bool:
    """Whether the engine gathers a module's weights when the module is called (ZeRO stage 3)."""
    plugin = accelerator.deepspeed_plugin
    return bool(plugin and plugin.zero_stage == 3)


def out_of_memory(error: Exception, config: Config) -> RunFailed | None:
    """The failure to report where the device or the host had no memory left; None for any other error."""
    host = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    if not host and not isinstance(error, torch.OutOfMemoryError):
        return None
    training = config.training
    remedies = ["`biobert-scale plan` says which micro-batches and ZeRO stages fit"]
    if training.engine.name == "ddp":
        remedies.insert(0, 'shard the optimizer states (training.engine.name = "deepspeed")')
    elif (name := training.engine.deepspeed_config) != "zero3_offload":
        remedies.insert(0, f"raise the ZeRO stage (training.engine.deepspeed_config, now {name})")
    if training.micro_batch_size > 1:
        remedies.insert(0, f"lower training.micro_batch_size (now {training.micro_batch_size})")
    place = "the host's memory" if host else "the device's memory"
    return RunFailed(
        f"{place} is not enough for this run",
        where="training",
        remedy=f"{', or '.join(remedies)}; the last checkpoint is kept",
    )
