"""What a run would be, before it is one: no ranks join, no engine is built, no weights are allocated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import RenderableType
from transformers import BertConfig

from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE, number_of_predictions
from biobert_scale.data.samples import STAGE as SAMPLES_STAGE
from biobert_scale.data.samples import index_fingerprint
from biobert_scale.display import size, table
from biobert_scale.files import MANIFEST, read_manifest
from biobert_scale.modeling.flops import training_flops
from biobert_scale.modeling.model import PackedBertForPreTraining, bert_config
from biobert_scale.plan.memory import (
    Parts,
    RankMemory,
    Sharding,
    activation_bytes,
    checkpoint_bytes,
    communication_bytes,
    rank_memory,
)
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.training.engine.optimizer import build_optimizer

_MODULES = {
    "embeddings": "bert.embeddings.",
    "encoder": "bert.encoder.",
    "pooler": "bert.pooler.",
    "MLM head": "cls.predictions.",
    "NSP head": "cls.seq_relationship.",
}
"""Part of the model -> what its parameters' names begin with."""

_MEMORY = {
    "weights": "weights",
    "fp32_weights": "the optimizer's fp32 weights",
    "moments": "moments",
    "gradients": "gradients",
    "copies": "weights gathered or cast",
    "communication": "communication buffers",
    "activations": "activations (estimate)",
    "optimizer_step": "the optimizer's step",
}
"""Field of `Parts` -> its line."""

Line = tuple[str, str, str]
"""What, how much, and a remark."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """A run in numbers. Sequences are taken at full length everywhere: real ones are a little shorter."""

    config: Config
    world_size: int
    vocabulary_size: int
    parameters: dict[str, int]
    """Parameters by part of the model, tied ones once (in the embeddings)."""
    micro_steps: int
    sequence_flops: int
    memory: RankMemory
    communication: int
    """Bytes that a device sends in one step."""
    checkpoint: int
    """Bytes of one checkpoint, all ranks' files."""


def plan_run(
    config: Config,
    *,
    world_size: int,
    vocabulary_size: int,
    counted: tuple[dict[str, int], list[list[int]]] | None = None,
) -> DryRun:
    """Work a run out from its configuration.

    Args:
        counted: what `count_parameters` said, where several runs of one model are worked out.

    Raises:
        UserError: the batch does not divide over the ranks, or the DeepSpeed file contradicts the run
            configuration.
    """
    training, data = config.training, config.data
    micro_steps = gradient_accumulation_steps(training, world_size)
    sharding = Sharding.of(config, world_size=world_size)
    shape = bert_config(config.model, vocabulary_size=vocabulary_size, pad_token_id=0)
    parameters, groups = counted or count_parameters(config, shape)
    count = sum(parameters.values())
    bytes_a_weight = 4 if training.precision.dtype == "fp32" else 2
    length = data.max_seq_length
    predictions = int(number_of_predictions(np.array(length), data.mlm_probability))
    activations = activation_bytes(
        config.model,
        sequences=training.micro_batch_size,
        length=length,
        predictions=training.micro_batch_size * predictions,
        vocabulary_size=vocabulary_size,
        bytes_a_weight=bytes_a_weight,
        head_rows=config.compute.head_rows,
    )
    return DryRun(
        config=config,
        world_size=world_size,
        vocabulary_size=vocabulary_size,
        parameters=parameters,
        micro_steps=micro_steps,
        sequence_flops=training_flops(shape, np.array([length]), predictions),
        memory=rank_memory(
            groups,
            sharding,
            world_size=world_size,
            bytes_a_weight=bytes_a_weight,
            accumulates=micro_steps > 1,
            activations=activations,
        ),
        communication=communication_bytes(
            count, sharding, world_size=world_size, bytes_a_weight=bytes_a_weight, micro_steps=micro_steps
        ),
        checkpoint=checkpoint_bytes(count),
    )


def count_parameters(config: Config, shape: BertConfig) -> tuple[dict[str, int], list[list[int]]]:
    """The model's parameters by part, and the elements of each tensor in the optimizer's groups; nothing is
    allocated."""
    with torch.device("meta"):
        model = PackedBertForPreTraining(shape)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    parts = {
        part: sum(size for name, size in sizes.items() if name.startswith(prefix))
        for part, prefix in _MODULES.items()
    }
    assert sum(parts.values()) == sum(sizes.values()), "a parameter belongs to no part"
    groups = [
        [parameter.numel() for parameter in group["params"]]
        for group in build_optimizer(model, config.training.optimizer).param_groups
    ]
    return parts, groups


