"""Fine-tune an encoder on one benchmark and score it: train on train, choose the epoch on dev, report test once."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import BertModel

from biobert_scale import __version__
from biobert_scale.config import FinetuneConfig, ScheduleConfig
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.evaluation.hoc import HallmarkTask
from biobert_scale.evaluation.ner import EntityTask
from biobert_scale.evaluation.packing import load_tokenizer
from biobert_scale.evaluation.saving import save_finetuned
from biobert_scale.evaluation.scores import Counts
from biobert_scale.evaluation.tasks import HALLMARK_TASK, is_published, task_directory
from biobert_scale.files import (
    MANIFEST,
    begin_stage,
    describe_inputs,
    fingerprint,
    finish_stage,
    read_json,
    read_manifest,
    stage_key,
    write_atomically,
    write_json,
)
from biobert_scale.modeling.bert import load_encoder
from biobert_scale.release.heads import MODEL
from biobert_scale.training.schedule import learning_rate

logger = logging.getLogger(__name__)

STAGE = "finetune"
METRICS, PREDICTIONS, DOCUMENTS = "metrics.json", "predictions.tsv", "documents.jsonl"
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
_MAX_GRAD_NORM = 1.0


def finetune(
    prepared: Path,
    task: str,
    model: Path,
    output: Path,
    config: FinetuneConfig,
    *,
    seed: int,
    random_weights: bool = False,
    save_model: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fine-tune a model on a task; finished work is read back instead of done again.

    The protocol is `blurb` for entities and `hoc-blurb` for documents (Gu et al. 2021): the weights of the best epoch on dev
    predict the test split, which plays no other part.

    Args:
        prepared: a directory that `prepare` wrote.
        task: one of its tasks.
        model: a Hugging Face BERT directory with its tokenizer.
        output: for `metrics.json`, `predictions.tsv` (the test split) and `documents.jsonl` (counts of each test document).
        seed: keys the new layer's weights, the order and dropout; and the encoder's weights where those are random.
        random_weights: start from fresh weights in the model's shape: what pre-training adds is the difference.
        save_model: keep the weights that the scores are of, in `model/`.

    Returns:
        What `metrics.json` holds; scores are in percent.

    Raises:
        UserError: an unknown task, a model or tokenizer that does not serve, or a window longer than the model's positions.
        RunFailed: the loss is not finite.
    """
    task_directory(prepared, task)
    inputs = describe_inputs([prepared, *_model_files(model)])
    settings = {"task": task, "model": model.name, "seed": seed, "random_weights": random_weights, "finetune": asdict(config)} | ({"save_model": True} if save_model else {})
    key = stage_key(STAGE, inputs, settings)
    if begin_stage(output, stage=STAGE, key=key, overwrite=overwrite):
        return dict(read_json(output / METRICS))
    started = time.monotonic()
    benchmark, tagger = _build(prepared, task, model, config, seed=seed, random_weights=random_weights)
    dev_scores, losses = train(tagger, benchmark, config, seed=seed, description=f"{task} seed {seed}")
    device = next(tagger.parameters()).device
    with _precision(device):
        result = benchmark.evaluate(tagger.eval(), "test", device)
    benchmark.write_predictions(output / PREDICTIONS, "test", result.pop("predictions"))
    write_documents(output / DOCUMENTS, result.pop("documents"))
    metrics = {
        "task": task,
        "protocol": benchmark.protocol,
        "score_name": benchmark.score_name,
        "kind": "random weights" if random_weights else "pre-trained",
        "model": model.name,
        "model_fingerprint": fingerprint(inputs[1:]),
        "seed": seed,
        "random_weights": random_weights,
        **result,
        "dev_scores": dev_scores,
        "train_losses": losses,
        "chosen_epoch": 1 + dev_scores.index(max(dev_scores)),
        "max_seq_length": config.max_seq_length,
        "config": asdict(config),
        "data": data_checksums(prepared, task),
        "published_data": is_published(prepared, task),
        "device": device.type,
        "versions": {"biobert_scale": __version__} | {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "seconds": round(time.monotonic() - started, 2),
    }
    write_json(output / METRICS, metrics)
    files, counts = [output / METRICS, output / PREDICTIONS, output / DOCUMENTS], {"score": metrics["score"]}
    if save_model:
        files += save_finetuned(output / MODEL, tagger, task=task, source=model, config=config)
    finish_stage(output, stage=STAGE, key=key, inputs=inputs, config=settings, counts=counts, outputs=files, libraries=_LIBRARIES)
    logger.info("%s, %s, seed %d: %s %.2f", task, metrics["kind"], seed, benchmark.score_name, metrics["score"])
    return dict(read_json(output / METRICS))


def _build(
    prepared: Path, task: str, model: Path, config: FinetuneConfig, *, seed: int, random_weights: bool
) -> tuple[EntityTask | HallmarkTask, nn.Module]:
    """The benchmark in the model's word pieces, and the encoder with the benchmark's new layer on it."""
    encoder = load_encoder(model, random_weights=random_weights, seed=seed)
    _check_settings(config, encoder, model)
    set_dropout(encoder, config.dropout)
    tokenizer = load_tokenizer(model)
    benchmark: EntityTask | HallmarkTask
    if task == HALLMARK_TASK:
        benchmark = HallmarkTask(prepared, tokenizer, config.max_seq_length, config.hallmark_unit)
    else:
        benchmark = EntityTask(prepared, task, tokenizer, config.max_seq_length)
    torch.manual_seed(seed)
    return benchmark, benchmark.model(encoder, config.dropout)


def train(
    model: nn.Module, benchmark: EntityTask | HallmarkTask, config: FinetuneConfig, *, seed: int, description: str
) -> tuple[list[float], list[float]]:
    """Train a model in place and leave it with the weights of its best epoch on dev (the first among equals).

    Returns:
        The dev score (percent) and the mean training loss of every epoch.

    Raises:
        RunFailed: the loss is not finite.
    """
    # Device and precision are set here and not by Accelerate: an evaluation is one process, and must not inherit the engine,
    # the precision or the process group that a training run left behind in it.
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    size = benchmark.training_size()
    steps_per_epoch = math.ceil(size / config.batch_size)
    schedule = ScheduleConfig(
        warmup_steps=int(config.warmup_fraction * steps_per_epoch * config.epochs), total_steps=steps_per_epoch * config.epochs
    )
    optimizer = _build_optimizer(model, config)
    order = np.random.default_rng(seed)
    dev_scores: list[float] = []
    losses: list[float] = []
    best: dict[str, torch.Tensor] = {}
    progress = tqdm(total=schedule.total_steps, unit="step", desc=description, disable=None)
    for epoch in range(config.epochs):
        model.train()
        chosen = order.permutation(size).tolist()
        epoch_loss = torch.zeros((), device=device)
        for step in range(steps_per_epoch):
            rate = learning_rate(epoch * steps_per_epoch + step, peak=config.learning_rate, schedule=schedule)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with _precision(device):
                loss = benchmark.loss(model, chosen[step * config.batch_size : (step + 1) * config.batch_size], device)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRAD_NORM)
            optimizer.step()
            optimizer.zero_grad()
            epoch_loss += loss.detach()
            progress.update()
        losses.append(epoch_loss.item() / steps_per_epoch)
        if not math.isfinite(losses[-1]):
            raise RunFailed(f"the loss of epoch {epoch + 1} is {losses[-1]}", where=description, remedy="lower the learning rate")
        with _precision(device):
            dev_scores.append(benchmark.evaluate(model.eval(), "dev", device)["score"])
        progress.set_postfix(loss=f"{losses[-1]:.3f}", dev=f"{dev_scores[-1]:.2f}")
        if dev_scores[-1] > max(dev_scores[:-1], default=-1.0):
            best = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    progress.close()
    model.load_state_dict(best)
    return dev_scores, losses


