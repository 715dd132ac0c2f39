"""What a run would be, before it is one: no ranks join, no engine is built, no weights are allocated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import RenderableType
from transformers import BertConfig

from biobert_scale.config import BatchSizes, Config, gradient_accumulation_steps, phases_of
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE, number_of_predictions
from biobert_scale.data.mixture import Mixture, SourceSamples
from biobert_scale.data.samples import STAGE as SAMPLES_STAGE
from biobert_scale.data.samples import index_fingerprint, open_index
from biobert_scale.display import size, table
from biobert_scale.files import MANIFEST, read_manifest
from biobert_scale.modeling.flops import training_flops
from biobert_scale.modeling.model import PackedBertForPreTraining, bert_config
from biobert_scale.plan.memory import (
    Parts,
    RankMemory,
    Sent,
    Sharding,
    activation_bytes,
    checkpoint_bytes,
    communication,
    rank_memory,
)
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.sources import read_runs, source_weights, totals
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


class Line(NamedTuple):
    """Of the table."""

    what: str
    quantity: str
    remark: str = ""


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
    sent: Sent
    """By a device in one step."""
    checkpoint: int
    """Bytes of one checkpoint, all ranks' files."""
    steps: int
    sequences: int
    """In all steps."""
    phases: tuple[DryRun, ...] = ()
    """Of a run that has some; what it says itself is then of the one that needs most memory, but for its
    `sequences`, `steps` and the recipe."""

    @property
    def tokens(self) -> int:
        """In all steps, at full length."""
        return sum(each.tokens for each in self.phases) or self.sequences * self.config.data.max_seq_length

    @property
    def flops(self) -> int:
        """In all steps."""
        return sum(each.flops for each in self.phases) or self.sequences * self.sequence_flops


def plan_run(
    config: Config,
    *,
    world_size: int,
    vocabulary_size: int,
    counted: Parameters | None = None,
) -> DryRun:
    """Work a run out from its configuration, phase by phase.

    Args:
        counted: what `count_parameters` said, where several runs of one model are worked out.

    Raises:
        UserError: the batch does not divide over the ranks, or the DeepSpeed file contradicts the run
            configuration.
    """
    sizes = BatchSizes.of(config)
    shape = bert_config(config.model, vocabulary_size=vocabulary_size, pad_token_id=0)
    counted = counted or count_parameters(config, shape)
    phases = []
    for first, steps, own in phases_of(config):
        sequences = sizes.samples_before(first + steps) - sizes.samples_before(first)
        found = _plan_phase(own, world_size=world_size, vocabulary_size=vocabulary_size, counted=counted)
        phases.append(replace(found, steps=steps, sequences=sequences))
    if not config.training.phases:
        return phases[0]
    return replace(
        max(phases, key=lambda phase: phase.memory.device.peak),
        config=config,
        steps=config.training.schedule.total_steps,
        sequences=sum(phase.sequences for phase in phases),
        phases=tuple(phases),
    )


def _plan_phase(config: Config, *, world_size: int, vocabulary_size: int, counted: Parameters) -> DryRun:
    """A run without phases, whose steps are all alike."""
    training, data = config.training, config.data
    micro_steps = gradient_accumulation_steps(training, world_size)
    sharding = Sharding.of(config, world_size=world_size)
    shape = bert_config(config.model, vocabulary_size=vocabulary_size, pad_token_id=0)
    parameters, groups = counted
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
        checkpointing=config.compute.activation_checkpointing,
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
        sent=communication(
            sum(parameters.values()),
            sharding,
            world_size=world_size,
            bytes_a_weight=bytes_a_weight,
            micro_steps=micro_steps,
        ),
        checkpoint=checkpoint_bytes(sum(parameters.values())),
        steps=training.schedule.total_steps,
        sequences=training.schedule.total_steps * training.global_batch_size,
    )


class Parameters(NamedTuple):
    """A model's parameters, tied ones once (in the embeddings)."""

    parts: dict[str, int]
    """By part of the model."""
    groups: list[list[int]]
    """Elements of each tensor in the optimizer's groups."""


