"""The pre-training run: its batches, engine, checkpoints, validation and guards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from biobert_scale.config.optimization import OptimizerConfig, PrecisionConfig, ScheduleConfig
from biobert_scale.config.section import Section
from biobert_scale.errors import UserError
from biobert_scale.object_address import parse_address


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Section, path="training.engine"):
    """What drives the ranks."""

    name: Literal["deepspeed", "ddp"] = "deepspeed"
    """DeepSpeed, or torch's DistributedDataParallel."""
    deepspeed_config: str = "zero1"
    """A file of `ds_configs/` by its name, or a path to a DeepSpeed JSON file. Unused by `ddp`."""
    communication_timeout_seconds: Annotated[int, "[1, 1e8]"] = 1800
    """A rank that does not answer the others for longer ends the run."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Section, path="training.checkpoint"):
    """When checkpoints are saved, and which are kept."""

    every_steps: Annotated[int, "[1, 1e12]"] = 1000
    """Optimizer steps between two checkpoints; one is also saved when the run stops or ends."""
    keep_last: Annotated[int, "[1, 1e9]"] = 3
    """Complete checkpoints kept; older ones are deleted only after a newer one is in place."""
    keep_every_steps: Annotated[int, "[0, 1e12]"] = 0
    """Checkpoints of multiples of this step are kept for good; 0 for none."""
    keep_best: Annotated[int, "[0, 1e9]"] = 1
    """So many checkpoints are kept for their validation loss, however old; 0 for none."""
    background: bool = True
    """Copy the state to the host's memory and go on training while it is written; needs that memory twice on
    a CPU."""
    mirror: str = ""
    """Object storage (`s3://BUCKET/PREFIX`) that checkpoints are uploaded to, and that a run directory
    without any begins with; empty for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mirror:
            parse_address(self.mirror, where="training.checkpoint.mirror")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig(Section, path="training.validation"):
    """The held-out loss."""

    every_steps: Annotated[int, "[1, 1e12]"] = 1000
    """Also evaluated before the first step and after the last."""
    sequences: Annotated[int, "[1, 1e9]"] = 2048
    """Held-out samples at most; fewer where the validation split is smaller."""


@dataclass(frozen=True, kw_only=True)
class GuardsConfig(Section, path="training.guards"):
    """What a run does about trouble that it notices itself. Rolling back takes the last checkpoint and goes
    on behind the samples seen since."""

    non_finite_loss: Literal["stop", "skip", "roll_back"] = "stop"
    """A loss that is no number. `skip` goes on without that step's gradients; it needs an engine that looks
    at them (not stage 0 in fp32)."""
    loss_spike: Literal["warn", "stop", "roll_back"] = "warn"
    """A loss above `spike_factor` times the running median."""
    spike_factor: Annotated[float, "(1, 1e9]"] = 1.5
    """See `loss_spike`."""
    spike_window: Annotated[int, "[1, 1e7]"] = 200
    """Steps of the running median."""
    roll_backs: Annotated[int, "[0, 1e6]"] = 3
    """Times that a run rolls back before it stops."""
    starvation_fraction: Annotated[float, "[0, 1]"] = 0.2
    """Share of the time spent waiting for data above which a line says so."""
    stall_seconds: Annotated[float, "(0, 1e8]"] = 900.0
    """A step that lasts longer is reported, with the rank that the others wait for."""


