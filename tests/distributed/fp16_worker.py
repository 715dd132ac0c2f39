"""One rank of a run in fp16 on a CPU: DeepSpeed's and this package's refusals lifted, and steps made to overflow on purpose."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from deepspeed.accelerator import get_accelerator

from biobert_scale.cli import main
from biobert_scale.training import runtime
from biobert_scale.training.loop import HostStep, Trainer

OVERFLOWING = {int(step) for step in os.environ["OVERFLOWING_STEPS"].split(",") if step}
"""Numbers of steps of the data stream whose loss is divided by almost nothing."""


def train_step(trainer: Any, batch: HostStep) -> Any:
    if trainer.data_step in OVERFLOWING:
        batch = replace(batch, step=replace(batch.step, global_predictions=1e-6))
    return original(trainer, batch)


original = Trainer.train_step
Trainer.train_step = train_step  # type: ignore[method-assign]
get_accelerator().is_fp16_supported = lambda: True
runtime.check_precision = lambda precision, *, on_gpu: None

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