def count_parameters(config: Config, shape: BertConfig) -> Parameters:
    """Count them; nothing is allocated."""
    with torch.device("meta"):
        model = PackedBertForPreTraining(shape)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    parts = {
        part: sum(size for name, size in sizes.items() if name.startswith(prefix))
        for part, prefix in _MODULES.items()
    }
    assert sum(parts.values()) == sum(sizes.values()), "a parameter belongs to no part"
    groups = build_optimizer(model, config.training.optimizer).param_groups
    return Parameters(parts, [[parameter.numel() for parameter in group["params"]] for group in groups])


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
    for number, phase in enumerate(run.phases, 1):
        sections[f"phase {number}"] = _phase(phase)
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
    engine = training.engine
    return [
        Line("recipe", run.config.name, run.config.description),
        Line("ranks", f"{run.world_size:,}", "one device each"),
        Line("engine", engine.name, engine.deepspeed_config if engine.name == "deepspeed" else ""),
        Line("precision", precision.dtype, scaling if precision.dtype == "fp16" else ""),
        Line("seed", str(run.config.seed)),
    ]


def _model(run: DryRun, *, from_tokens: bool) -> list[Line]:
    model, source = run.config.model, "the tokens" if from_tokens else "the recipe"
    remarks = {
        "embeddings": f"{run.vocabulary_size:,} entries ({source}), tied with the MLM head's output",
        "encoder": (
            f"{model.num_hidden_layers} layers, hidden {model.hidden_size}, {model.num_attention_heads}"
            f" heads, intermediate {model.intermediate_size}"
        ),
    }
    lines = [Line(part, f"{count:,}", remarks.get(part, "")) for part, count in run.parameters.items()]
    return [*lines, Line("parameters", f"{sum(run.parameters.values()):,}")]


def _schedule(run: DryRun) -> list[Line]:
    data, training = run.config.data, run.config.training
    optimizer, schedule, validation = training.optimizer, training.schedule, training.validation
    length = data.max_seq_length
    masked = "whole words" if data.whole_word_masking else "tokens"
    warmup = f"{schedule.warmup_steps:,} of them warm-up, then {schedule}"
    betas = f"betas {optimizer.betas[0]:g} and {optimizer.betas[1]:g}"
    predicted = f"{data.mlm_probability:.0%} predicted, {masked}"
    return [
        *([] if run.phases else _batch(run)),
        Line(
            "sequence length",
            f"{length:,}",
            "at the most, and in validation; " * bool(run.phases) + predicted,
        ),
        Line("steps", f"{schedule.total_steps:,}", warmup),
        Line(
            "peak learning rate",
            f"{optimizer.learning_rate:g}",
            f"AdamW, {betas}, epsilon {optimizer.epsilon:g}",
        ),
        Line(
            "weight decay",
            f"{optimizer.weight_decay:g}",
            f"gradients clipped to norm {optimizer.max_grad_norm:g}",
        ),
        *(
            []
            if run.phases
            else [Line("tokens a step", f"{training.global_batch_size * length:,}", "at full length")]
        ),
        Line("sequences", f"{run.sequences:,}", "in the whole run"),
        Line("tokens", f"{run.tokens:,}", "in the whole run, at full length"),
        Line("validation", f"{validation.sequences:,}", f"sequences, every {validation.every_steps:,} steps"),
    ]


def _batch(run: DryRun) -> list[Line]:
    training, batch = run.config.training, run.config.training.global_batch_size
    product = f"{run.world_size} x {training.micro_batch_size} x {run.micro_steps} = {batch}"
    lines = [Line("global batch", f"{batch:,}", f"{product} (ranks x micro-batch x accumulation steps)")]
    if steps := training.batch_warmup_steps:
        grows = f"sequences in the first step, in multiples of it up to {batch:,} after {steps:,} steps"
        lines.append(Line("batch warm-up", f"{training.batch_warmup_start:,}", grows))
    return lines


def _phase(run: DryRun) -> list[Line]:
    return [
        Line("steps", f"{run.steps:,}"),
        Line("sequence length", f"{run.config.data.max_seq_length:,}"),
        *_batch(run),
        Line("sequences", f"{run.sequences:,}", "in the whole phase"),
        Line("FLOPs a sequence", f"{run.sequence_flops:.3e}"),
        Line("on a device", size(run.memory.device.peak), "at the most"),
    ]


