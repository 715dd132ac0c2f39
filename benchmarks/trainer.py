"""transformers' `Trainer` under a recipe: its arguments, this package's learning rates, and held-out losses
along the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from biobert_scale.config import Config, ScheduleConfig
from biobert_scale.data.batches import MicroBatch
from biobert_scale.data.layouts import padded
from biobert_scale.training.schedule import learning_rate

Rows = dict[str, Tensor]
"""A model's arguments for one padded batch."""

Score = TypedDict(
    "Score",
    {
        "consumed_tokens": int,
        "validation/mlm_loss": float,
        "validation/nsp_loss": NotRequired[float],
        "validation/sequences": NotRequired[int],
    },
)
"""Held-out losses in nats, as `metrics.jsonl` names them, and the real tokens consumed before."""


class Point(Score):
    """Of a curve of held-out losses."""

    global_step: int
    training_seconds: float
    """Evaluation left out."""


class Trained(TypedDict):
    """A training with its held-out losses on the way."""

    curve: list[Point]
    training_seconds: float
    """Evaluation left out."""
    real_tokens: int


def rows(batch: MicroBatch, pad_token_id: int, *, length: int | None = None) -> Rows:
    """A micro-batch as padded rows.

    Args:
        length: of the rows; None for the longest sequence's.
    """
    arrays = padded(batch, pad_token_id=pad_token_id, length=length)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class EqualRates(Trainer):
    """A `Trainer` with this package's learning rates: in the warm-up its own are those of one step before."""

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Called by `train`."""
        schedule = ScheduleConfig(warmup_steps=int(self.args.warmup_steps), total_steps=num_training_steps)
        taken_on = optimizer or self.optimizer
        assert taken_on is not None
        self.lr_scheduler = LambdaLR(
            taken_on, lambda steps_taken: learning_rate(steps_taken, peak=1, schedule=schedule)
        )
        return self.lr_scheduler


def training_arguments(
    config: Config, scratch: Path | str, *, batch_size: int = 1, optim: str = "adamw_torch", **others: Any
) -> TrainingArguments:
    """A recipe in the `Trainer`'s terms.

    Args:
        batch_size: items of the data set in one micro-batch; 1 where an item is a whole batch.
        others: of `TrainingArguments`.
    """
    training, optimizer = config.training, config.training.optimizer
    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=training.schedule.total_steps,
        per_device_train_batch_size=batch_size,
        optim=optim,
        learning_rate=optimizer.learning_rate,
        adam_beta1=optimizer.betas[0],
        adam_beta2=optimizer.betas[1],
        adam_epsilon=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        lr_scheduler_type="linear",
        warmup_steps=training.schedule.warmup_steps,
        bf16=training.precision.dtype == "bf16",
        fp16=training.precision.dtype == "fp16",
        seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **others,
    )


class Evaluation(TrainerCallback):
    """Scores the model before the first step, every so many steps and after the last; the clock is stopped
    meanwhile.

    Args:
        score: called with the model and the steps taken; what it returns becomes a point of `curve`.
    """

    def __init__(self, score: Callable[[Any, int], Score], *, every_steps: int) -> None:
        self.score, self.every_steps = score, every_steps
        self.curve: list[Point] = []
        self.seconds = self.since = self.ready_at = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.ready_at = time.time()
        self._add_point(kwargs["model"], 0)
        self.since = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step % self.every_steps == 0 or state.global_step == state.max_steps:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - self.since
            self._add_point(kwargs["model"], state.global_step)
            self.since = time.perf_counter()

    def _add_point(self, model: Any, step: int) -> None:
        self.curve.append({"global_step": step, "training_seconds": self.seconds, **self.score(model, step)})