def _build_optimizer(model: nn.Module, config: FinetuneConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices and embeddings alone; fused, because a small model spends half its time here."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, eps=1e-6, fused=True)


def _precision(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 products on a GPU that computes in it; fp32 everywhere else.

    A CPU without bf16 arithmetic of its own is several times slower in bf16 than in fp32, and one rule for every CPU keeps
    their scores comparable.
    """
    wanted = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def set_dropout(encoder: BertModel, probability: float) -> None:
    """Give every dropout of the encoder, attention included, one probability."""
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def _check_settings(config: FinetuneConfig, encoder: BertModel, model: Path) -> None:
    positions = encoder.config.max_position_embeddings
    if not 8 <= config.max_seq_length <= positions:
        what = f"max_seq_length {config.max_seq_length} is not between 8 and the model's {positions} positions"
        raise UserError(what, where=model, remedy="correct evaluation's max_seq_length")
    if config.epochs < 1 or config.batch_size < 1:
        raise UserError("epochs and batch_size must be at least 1", where="evaluation", remedy="correct the configuration")


def _model_files(model: Path) -> list[Path]:
    """What a model directory stands for: its manifest where it has one, else its own files."""
    if (model / MANIFEST).exists() or not model.is_dir():
        return [model]
    return sorted(path for path in model.iterdir() if path.suffix in (".json", ".txt", ".safetensors", ".bin"))


def data_checksums(prepared: Path, task: str) -> dict[str, str]:
    """SHA-256 of each of a task's prepared files."""
    outputs = read_manifest(prepared).outputs
    return {Path(name).name: digest for name, digest in outputs.items() if Path(name).parent.name == task}


def write_documents(path: Path, documents: dict[str, Counts]) -> None:
    """Write every test document's counts: what paired comparisons of two systems need."""
    rows = [json.dumps({"pmid": pmid, **asdict(counts)}) + "\n" for pmid, counts in documents.items()]
    write_atomically(path, "".join(rows))