def describe_run(
    config: Config,
    *,
    world_size: int,
    tokens: Path | None = None,
    samples: Path | None = None,
    device_tflops: float = 0.0,
) -> RenderableType:
    """A run's numbers as a table for a person.

    Args:
        tokens: finished token shards; without them the vocabulary's size is the recipe's.
        samples: a finished index of their samples; without it the samples of an epoch are bounded, not
            counted.
        device_tflops: floating-point operations that one device does in a second, in units of 10^12; 0 for no
            days.

    Raises:
        UserError: see `plan_run`; or the tokens are not finished token shards.
    """
    counts = None if tokens is None else read_manifest(tokens, TOKENS_STAGE).counts
    run = plan_run(
        config,
        world_size=world_size,
        vocabulary_size=config.vocabulary.size if counts is None else counts["vocabulary"],
    )
    sections = {
        "run": _run(run),
        "model": _model(run, from_tokens=counts is not None),
        "batch and schedule": _schedule(run),
    }
    if tokens is not None and counts is not None:
        sections["data"] = _data(run, tokens, samples, counts)
    sections |= {
        "arithmetic": _arithmetic(run, device_tflops),
        "memory of a device": _memory(run.memory.device),
    }
    if run.memory.host != Parts():
        sections["memory of its host, a device"] = _memory(run.memory.host)
    return render(sections | {"checkpoints": _checkpoints(run)})


def _run(run: DryRun) -> list[Line]:
    training, precision = run.config.training, run.config.training.precision
    scaling = (
        f"loss scale 2^{precision.initial_scale_power} at first, doubled after"
        f" {precision.loss_scale_window:,} steps, hysteresis {precision.hysteresis}"
    )
    return [
        ("recipe", run.config.name, run.config.description),
        ("ranks", f"{run.world_size:,}", "one device each"),
        (
            "engine",
            training.engine.name,
            training.engine.deepspeed_config if training.engine.name == "deepspeed" else "",
        ),
        ("precision", training.precision.dtype, scaling if training.precision.dtype == "fp16" else ""),
        ("seed", str(run.config.seed), ""),
    ]


def _model(run: DryRun, *, from_tokens: bool) -> list[Line]:
    model = run.config.model
    remarks = {
        "embeddings": (
            f"{run.vocabulary_size:,} entries ({'the tokens' if from_tokens else 'the recipe'}), tied with"
            " the MLM head's output"
        ),
        "encoder": (
            f"{model.num_hidden_layers} layers, hidden {model.hidden_size}, {model.num_attention_heads}"
            f" heads, intermediate {model.intermediate_size}"
        ),
    }
    lines = [(part, f"{count:,}", remarks.get(part, "")) for part, count in run.parameters.items()]
    return [*lines, ("parameters", f"{sum(run.parameters.values()):,}", "")]


def _schedule(run: DryRun) -> list[Line]:
    training, optimizer, schedule = (
        run.config.training,
        run.config.training.optimizer,
        run.config.training.schedule,
    )
    length, batch = run.config.data.max_seq_length, training.global_batch_size
    return [
        (
            "global batch",
            f"{batch:,}",
            (
                f"{run.world_size} x {training.micro_batch_size} x {run.micro_steps} = {batch} (ranks x"
                " micro-batch x accumulation steps)"
            ),
        ),
        (
            "sequence length",
            f"{length:,}",
            (
                f"{run.config.data.mlm_probability:.0%} predicted,"
                f" {'whole words' if run.config.data.whole_word_masking else 'tokens'}"
            ),
        ),
        (
            "steps",
            f"{schedule.total_steps:,}",
            f"{schedule.warmup_steps:,} of them warm-up, then linear to zero",
        ),
        (
            "peak learning rate",
            f"{optimizer.learning_rate:g}",
            f"AdamW, betas {optimizer.betas[0]:g} and {optimizer.betas[1]:g}, epsilon {optimizer.epsilon:g}",
        ),
        (
            "weight decay",
            f"{optimizer.weight_decay:g}",
            f"gradients clipped to norm {optimizer.max_grad_norm:g}",
        ),
        ("tokens a step", f"{batch * length:,}", "at full length"),
        ("sequences", f"{batch * schedule.total_steps:,}", "in the whole run"),
        ("tokens", f"{batch * schedule.total_steps * length:,}", "in the whole run, at full length"),
        (
            "validation",
            f"{training.validation.sequences:,}",
            f"sequences, every {training.validation.every_steps:,} steps",
        ),
    ]