@dataclass(frozen=True, kw_only=True)
class PhaseConfig(Section, path="training.phases"):
    """A part of the run; what is 0 is the run's own."""

    steps: Annotated[int, "[0, 1e12]"] = 0
    """Steps taken and skipped; 0 in the last phase, which ends with the run."""
    max_seq_length: Annotated[int, "0 or [16, 4095]"] = 0
    """Tokens in a sample at most; not above `data.max_seq_length`, at which the run is validated throughout.
    """
    global_batch_size: Annotated[int, "[0, 1e9]"] = 0
    """Sequences in one optimizer step, over all ranks."""
    micro_batch_size: Annotated[int, "[0, 1e6]"] = 0
    """Sequences in one forward pass of one rank."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section, path="training"):
    """The optimisation. `gradient_accumulation_steps` is derived from these and the world size, never set."""

    global_batch_size: Annotated[int, "[1, 1e9]"] = 256
    """Sequences in one optimizer step, over all ranks."""
    micro_batch_size: Annotated[int, "[1, 1e6]"] = 2
    """Sequences in one forward pass of one rank."""
    batch_warmup_start: Annotated[int, "[0, 1e9]"] = 0
    """Sequences in the first step, from where the batch grows in multiples of this to `global_batch_size`; 0
    for none."""
    batch_warmup_steps: Annotated[int, "[0, 1e12]"] = 0
    """The steps, taken and skipped, before the first with `global_batch_size` sequences."""
    phases: tuple[PhaseConfig, ...] = ()
    """Parts of the run, one after another, each with samples of its own; none: the run is one."""
    initial_weights: str = ""
    """Where the run starts: a Hugging Face model directory, or a TensorFlow checkpoint's path or directory;
    empty for random weights."""
    frozen_encoder_steps: Annotated[int, "[0, 1e12]"] = 0
    """The first optimizer steps, in which the heads alone learn: for initial weights that have none, whose
    fresh heads would send their noise into the encoder."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    log_every_steps: Annotated[int, "[1, 1e12]"] = 10
    """Optimizer steps between two lines of `metrics.jsonl` and of the trackers."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Accelerate's trackers that metrics go to, besides `metrics.jsonl` (tensorboard, wandb, mlflow, ...);
    each needs its package."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole, part = self.global_batch_size, self.micro_batch_size
        if whole % part:
            what = f"global_batch_size {whole} is not a multiple of micro_batch_size {part}"
            remedy = f"use {nearest_multiples(whole, part)}"
            raise UserError(what, where="training.global_batch_size", remedy=remedy)
        if self.frozen_encoder_steps >= self.schedule.total_steps:
            steps = f"training.schedule.total_steps {self.schedule.total_steps}"
            what = f"frozen_encoder_steps {self.frozen_encoder_steps} is not below {steps}"
            remedy = "release the encoder earlier or lengthen the run"
            raise UserError(what, where="training.frozen_encoder_steps", remedy=remedy)
        if self.phases:
            self._check_phases()
        else:
            self._check_batch_warmup()
        stall, timeout = self.guards.stall_seconds, self.engine.communication_timeout_seconds
        if stall >= timeout:
            raise UserError(
                f"stall_seconds {stall:g} is not below training.engine.communication_timeout_seconds"
                f" {timeout}",
                where="training.guards.stall_seconds",
                remedy="use less, so that the rank that is waited for is named before the ranks give up",
            )

    def each_phase(self) -> tuple[TrainingConfig, ...]:
        """The settings of each phase as those of a run without phases; the batch's warm-up is in the first.

        Raises:
            UserError: values that contradict each other.
        """
        if not self.phases:
            return (self,)
        found = []
        for number, phase in enumerate(self.phases):
            own = replace(
                self,
                phases=(),
                global_batch_size=phase.global_batch_size or self.global_batch_size,
                micro_batch_size=phase.micro_batch_size or self.micro_batch_size,
                batch_warmup_start=0 if number else self.batch_warmup_start,
                batch_warmup_steps=0 if number else self.batch_warmup_steps,
            )
            found.append(own)
        return tuple(found)

    def _check_phases(self) -> None:
        self.each_phase()
        *before, last = (phase.steps for phase in self.phases)
        left, where = self.schedule.total_steps - sum(before), "training.phases"
        if not all(before):
            raise UserError("a phase before the last has no steps", where=where, remedy="give each its steps")
        if left <= 0 or last not in (0, left):
            what = (
                f"{len(self.phases)} phases of {sum(before) + last:,} steps in a run of"
                f" {self.schedule.total_steps:,} (training.schedule.total_steps)"
            )
            remedy = "leave out the steps of the last one" + f", or give it {left:,}" * (left > 0)
            raise UserError(what, where=where, remedy=remedy if left > 0 else "shorten the phases")
        if before and self.batch_warmup_steps > before[0]:
            what = f"batch_warmup_steps {self.batch_warmup_steps} exceed the first phase's {before[0]} steps"
            raise UserError(what, where="training.batch_warmup_steps", remedy="shorten the batch's warm-up")

    def _check_batch_warmup(self) -> None:
        whole, start, part = self.global_batch_size, self.batch_warmup_start, self.micro_batch_size
        where = "training.batch_warmup_start"
        if bool(start) != bool(self.batch_warmup_steps):
            what = f"batch_warmup_start {start} and batch_warmup_steps {self.batch_warmup_steps}"
            raise UserError(what, where=where, remedy="set both, or both to 0 for no warm-up of the batch")
        if not start:
            return
        if whole % start or start == whole:
            what = f"global_batch_size {whole} is no larger multiple of batch_warmup_start {start}"
            raise UserError(what, where=where, remedy="use a divisor, such as a half, a quarter, an eighth")
        if self.batch_warmup_steps >= self.schedule.total_steps:
            what = (
                f"batch_warmup_steps {self.batch_warmup_steps} is not below training.schedule.total_steps"
                f" {self.schedule.total_steps}"
            )
            remedy = "shorten the batch's warm-up or lengthen the run"
            raise UserError(what, where="training.batch_warmup_steps", remedy=remedy)
        if start % part:
            what = f"batch_warmup_start {start} is not a multiple of micro_batch_size {part}"
            raise UserError(what, where=where, remedy=f"use {nearest_multiples(start, part)}")


def gradient_accumulation_steps(training: TrainingConfig, world_size: int) -> int:
    """Micro-batches that each rank runs in one optimizer step with the whole global batch; with phases those
    of the one that has most.

    Raises:
        UserError: the batch, or that of the first step of its warm-up, does not divide over the ranks; the
            nearest sizes that do are named.
    """
    if training.phases:
        return max(gradient_accumulation_steps(phase, world_size) for phase in training.each_phase())
    part = training.micro_batch_size
    for name in ("batch_warmup_start", "global_batch_size"):
        whole: int = getattr(training, name)
        steps, rest = divmod(whole, part * world_size)
        if rest:
            what = f"{name} {whole} does not divide into {world_size} ranks x micro_batch_size {part}"
            remedy = f"use {nearest_multiples(whole, part * world_size)}, or another micro_batch_size"
            raise UserError(what, where=f"training.{name}", remedy=remedy)
    return steps


def nearest_multiples(value: int, unit: int) -> str:
    """The multiples of `unit` next to `value`, as a remedy names them."""
    below, above = value // unit * unit, (value // unit + 1) * unit
    return f"{below} or {above}" if below else str(above)