def _data(run: DryRun, tokens: Path, samples: Path | None, counts: dict[str, Any]) -> list[Line]:
    config, train = run.config, counts["train"]
    consumed = run.sequences
    lines = [Line("train tokens", f"{train['tokens']:,}", f"{train['documents']:,} documents")]
    runs, in_epoch = read_runs(tokens / "train"), train["tokens"]
    if weights := source_weights(tokens / "train", config.data.sources):
        by_source = totals(runs)
        in_epoch = round(sum(by_source[name].tokens * weight for name, weight in weights.items()))
        lines += [
            Line(f"of {name}", f"{by_source[name].tokens:,}", f"{weight:g} times in an epoch")
            for name, weight in weights.items()
        ]
    for number, phase in enumerate(run.phases, 1):
        least = _least_samples(in_epoch, phase.config)
        remark = f"{least:,} samples an epoch or more"
        lines.append(Line(f"epochs, phase {number}", f"<= {phase.sequences / least:.2f}", remark))
    if run.phases:
        return lines
    if samples is not None and (samples / MANIFEST).exists():
        found = read_manifest(samples, SAMPLES_STAGE)
        if found.key == index_fingerprint(tokens, config.data, seed=config.seed):
            number = found.counts["train"]["samples"]
            if weights:
                by_index = SourceSamples.find(open_index(samples, "train"), runs)
                number = Mixture.of(by_index, weights).samples_an_epoch
            return [
                *lines,
                Line("samples an epoch", f"{number:,}"),
                Line("epochs", f"{consumed / number:.2f}"),
            ]
        remark = f"{samples} belongs to other tokens, lengths or another seed"
        lines.append(Line("index of samples", "other", remark))
    least = _least_samples(in_epoch, config)
    return [
        *lines,
        Line("samples an epoch", f">= {least:,}", "counted when the index is made"),
        Line("epochs", f"<= {consumed / least:.2f}"),
    ]


def _least_samples(tokens: int, config: Config) -> int:
    return -(-tokens // (config.data.max_seq_length - SPECIAL_TOKENS_PER_SAMPLE))


def _arithmetic(run: DryRun, device_tflops: float) -> list[Line]:
    a_step = run.sequence_flops * run.config.training.global_batch_size
    whole = run.flops
    products = "matrix products, forward and backward, at full length"
    lines = [
        Line("FLOPs a sequence", f"{run.sequence_flops:.3e}", products),
        Line("FLOPs a step", f"{a_step:.3e}"),
    ]
    if run.phases:
        lines = []  # each phase has its own
    lines += [
        Line("FLOPs", f"{whole:.3e}", "in the whole run"),
        Line("sent by a device", size(sum(run.sent)), "in one step, by ring algorithms"),
    ]
    if device_tflops:
        days = whole / (device_tflops * 1e12 * run.world_size) / 86400
        rate = f"if each of {run.world_size} devices keeps up {device_tflops:g} TFLOP/s"
        lines.append(Line("days", f"{days:,.1f}", f"{rate}; validation and stops are extra"))
    return lines


def _memory(parts: Parts) -> list[Line]:
    remarks = {
        "gradients": "kept between micro-batches",
        "activations": "one micro-batch at full length; formula: plan/memory.py",
        "optimizer_step": "not at the same time as the three above" if parts.activations else "",
    }
    lines = [
        Line(label, size(getattr(parts, name)), remarks.get(name, ""))
        for name, label in _MEMORY.items()
        if getattr(parts, name)
    ]
    remark = "without the libraries' own and what the allocator wastes" if parts.activations else ""
    return [*lines, Line("at the most", size(parts.peak), remark)]


def _checkpoints(run: DryRun) -> list[Line]:
    every, kept = run.config.training.checkpoint.every_steps, kept_checkpoints(run.config)
    room = size(run.checkpoint * (kept + 1))
    return [
        Line("one checkpoint", size(run.checkpoint), f"every {every:,} steps"),
        Line("disk space", room, f"{kept} kept at the end, and one while it is written"),
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
