"""All configurations of a run on a machine, and the one to take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from biobert_scale.config import Config, nearest_multiples
from biobert_scale.errors import UserError
from biobert_scale.modeling.model import bert_config
from biobert_scale.plan.dry_run import count_parameters
from biobert_scale.plan.predict import (
    Machine,
    Prediction,
    Rates,
    engine_of,
    predict,
    refused,
    with_micro_batch,
)
from biobert_scale.training.engine.settings import engine_config

ENGINES = ("ddp", "zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
_ALIKE = 0.01
"""Predicted seconds that differ by less count as equal."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The recommended configuration, None where nothing can be taken, and the reason in one sentence."""

    taken: Prediction | None
    reason: str


def predict_all(config: Config, machine: Machine, rates: Rates, *, vocabulary_size: int) -> list[Prediction]:
    """Every engine with every micro-batch that divides a device's part of the global batch.

    Raises:
        UserError: the global batch does not divide over the devices.
    """
    part = part_of_batch(config, machine.devices)
    engines = dict.fromkeys([*ENGINES, engine_of(config)])
    shape = bert_config(config.model, vocabulary_size=vocabulary_size, pad_token_id=0)
    counted = count_parameters(config, shape)
    found = []
    for engine in engines:
        for size in (size for size in range(1, part + 1) if part % size == 0):
            candidate = with_micro_batch(config, engine, size)
            try:
                if engine != "ddp":
                    engine_config(candidate, world_size=machine.devices)
            except UserError as why:
                found.append(refused(candidate, why))
                continue
            found.append(predict(candidate, machine, rates, vocabulary_size=vocabulary_size, counted=counted))
    return found


def part_of_batch(config: Config, devices: int) -> int:
    """Sequences of a step for each device, which a micro-batch divides: in every phase, and in the batch's
    warm-up.

    Raises:
        UserError: the global batch does not divide over the devices.
    """
    phases = config.training.each_phase()
    batches = [("global_batch_size", phase.global_batch_size) for phase in phases]
    for name, batch in [*batches, ("batch_warmup_start", config.training.batch_warmup_start)]:
        if batch % devices:
            nearest = nearest_multiples(batch, devices)
            raise UserError(
                f"{name} {batch} does not divide over {devices} devices",
                where="--devices",
                remedy=f"use a number that divides it, or training.{name} {nearest}",
            )
    return math.gcd(config.training.batch_warmup_start, *(batch for _, batch in batches)) // devices


def choose(predictions: Sequence[Prediction], machine: Machine, rates: Rates, *, own_engine: str) -> Choice:
    """The configuration to take: the fastest that fits, or where no rate of computing or of sending is known
    the one that sends least.

    Of several that are alike: the largest micro-batch, then the recipe's own engine, then the lowest stage.
    Offloading only where nothing else fits, unless the rates of the host are known, too.
    """
    fitting = [prediction for prediction in predictions if not prediction.trouble]
    if not fitting:
        possible = (prediction for prediction in predictions if prediction.micro_steps)
        least = min(possible, key=lambda prediction: prediction.device.peak)
        reason = (
            f"nothing fits: {least.engine} with a micro-batch of {least.micro_batch_size} needs the least"
            f" of a device, {least.device.peak / 2**30:.2f} GiB; take more devices, or larger ones"
        )
        return Choice(taken=None, reason=reason)
    timed_host = rates.host_step > 0 and rates.transfer > 0
    here = [prediction for prediction in fitting if timed_host or not prediction.offloads]
    pool = here or fitting
    by_time = rates.flops > 0 and (machine.devices == 1 or rates.ring(machine) > 0)

    def cost(prediction: Prediction) -> float:
        return (prediction.step_seconds or 0.0) if by_time else prediction.sent

    limit = min(map(cost, pool)) * (1 + _ALIKE)
    alike = [prediction for prediction in pool if cost(prediction) <= limit]
    taken = min(
        alike,
        key=lambda one: (
            -one.micro_batch_size,
            one.engine != own_engine,
            one.offloads,
            4 if one.stage is None else one.stage,
        ),
    )
    usable = machine.device_memory * (1 - machine.reserve) / 2**30
    words = [
        f"of {len(predictions)} configurations {len(fitting)} fit"
        + (f" in {usable:.1f} GiB" if usable else ""),
        f"none of them is predicted to be more than {_ALIKE:.0%} faster"
        if by_time
        else f"none of them sends over {_ALIKE:.0%} less",
    ]
    if not here:
        words.append("without offloading nothing fits")
    if len(alike) > 1:
        same = [one for one in alike if one.micro_batch_size == taken.micro_batch_size]
        kind = "the recipe's own engine" if taken.engine == own_engine else "the simplest engine"
        also = f" and is {kind}" if len(same) > 1 else ""
        words.append(f"of {len(alike)} alike it has the largest micro-batch{also}")
    return Choice(taken=taken, reason="; ".join(words))
