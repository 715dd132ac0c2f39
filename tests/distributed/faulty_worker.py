"""One rank of a run that is made to go wrong: steps that overflow, losses that are no numbers, fp16 on a CPU.

What to do is read from the environment: OVERFLOWING_STEPS and NAN_STEPS, numbers of the data stream's steps;
STOP_AFTER, the step after which the run is asked to stop; LIFT_FP16 lifts DeepSpeed's and this package's
refusals of fp16 on a CPU.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from deepspeed.accelerator import get_accelerator

from biobert_scale.cli import main
from biobert_scale.training import runtime
from biobert_scale.training.step import HostStep
from biobert_scale.training.trainer import Trainer


def steps(name: str) -> set[int]:
    return {int(step) for step in os.environ.get(name, "").split(",") if step}


def train_step(trainer: Any, batch: HostStep, rate: float) -> Any:
    step = trainer.data_step
    if (
        trainer.state.global_step + 1 == int(os.environ.get("STOP_AFTER", "-1"))
        and trainer.accelerator.is_main_process
    ):
        trainer.stop.path.touch()
    if step in steps("OVERFLOWING_STEPS"):
        # A loss divided by almost nothing: its gradients exceed fp16, and divided by nothing every type.
        divisor = 1e-6 if trainer.config.training.precision.dtype == "fp16" else 0.0
        batch = replace(batch, step=replace(batch.step, global_predictions=divisor))  # type: ignore[arg-type]
    if step in steps("NAN_STEPS"):
        batch = replace(batch, step=replace(batch.step, global_predictions=float("nan")))  # type: ignore[arg-type]
        result = original(trainer, batch, rate)
        return replace(result, sums=result.sums * float("nan"))
    return original(trainer, batch, rate)


original = Trainer.train_step
Trainer.train_step = train_step  # type: ignore[method-assign,assignment]
if os.environ.get("LIFT_FP16"):
    get_accelerator().is_fp16_supported = lambda: True
    runtime.check_precision = lambda precision: None

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
