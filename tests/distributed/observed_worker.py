"""One rank of a run that tells what its engine really did: optimizer steps, rates, moments, types, shared
weights.

Writes `observed-RANK.json` into the directory that the environment's OBSERVED names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from biobert_scale.cli import main
from biobert_scale.files import write_json
from biobert_scale.training.step import HostStep
from biobert_scale.training.trainer import Trainer

SEEN: dict[str, Any] = {"rates": [], "micro_batches": [], "sequences": []}


def innermost(trainer: Trainer) -> Any:
    """torch's own optimizer, below DeepSpeed's."""
    engine: Any = trainer.engine
    return getattr(engine, "inner", None) or engine.optimizer


def train_step(trainer: Trainer, batch: HostStep, rate: float) -> Any:
    inner = innermost(trainer)
    result = original(trainer, batch, rate)
    SEEN["rates"].append([group["lr"] for group in inner.param_groups])
    SEEN["micro_batches"].append(len(batch.micro_batches))
    SEEN["sequences"].append(sum(len(micro_batch.nsp_labels) for micro_batch in batch.micro_batches))
    if len(SEEN["rates"]) == 1:
        SEEN["moments_squared"] = sum(
            float(state["exp_avg"].double().square().sum()) for state in inner.state.values()
        )
    return result


def close(trainer: Trainer, **options: Any) -> None:
    module: Any = trainer.engine.module
    SEEN["tied"] = module.cls.predictions.decoder.weight is module.bert.embeddings.word_embeddings.weight
    SEEN["optimizer_steps"] = sorted(
        {int(state["step"]) for state in innermost(trainer).state.values()}
    )  # by AdamW's own count
    SEEN["types"] = sorted({str(parameter.dtype) for parameter in module.parameters()})
    SEEN["state_types"] = sorted(
        {
            str(value.dtype)
            for state in innermost(trainer).state.values()
            for value in state.values()
            if torch.is_tensor(value) and value.dim()
        }
    )
    write_json(Path(os.environ["OBSERVED"]) / f"observed-{trainer.accelerator.process_index}.json", SEEN)
    original_close(trainer, **options)


original, original_close = Trainer.train_step, Trainer.close
Trainer.train_step, Trainer.close = train_step, close  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
