"""What the loop, the checkpoints and the benchmarks ask of whatever drives the ranks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor, nn

from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.training.engine.fragments import Fragment


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an optimizer step did, as tensors () on the device."""

    grad_norm: Tensor
    """Of the whole step's gradients, before clipping; NaN where it is not known."""
    loss_scale: Tensor
    """Of the next step; 1 where nothing is scaled."""
    skipped: Tensor
    """Whether gradients that are no numbers left weights and moments as they were."""


class EngineRecord(TypedDict):
    """What a checkpoint's manifest says of an engine."""

    engine: str
    zero_stage: int | None


class Engine(Protocol):
    """One rank's part of a model in training. Every method is called by all ranks together.

    A loss given to `backward` is averaged over ranks, and divided by `micro_steps`.
    """

    module: nn.Module
    """The model itself, whatever is around it."""
    device: torch.device
    rank: int
    world_size: int
    micro_steps: int
    """Micro-batches of a rank in a step with the whole global batch; in the batch's warm-up there are fewer.
    """
    replicated: bool
    """Whether every rank holds all weights and moments."""
    description: EngineRecord

    def micro_step(self, *, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward pass of one micro-batch; gradients are joined in a step's last one."""

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """See `PackedBertForPreTraining.forward`; in the precision of training."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's loss, an fp32 scalar."""

    def step(self, learning_rate: float, *, frozen_encoder: bool = False) -> Update:
        """Clip, update the weights, and forget the gradients.

        Args:
            frozen_encoder: leave the weights of `encoder_apart`'s encoder as they are.
        """

    def local_fragments(self, *, steps_taken: int = 0) -> list[Fragment]:
        """The fp32 weights and moments that this rank updates, as views.

        Args:
            steps_taken: before the first step moments that are not there yet are made; after it they are
                missed.

        Raises:
            RunFailed: something that a checkpoint holds is not there, or not in fp32.
        """

    def refresh_after_load(self, *, steps_taken: int) -> None:
        """Bring everything else in line with fragments that have been written to.

        Args:
            steps_taken: what AdamW's bias correction counts.
        """

    def full_values(self, name: str) -> dict[str, Tensor]:
        """What the engine itself says of a parameter, by another way than `local_fragments`: (numel,) on the
        host, of weight, exp_avg, exp_avg_sq; the weight in its own type. After the first step."""

    def loss_scale_state(self) -> dict[str, float]:
        """The scale, and where it is between two changes. Empty where nothing is scaled."""

    def restore_loss_scale(self, state: dict[str, float]) -> None:
        """Continue from a `loss_scale_state`; counts begin anew after another engine's."""
