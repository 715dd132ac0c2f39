"""What a training step does to the weights: optimizer, schedule, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from biobert_scale.config.section import Section
from biobert_scale.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Section, path="training.optimizer"):
    """AdamW (Loshchilov and Hutter 2019) with BERT's settings."""

    learning_rate: Annotated[float, "[0, 100]"] = 5e-5
    """The peak, reached at the end of the warm-up."""
    betas: Annotated[tuple[float, float], "[0, 1)"] = (0.9, 0.999)
    """Decay of the two moments at each step."""
    epsilon: Annotated[float, "(0, 1]"] = 1e-6
    """Added to the root of the second moment."""
    weight_decay: Annotated[float, "[0, 100]"] = 0.01
    """Applied to weight matrices and embeddings; never to biases and LayerNorm."""
    max_grad_norm: Annotated[float, "(0, 1e30]"] = 1.0
    """The gradient of the global loss is clipped to this norm."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Section, path="training.schedule"):
    """Linear warm-up, then a decay, counted in optimizer steps taken."""

    decay: Literal["linear", "cosine", "constant", "inverse_square_root"] = "linear"
    """After the warm-up: linear or cosine to zero at the end; none; or the square root of `warmup_steps` over
    the steps taken."""
    warmup_steps: Annotated[int, "[0, 1e12]"] = 10_000
    """Optimizer steps in which the learning rate grows linearly from zero to its peak."""
    total_steps: Annotated[int, "[1, 1e12]"] = 150_000
    """Optimizer steps of the whole run."""
    cooldown_steps: Annotated[int, "[0, 1e12]"] = 0
    """The last steps, linear to zero; only with constant (warmup-stable-decay) and inverse_square_root."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps >= self.total_steps:
            what = f"warmup_steps {self.warmup_steps} is not below total_steps {self.total_steps}"
            remedy = "shorten the warm-up or lengthen the run"
            raise UserError(what, where="training.schedule.warmup_steps", remedy=remedy)
        if self.cooldown_steps and self.decay in ("linear", "cosine"):
            what = f"a {self.decay} decay has no cool-down: it ends at zero by itself"
            remedy = "set it to 0, or training.schedule.decay to constant or inverse_square_root"
            raise UserError(what, where="training.schedule.cooldown_steps", remedy=remedy)
        if self.warmup_steps + self.cooldown_steps > self.total_steps:
            what = (
                f"warmup_steps {self.warmup_steps} and cooldown_steps {self.cooldown_steps} exceed"
                f" total_steps {self.total_steps}"
            )
            remedy = "shorten the cool-down or lengthen the run"
            raise UserError(what, where="training.schedule.cooldown_steps", remedy=remedy)
        if self.decay == "inverse_square_root" and not self.warmup_steps:
            what, remedy = (
                "the inverse square root needs a warm-up: it is infinite at step 0",
                "use 1 or more",
            )
            raise UserError(what, where="training.schedule.warmup_steps", remedy=remedy)

    def __str__(self) -> str:
        """For people, after the words "steps of warm-up, then"."""
        decay = {
            "linear": "linear decay to zero",
            "cosine": "cosine decay to zero",
            "constant": "constant",
            "inverse_square_root": "inverse square root decay",
        }[self.decay]
        cooldown = f", linear to zero over the last {self.cooldown_steps:,} steps" * bool(self.cooldown_steps)
        return decay + cooldown


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig(Section, path="training.precision"):
    """Arithmetic of the forward and backward pass; weights and moments are kept in fp32 by the optimizer."""

    dtype: Literal["fp32", "bf16", "fp16"] = "fp16"
    """What the matrix products are computed in; fp16 with dynamic loss scaling."""
    initial_scale_power: Annotated[int, "[0, 100]"] = 16
    """fp16 only: the loss scale starts at 2 to this power."""
    loss_scale_window: Annotated[int, "[1, 1e9]"] = 1000
    """fp16 only: steps without overflow after which the scale doubles."""
    hysteresis: Annotated[int, "[1, 1e6]"] = 2
    """fp16 only: the scale halves at this many overflows, counted since it last grew (1: at every one).
    DeepSpeed's; without it always 1."""
    min_loss_scale: Annotated[float, "(0, 1e30]"] = 1.0
    """fp16 only: the scale's floor; an overflow there stops the run."""
    max_skipped_in_a_row: Annotated[int, "[1, 1e9]"] = 50
    """Steps skipped one after another, for overflowing gradients, after which the run stops."""
