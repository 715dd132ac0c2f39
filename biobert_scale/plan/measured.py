"""What runs that were measured say: rates to predict others with, and how far predictions were off."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.files import read_json
from biobert_scale.plan.dry_run import plan_run
from biobert_scale.plan.memory import Sharding
from biobert_scale.plan.predict import Machine, Rates, computed_again, predict, slowest_rank
from biobert_scale.plan.scaling import expected_maximum
from biobert_scale.recipes import load_config
from biobert_scale.training.checkpoint.retention import complete
from biobert_scale.training.checkpoint.tensor_files import Shards
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.telemetry import METRICS, read_metrics

_LIBRARIES = (
    "import deepspeed, biobert_scale.training.run;"
    " from biobert_scale.resident import peak_resident_bytes; print(peak_resident_bytes())"
)


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """A run's own figures: medians over its records, the first left out. Seconds are of one optimizer
    step."""

    run: Path
    config: Config
    device: str
    """As `device.json` names it."""
    world_size: int
    vocabulary_size: int
    step_seconds: float
    compute_seconds: float
    """Forward and backward."""
    optimizer_seconds: float
    flops: float
    """Operations of one device in a step."""
    slowest_excess: float = 0.0
    """What the slowest rank's data and forward pass took more than the mean rank's, over that."""
    save_seconds: float = 0.0
    """What a save kept the loop waiting for."""
    write_seconds: float = 0.0
    """Until a save was complete."""
    peak_memory: int
    """Bytes, of the fullest rank: of tensors on a GPU, of the process on a CPU."""

    @property
    def on_cpu(self) -> bool:
        return "CPU" in self.device


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A prediction beside what was measured."""

    run: str
    own_rates: bool
    """The rates were taken from this very run's first half, and its second half was measured."""
    predicted_step_seconds: float | None
    measured_step_seconds: float
    predicted_peak_memory: int
    """Bytes; on a CPU with what the libraries themselves take, measured now."""
    measured_peak_memory: int

    @property
    def step_seconds_error(self) -> float | None:
        """(predicted - measured) / measured."""
        predicted = self.predicted_step_seconds
        return None if predicted is None else predicted / self.measured_step_seconds - 1

    @property
    def peak_memory_error(self) -> float:
        return self.predicted_peak_memory / self.measured_peak_memory - 1


