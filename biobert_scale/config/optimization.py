"""What a training step does to the weights: optimizer, schedule, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from biobert_scale.errors import UserError
from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019) with BERT's settings."""

    learning_rate: float = 5e-5
    """The peak, reached at the end of the warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    """Applied to weight matrices and embeddings; never to biases and LayerNorm."""
    max_grad_norm: float = 1.0
    """The gradient of the global loss is clipped to this norm."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training.optimizer", learning_rate="[0, 100]", betas="[0, 1)", epsilon="(0, 1]",
            weight_decay="[0, 100]", max_grad_norm="(0, 1e30]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Linear warm-up, then linear decay to zero, counted in optimizer steps taken."""

    warmup_steps: int = 10_000
    total_steps: int = 150_000

    def __post_init__(self) -> None:
        check_section(self, "training.schedule", warmup_steps="[0, 1e12]", total_steps="[1, 1e12]")
        if self.warmup_steps >= self.total_steps:
            raise UserError(
                f"warmup_steps {self.warmup_steps} is not below total_steps {self.total_steps}",
                where="training.schedule.warmup_steps",
                remedy="shorten the warm-up or lengthen the run",
            )


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Arithmetic of the forward and backward pass; weights and moments are kept in fp32 by the optimizer."""

    dtype: Literal["fp32", "bf16", "fp16"] = "fp16"
    initial_scale_power: int = 16
    """fp16 only: the loss scale starts at 2 to this power."""
    loss_scale_window: int = 1000
    """fp16 only: steps without overflow after which the scale doubles."""
    hysteresis: int = 2
    """fp16 only: the scale halves at this many overflows, counted since it last grew (1: at every one).
    DeepSpeed's; without it always 1."""
    min_loss_scale: float = 1.0
    """fp16 only: the scale's floor; an overflow there stops the run."""
    max_skipped_in_a_row: int = 50
    """Steps skipped one after another, for overflowing gradients, after which the run stops."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training.precision", initial_scale_power="[0, 100]", loss_scale_window="[1, 1e9]",
            hysteresis="[1, 1e6]", min_loss_scale="(0, 1e30]", max_skipped_in_a_row="[1, 1e9]"
        )
        # fmt: on
