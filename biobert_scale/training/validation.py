"""Scores on held-out samples, each counted exactly once over all ranks."""

from __future__ import annotations

import math

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from biobert_scale.config import Config
from biobert_scale.data.stream import SampleStream
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.training.engine import Engine
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.step import SUMS


@torch.no_grad()
def held_out_scores(
    accelerator: Accelerator, engine: Engine, stream: SampleStream, config: Config
) -> RunMetrics:
    """The metrics `validation/...`: means over all predictions and sequences of all ranks.

    Args:
        engine: its model is evaluated without dropout, and left in training mode.
        stream: the validation split.
    """
    device, training = accelerator.device, config.training
    batches = stream.validation(
        training.validation.sequences,
        micro_batch_size=training.micro_batch_size,
        world_size=accelerator.num_processes,
        rank=accelerator.process_index,
    )
    totals = torch.zeros(6, dtype=torch.float64, device=device)
    engine.module.eval()
    for batch in batches:
        sums = engine.forward(PackedBatch.of(batch).to(device))
        counts = torch.tensor([batch.mlm_labels.size, batch.nsp_labels.size], device=device)
        totals += torch.cat([torch.stack([sums[name] for name in SUMS]).double(), counts.double()])
    engine.module.train()
    mlm, nsp, mlm_correct, nsp_correct, predictions, sequences = gather(accelerator, *totals).sum(0).tolist()
    return {
        "validation/mlm_loss": mlm / predictions,
        "validation/perplexity": perplexity(mlm / predictions),
        "validation/nsp_loss": nsp / sequences,
        "validation/mlm_accuracy": mlm_correct / predictions,
        "validation/nsp_accuracy": nsp_correct / sequences,
        "validation/sequences": int(sequences),
    }


def perplexity(loss: float) -> float:
    """The exponential of a mean loss in nats; infinite where it is beyond every number."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def gather(accelerator: Accelerator, *values: Tensor | float) -> np.ndarray:
    """(ranks, values) float64: every rank's scalars, on every rank."""
    kind = {"dtype": torch.float64, "device": accelerator.device}
    mine = torch.stack([torch.as_tensor(value, **kind) for value in values])
    return np.asarray(accelerator.gather(mine[None]).cpu())