def read_run(run: Path, *, half: Literal["first", "second"] | None = None) -> MeasuredRun:
    """A run's figures.

    Args:
        half: of its records, to take rates from the one and compare them with the other; all of them where
            they are fewer than five.

    Raises:
        UserError: no run, or one too short to have been measured.
    """
    config, device = load_config(run / "config.json"), read_json(run / "device.json")
    if config.training.phases or config.training.batch_warmup_steps:
        what = "the run's steps are not alike: it has phases or a warm-up of its batch"
        raise UserError(what, where=run, remedy="measure a short run without them")
    noted = read_metrics(run)
    records = [record for record in noted if "perf/forward_seconds" in record]
    if len(records) < 2:
        what = f"{len(records)} record(s) of speed, too few for a rate"
        remedy = "let the run write a few more log lines (training.log_every_steps)"
        raise UserError(what, where=run / METRICS, remedy=remedy)
    counted: Sequence[Mapping[str, Any]] = records[1:]
    if half is not None and len(counted) >= 4:
        counted = counted[: len(counted) // 2] if half == "first" else counted[len(counted) // 2 :]

    def median(*names: str) -> float:
        return float(statistics.median(sum(record[name] for name in names) for record in counted))

    def median_where_noted(name: str, records: Sequence[Mapping[str, Any]]) -> float:
        return float(statistics.median([record[name] for record in records if name in record] or [0.0]))

    return MeasuredRun(
        run=run,
        config=config,
        device=device["device"],
        world_size=_world_size(records, run),
        vocabulary_size=_vocabulary_size(run) or config.vocabulary.size,
        step_seconds=median("perf/step_seconds"),
        compute_seconds=median("perf/forward_seconds", "perf/backward_seconds"),
        optimizer_seconds=median("perf/optimizer_seconds"),
        flops=statistics.median(
            record["perf/model_flops_per_second_per_device"] * record["perf/step_seconds"]
            for record in counted
        ),
        slowest_excess=median_where_noted("perf/slowest_rank_excess", counted),
        save_seconds=median_where_noted("perf/checkpoint_stall_seconds", noted),
        write_seconds=median_where_noted("perf/checkpoint_write_seconds", noted),
        peak_memory=max(record["perf/peak_memory_bytes"] for record in records),
    )


def _world_size(records: list[RunMetrics], run: Path) -> int:
    """The ranks that shared a step's tokens: all tokens between two records, over those that one device
    did."""
    counts: list[float] = []
    for before, record in itertools.pairwise(records):
        steps = record["global_step"] - before["global_step"]
        tokens = record["consumed_tokens"] - before["consumed_tokens"]
        if steps > 0:
            counts.append(
                tokens / (record["perf/tokens_per_second_per_device"] * record["perf/step_seconds"] * steps)
            )
    if not counts or (size := round(statistics.median(counts))) < 1:
        what = "the number of ranks does not follow from its records"
        raise UserError(what, where=run / METRICS, remedy="name another run")
    return size


def _vocabulary_size(run: Path) -> int:
    """By the embeddings in the run's newest checkpoint; 0 where there is none of this format."""
    for checkpoint in reversed(complete(run)):
        if files := sorted(path.name for path in checkpoint.glob("*.safetensors")):
            with Shards(checkpoint, files) as shards:
                hidden = shards.numel("bert.embeddings.LayerNorm.weight")
                return shards.numel("bert.embeddings.word_embeddings.weight") // hidden
    return 0


def machine_of(measured: MeasuredRun) -> Machine:
    """As many devices as the run had, on one node, with no limit."""
    return Machine(devices=measured.world_size, devices_per_node=measured.world_size, device_memory=0)


def rates_from(measured: MeasuredRun, given: Rates) -> Rates:
    """Rates that make the run's prediction what was measured, for all that were not given.

    Where the rate of sending was given, communication is taken out of the seconds of the passes; where it was
    not, it stays in them.
    """
    world_size = measured.world_size
    run = plan_run(measured.config, world_size=world_size, vocabulary_size=measured.vocabulary_size)
    sharding = Sharding.of(measured.config, world_size=world_size)
    count = sum(run.parameters.values())
    share = count if sharding.stage in (None, 0) else -(-count // world_size)
    size = measured.vocabulary_size
    prediction = predict(measured.config, machine_of(measured), given, vocabulary_size=size)
    sending = prediction.communication_seconds or 0.0
    element = measured.optimizer_seconds / share
    spread = given.spread
    if not spread and world_size > 1:
        spread = measured.slowest_excess / expected_maximum(world_size)
    flops = measured.flops * computed_again(measured.config) * slowest_rank(spread, world_size)
    return replace(
        given,
        # A rate given too low would leave no time to compute.
        flops=given.flops or flops / max(measured.compute_seconds - sending, measured.compute_seconds / 10),
        device_step=given.device_step or (0.0 if sharding.offload_optimizer else element),
        host_step=given.host_step or (element if sharding.offload_optimizer or measured.on_cpu else 0.0),
        spread=spread,
        other_seconds=max(0.0, measured.step_seconds - measured.compute_seconds - measured.optimizer_seconds),
        filling=filling_of(measured),
    )


def filling_of(measured: MeasuredRun) -> float:
    """Arithmetic of the run's steps over that of steps whose sequences are all of full length."""
    run = plan_run(measured.config, world_size=measured.world_size, vocabulary_size=measured.vocabulary_size)
    full_length = run.sequence_flops * measured.config.training.global_batch_size
    return measured.flops * measured.world_size / full_length


def compare(measured: MeasuredRun, rates: Rates, *, own_rates: bool) -> Comparison:
    """Predict the run as it was, with its own sequences' lengths, and put it beside its figures."""
    own_lengths = replace(rates, filling=filling_of(measured))
    predicted = predict(
        measured.config, machine_of(measured), own_lengths, vocabulary_size=measured.vocabulary_size
    )
    memory = predicted.device.peak
    if measured.on_cpu:
        memory += predicted.host.peak + libraries_memory()
    return Comparison(
        run=str(measured.run),
        own_rates=own_rates,
        predicted_step_seconds=predicted.step_seconds,
        measured_step_seconds=measured.step_seconds,
        predicted_peak_memory=memory,
        measured_peak_memory=measured.peak_memory,
    )


def libraries_memory() -> int:
    """Bytes of a process that has imported what a rank imports, and done nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LIBRARIES], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1])
