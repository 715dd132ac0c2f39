"""The optimizer step, once: what the loop, the benchmarks and the tests of equality call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biobert_scale.data.batches import RankStep
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.training.engine import Engine, Update
from biobert_scale.training.monitor.timers import StepTimer

SUMS = ("mlm_loss", "nsp_loss", "mlm_correct", "nsp_correct")


@dataclass(frozen=True)
class HostStep:
    """A rank's step, and its micro-batches as tensors in host memory."""

    step: RankStep
    micro_batches: tuple[PackedBatch, ...]

    @classmethod
    def of(cls, step: RankStep, *, pin: bool = False) -> HostStep:
        """See `PackedBatch.of`."""
        return cls(step, tuple(PackedBatch.of(batch, pin=pin) for batch in step.micro_batches))


@dataclass(frozen=True, kw_only=True)
class StepResult(Update):
    """What a step computed and did, on the device: the host reads it once, after the step."""

    sums: Tensor
    """(4,) fp32: this rank's `SUMS`."""


def train_step(
    engine: Engine,
    batch: HostStep,
    learning_rate: float,
    *,
    frozen_encoder: bool = False,
    timer: StepTimer | None = None,
    progress: Callable[[int], None] = lambda micro_step: None,
) -> StepResult:
    """Forward and backward over a rank's micro-batches, then one optimizer step.

    The loss is the global one: sums are divided by the predictions and the sequences of the whole step, on
    all ranks.

    Args:
        frozen_encoder: see `Engine.step`.
        timer: where the parts `forward`, `backward` and `step` are counted.
        progress: called before each micro-batch with its number.
    """
    timer = timer or StepTimer(engine.device)
    # What the engine divides by; the sums are divided by global counts already.
    parts = engine.world_size * engine.micro_steps
    totals = torch.zeros(len(SUMS), device=engine.device)
    for number, micro_batch in enumerate(batch.micro_batches):
        progress(number)
        with engine.micro_step(last=number == len(batch.micro_batches) - 1):
            with timer.part("forward"):
                sums = engine.forward(micro_batch.to(engine.device))
                loss = sums["mlm_loss"] / batch.step.global_predictions
                loss = loss + sums["nsp_loss"] / batch.step.global_sequences
            with timer.part("backward"):
                engine.backward(loss * parts)
        totals += torch.stack([sums[name].detach() for name in SUMS])
    with timer.part("step"):
        update = engine.step(learning_rate, frozen_encoder=frozen_encoder)
    return StepResult(sums=totals, **vars(update))


def seed_dropout(seed: int, data_step: int, rank: int) -> None:
    """Dropout is a function of the step and the rank: nothing to save, nothing to restore."""
    sequence = np.random.SeedSequence([seed, data_step, rank])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
