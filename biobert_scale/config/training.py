"""The pre-training run: its batches, engine, checkpoints, validation and guards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from biobert_scale.config.optimization import OptimizerConfig, PrecisionConfig, ScheduleConfig
from biobert_scale.config.section import Section
from biobert_scale.errors import UserError
from biobert_scale.object_address import parse_address


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Section, path="training.engine"):
    """What drives the ranks."""

    name: Literal["deepspeed", "ddp"] = "deepspeed"
    deepspeed_config: str = "zero1"
    """A file of `ds_configs/` by its name, or a path to a DeepSpeed JSON file. Unused by `ddp`."""
    communication_timeout_seconds: Annotated[int, "[1, 1e8]"] = 1800


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Section, path="training.checkpoint"):
    every_steps: Annotated[int, "[1, 1e12]"] = 1000
    keep_last: Annotated[int, "[1, 1e9]"] = 3
    """Complete checkpoints kept; older ones are deleted only after a newer one is in place."""
    keep_every_steps: Annotated[int, "[0, 1e12]"] = 0
    """Checkpoints of multiples of this step are kept for good; 0 for none."""
    keep_best: Annotated[int, "[0, 1e9]"] = 1
    """So many checkpoints are kept for their validation loss, however old; 0 for none."""
    background: bool = True
    """Copy the state to the host's memory and go on training while it is written; needs that memory twice on
    a CPU."""
    mirror: str = ""
    """Object storage (`s3://BUCKET/PREFIX`) that checkpoints are uploaded to, and that a run directory
    without any begins with; empty for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mirror:
            parse_address(self.mirror, where="training.checkpoint.mirror")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig(Section, path="training.validation"):
    every_steps: Annotated[int, "[1, 1e12]"] = 1000
    """Also evaluated before the first step and after the last."""
    sequences: Annotated[int, "[1, 1e9]"] = 2048
    """Held-out samples at most; fewer where the validation split is smaller."""


@dataclass(frozen=True, kw_only=True)
class GuardsConfig(Section, path="training.guards"):
    """What a run does about trouble that it notices itself. Rolling back takes the last checkpoint and goes
    on behind the samples seen since."""

    non_finite_loss: Literal["stop", "skip", "roll_back"] = "stop"
    """A loss that is no number. `skip` goes on without that step's gradients; it needs an engine that looks
    at them (not stage 0 in fp32)."""
    loss_spike: Literal["warn", "stop", "roll_back"] = "warn"
    """A loss above `spike_factor` times the running median."""
    spike_factor: Annotated[float, "(1, 1e9]"] = 1.5
    spike_window: Annotated[int, "[1, 1e7]"] = 200
    """Steps of the running median."""
    roll_backs: Annotated[int, "[0, 1e6]"] = 3
    """Times that a run rolls back before it stops."""
    starvation_fraction: Annotated[float, "[0, 1]"] = 0.2
    """Share of the time spent waiting for data above which a line says so."""
    stall_seconds: Annotated[float, "(0, 1e8]"] = 900.0
    """A step that lasts longer is reported, with the rank that the others wait for."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section, path="training"):
    """The optimisation. `gradient_accumulation_steps` is derived from these and the world size, never set."""

    global_batch_size: Annotated[int, "[1, 1e9]"] = 256
    """Sequences in one optimizer step, over all ranks."""
    micro_batch_size: Annotated[int, "[1, 1e6]"] = 2
    """Sequences in one forward pass of one rank."""
    initial_weights: str = ""
    """Where the run starts: a Hugging Face model directory, or a TensorFlow checkpoint's path or directory;
    empty for random weights."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    log_every_steps: Annotated[int, "[1, 1e12]"] = 10
    trackers: tuple[str, ...] = ("tensorboard",)
    """Accelerate's trackers that metrics go to, besides `metrics.jsonl` (tensorboard, wandb, mlflow, ...);
    each needs its package."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole, part = self.global_batch_size, self.micro_batch_size
        if whole % part:
            what = f"global_batch_size {whole} is not a multiple of micro_batch_size {part}"
            remedy = f"use {nearest_multiples(whole, part)}"
            raise UserError(what, where="training.global_batch_size", remedy=remedy)
        stall, timeout = self.guards.stall_seconds, self.engine.communication_timeout_seconds
        if stall >= timeout:
            raise UserError(
                f"stall_seconds {stall:g} is not below training.engine.communication_timeout_seconds"
                f" {timeout}",
                where="training.guards.stall_seconds",
                remedy="use less, so that the rank that is waited for is named before the ranks give up",
            )


def gradient_accumulation_steps(training: TrainingConfig, world_size: int) -> int:
    """Micro-batches that each rank runs in one optimizer step.

    Raises:
        UserError: the global batch does not divide over the ranks; the nearest sizes that do are named.
    """
    whole, part = training.global_batch_size, training.micro_batch_size
    steps, rest = divmod(whole, part * world_size)
    if rest:
        what = f"global_batch_size {whole} does not divide into {world_size} ranks x micro_batch_size {part}"
        remedy = f"use {nearest_multiples(whole, part * world_size)}, or another micro_batch_size"
        raise UserError(what, where="training.global_batch_size", remedy=remedy)
    return steps


def nearest_multiples(value: int, unit: int) -> str:
    """The multiples of `unit` next to `value`, as a remedy names them."""
    below, above = value // unit * unit, (value // unit + 1) * unit
    return f"{below} or {above}" if below else str(above)
