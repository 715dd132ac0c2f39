"""The pre-training run as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from biobert_scale.config.execution import CheckpointConfig, EngineConfig, GuardsConfig, ValidationConfig
from biobert_scale.config.optimization import OptimizerConfig, PrecisionConfig, ScheduleConfig
from biobert_scale.errors import UserError
from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimisation. `gradient_accumulation_steps` is derived from these and the world size, never set."""

    global_batch_size: int = 256
    """Sequences in one optimizer step, over all ranks."""
    micro_batch_size: int = 2
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
    log_every_steps: int = 10
    trackers: tuple[str, ...] = ("tensorboard",)
    """Accelerate's trackers that metrics go to, besides `metrics.jsonl` (tensorboard, wandb, mlflow, ...);
    each needs its package."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training", global_batch_size="[1, 1e9]", micro_batch_size="[1, 1e6]",
            log_every_steps="[1, 1e12]"
        )
        # fmt: on
        if self.global_batch_size % self.micro_batch_size:
            raise UserError(
                f"global_batch_size {self.global_batch_size} is not a multiple of micro_batch_size"
                f" {self.micro_batch_size}",
                where="training.global_batch_size",
                remedy=f"use {nearest_multiples(self.global_batch_size, self.micro_batch_size)}",
            )
        if self.guards.stall_seconds >= self.engine.communication_timeout_seconds:
            raise UserError(
                f"stall_seconds {self.guards.stall_seconds:g} is not below"
                f" training.engine.communication_timeout_seconds {self.engine.communication_timeout_seconds}",
                where="training.guards.stall_seconds",
                remedy="use less, so that the rank that is waited for is named before the ranks give up",
            )


def gradient_accumulation_steps(training: TrainingConfig, world_size: int) -> int:
    """Micro-batches that each rank runs in one optimizer step.

    Raises:
        UserError: the global batch does not divide over the ranks; the nearest sizes that do are named.
    """
    unit = training.micro_batch_size * world_size
    if training.global_batch_size % unit:
        raise UserError(
            f"global_batch_size {training.global_batch_size} does not divide into {world_size} ranks x"
            f" micro_batch_size {training.micro_batch_size}",
            where="training.global_batch_size",
            remedy=f"use {nearest_multiples(training.global_batch_size, unit)}, or another micro_batch_size",
        )
    return training.global_batch_size // unit


def nearest_multiples(value: int, unit: int) -> str:
    """The multiples of `unit` next to `value`, as a remedy names them."""
    below, above = value // unit * unit, (value // unit + 1) * unit
    return f"{below} or {above}" if below else str(above)