def _data(run: DryRun, tokens: Path, samples: Path | None, counts: dict[str, Any]) -> list[Line]:
    config = run.config
    consumed = config.training.global_batch_size * config.training.schedule.total_steps
    lines = [
        ("train tokens", f"{counts['train']['tokens']:,}", f"{counts['train']['documents']:,} documents")
    ]
    if samples is not None and (samples / MANIFEST).exists():
        found = read_manifest(samples, SAMPLES_STAGE)
        if found.key == index_fingerprint(tokens, config.data, seed=config.seed):
            size = found.counts["train"]["samples"]
            return [*lines, ("samples an epoch", f"{size:,}", ""), ("epochs", f"{consumed / size:.2f}", "")]
        lines.append(
            ("index of samples", "other", f"{samples} belongs to other tokens, lengths or another seed")
        )
    least = -(-counts["train"]["tokens"] // (config.data.max_seq_length - SPECIAL_TOKENS_PER_SAMPLE))
    return [
        *lines,
        ("samples an epoch", f">= {least:,}", "counted when the index is made"),
        ("epochs", f"<= {consumed / least:.2f}", ""),
    ]


def _arithmetic(run: DryRun, device_tflops: float) -> list[Line]:
    batch, steps = run.config.training.global_batch_size, run.config.training.schedule.total_steps
    whole = run.sequence_flops * batch * steps
    lines = [
        (
            "FLOPs a sequence",
            f"{run.sequence_flops:.3e}",
            "matrix products, forward and backward, at full length",
        ),
        ("FLOPs a step", f"{run.sequence_flops * batch:.3e}", ""),
        ("FLOPs", f"{whole:.3e}", "in the whole run"),
        ("sent by a device", size(run.communication), "in one step, by ring algorithms"),
    ]
    if device_tflops:
        days = whole / (device_tflops * 1e12 * run.world_size) / 86400
        lines.append(
            (
                "days",
                f"{days:,.1f}",
                (
                    f"if each of {run.world_size} devices keeps up {device_tflops:g} TFLOP/s; validation and"
                    " stops are extra"
                ),
            )
        )
    return lines


def _memory(parts: Parts) -> list[Line]:
    remarks = {
        "gradients": "kept between micro-batches",
        "activations": "one micro-batch at full length; formula: training/memory.py",
        "optimizer_step": "not at the same time as the three above" if parts.activations else "",
    }
    lines = [
        (label, size(getattr(parts, name)), remarks.get(name, ""))
        for name, label in _MEMORY.items()
        if getattr(parts, name)
    ]
    return [
        *lines,
        (
            "at the most",
            size(parts.peak),
            "without the libraries' own and what the allocator wastes" if parts.activations else "",
        ),
    ]


def _checkpoints(run: DryRun) -> list[Line]:
    settings, kept = run.config.training.checkpoint, kept_checkpoints(run.config)
    return [
        ("one checkpoint", size(run.checkpoint), f"every {settings.every_steps:,} steps"),
        (
            "disk space",
            size(run.checkpoint * (kept + 1)),
            f"{kept} kept at the end, and one while it is written",
        ),
    ]


def kept_checkpoints(config: Config) -> int:
    """How many checkpoints a run keeps at its end, at most."""
    settings = config.training.checkpoint
    for_good = (
        (config.training.schedule.total_steps - 1) // settings.keep_every_steps
        if settings.keep_every_steps
        else 0
    )
    return settings.keep_last + settings.keep_best + for_good


def render(sections: dict[str, list[Line]]) -> RenderableType:
    """Sections of aligned lines: names to the left, quantities to the right, remarks after them."""
    rows: list[tuple[str, ...]] = []
    for title, section in sections.items():
        rows += [("",), (title,), *((f"  {what}", much, remark) for what, much, remark in section)]
    return table(rows[1:], right=(1,))
