"""The fine-tuning loop, on Accelerate: one process or many, fp32, bf16 or fp16."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from biobert_scale.config import FinetuneConfig, OptimizerConfig, ScheduleConfig
from biobert_scale.errors import RunFailed
from biobert_scale.evaluation.finetuned_weights import Head
from biobert_scale.evaluation.layer_rates import layer_groups
from biobert_scale.evaluation.ner import EntityTask
from biobert_scale.evaluation.occurring_entries import OccurringEntries
from biobert_scale.evaluation.sequences import SequenceTask
from biobert_scale.resident import FreedMemory
from biobert_scale.training.engine.optimizer import build_optimizer
from biobert_scale.training.runtime import my_part
from biobert_scale.training.schedule import learning_rate

logger = logging.getLogger(__name__)
Benchmark = EntityTask | SequenceTask
_MAX_GRAD_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What became of one training: `dev_scores` (percent) and mean `train_losses` of every epoch."""

    dev_scores: list[float]
    train_losses: list[float]

    @property
    def chosen_epoch(self) -> int:
        """The best epoch on dev, from 1; the first among equals."""
        return 1 + self.dev_scores.index(max(self.dev_scores))


def fit(
    model: Head,
    benchmark: Benchmark,
    config: FinetuneConfig,
    accelerator: Accelerator,
    *,
    seed: int,
    description: str,
    stop_after: int | None = None,
) -> Fitted:
    """Train a model in place and leave it with the weights of its best epoch on dev.

    Every rank calls this. A step's sequences are dealt to the ranks, and its loss is the sum over all of them
    divided by their common number of terms, so that the number of ranks changes rounding and dropout only.

    Args:
        stop_after: stop after so many epochs of the schedule, without looking at dev, and keep the last
            weights.

    Raises:
        RunFailed: the loss is not finite.
    """
    size = benchmark.training_size()
    steps = math.ceil(size / config.batch_size)
    schedule = ScheduleConfig(
        warmup_steps=int(config.warmup_fraction * steps * config.epochs), total_steps=steps * config.epochs
    )
    model.to(accelerator.device)
    occurring = OccurringEntries(model.bert, benchmark.entries())
    if accelerator.process_index:  # rank 0 draws what a process alone would draw
        torch.manual_seed(seed + (accelerator.process_index << 32))
    # Fused, because a small model spends half its time here.
    settings = OptimizerConfig(weight_decay=config.weight_decay)
    groups = layer_groups(
        model,
        layers=model.bert.config.num_hidden_layers,
        layer_decay=config.layer_decay,
        weight_decay=config.weight_decay,
    )
    optimizer = accelerator.prepare(
        build_optimizer(model, settings, fused=accelerator.mixed_precision != "fp16", groups=groups)
    )
    # Autocast alone for one process: DDP would copy all gradients to its buckets and back.
    trained = accelerator.prepare_model(model, evaluation_mode=accelerator.num_processes == 1)
    order, freed = np.random.default_rng(seed), FreedMemory(seconds=10)
    fitted = Fitted(dev_scores=[], train_losses=[])
    best: dict[str, torch.Tensor] = {}
    epochs = config.epochs if stop_after is None else stop_after
    hidden = None if accelerator.is_main_process else True
    with tqdm(total=steps * epochs, unit="step", desc=description, disable=hidden) as progress:
        for epoch in range(epochs):
            trained.train()
            chosen = order.permutation(size).tolist()
            losses = []
            for step in range(steps):
                rate = learning_rate(epoch * steps + step, peak=config.learning_rate, schedule=schedule)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["scale"]
                batch = chosen[step * config.batch_size : (step + 1) * config.batch_size]
                losses.append(
                    _step(trained, optimizer, benchmark, batch, accelerator, config.label_smoothing)
                )
                progress.update()
                freed.give_back()
            loss = torch.stack(losses).mean().item()
            fitted.train_losses.append(loss)
            if not math.isfinite(loss):
                what = f"the loss of epoch {epoch + 1} is {loss}"
                raise RunFailed(what, where=description, remedy="lower the learning rate")
            if stop_after is None:
                alone = accelerator.unwrap_model(trained).eval()
                score = benchmark.evaluate(alone, "dev", accelerator.device)["score"]
                fitted.dev_scores.append(score)
                progress.set_postfix(loss=f"{loss:.3f}", dev=f"{score:.2f}")
                if progress.disable and accelerator.is_main_process:  # a job's log has no bar
                    done = f"{description}, epoch {epoch + 1} of {epochs}"
                    logger.info("%s: loss %.3f, dev %.2f", done, loss, score)
                if fitted.chosen_epoch == epoch + 1:
                    best = {name: value.detach().cpu().clone() for name, value in alone.state_dict().items()}
    accelerator.unwrap_model(trained, keep_fp32_wrapper=False)  # whoever predicts chooses the precision again
    if best:
        model.load_state_dict(best)
    occurring.restore()
    accelerator.free_memory()
    model.eval()
    return fitted


def _step(
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    benchmark: Benchmark,
    chosen: list[int],
    accelerator: Accelerator,
    smoothing: float,
) -> torch.Tensor:
    """One optimizer step; returns the mean loss over all ranks."""
    mine = my_part(chosen)
    # A rank without a sequence takes part in the step all the same: the others wait for its gradients.
    loss = benchmark.loss(trained, mine or chosen[:1], accelerator.device, smoothing) * (
        bool(mine) / max(benchmark.terms(chosen), 1)
    )
    accelerator.backward(loss * accelerator.num_processes)  # DDP averages over ranks; the sum is meant
    accelerator.clip_grad_norm_(trained.parameters(), _MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    summed: torch.Tensor = accelerator.reduce(loss.detach(), "sum")
    return summed
