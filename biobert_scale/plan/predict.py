"""One configuration of a run: does it fit, what does it send, how long does a step take.

Memory and bytes follow from the shapes (`plan/memory.py`). Times are those bytes and operations over
rates that somebody measured or gave; what no rate is known for is left out of the sum, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

from biobert_scale.config import Config, phases_of
from biobert_scale.errors import UserError
from biobert_scale.plan.dry_run import DryRun, Parameters, plan_run
from biobert_scale.plan.memory import Parts, RankMemory, Sharding, collective_calls
from biobert_scale.plan.scaling import Links, expected_maximum

ADAMW_BYTES = 28
"""Memory that an AdamW step moves for each element, in fp32: weight, gradient and two moments read, all but
the gradient written."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run would go."""

    devices: int
    devices_per_node: int
    device_memory: int
    """Bytes of one device; 0 where nothing is known of it, and everything fits."""
    host_memory: int = 0
    """Bytes of one node's host; 0 where it is no limit."""
    reserve: float = 0.1
    """Share of either memory that is left to the libraries and to what the allocator wastes."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast things go. 0 stands for unknown, and what would take time at that rate is left out."""

    flops: float = 0.0
    """Operations of matrix products that a device keeps up in forward and backward passes, a second."""
    bandwidth: float = 0.0
    """Bytes a second that a device sends to another on its node."""
    network: float = 0.0
    """Bytes a second that a node sends to another, all its devices together."""
    device_step: float = 0.0
    """Seconds for each element that the optimizer steps on a device."""
    host_step: float = 0.0
    """Seconds for each element that it steps on the host."""
    transfer: float = 0.0
    """Bytes a second between one device and its host."""
    latency: float = 0.0
    """Seconds of a message from one device to another, besides its bytes."""
    spread: float = 0.0
    """Standard deviation of a rank's seconds of computing in a step over their mean: the others wait for the
    slowest."""
    other_seconds: float = 0.0
    """What a step takes besides: waiting for data, bringing figures together."""
    filling: float = 1.0
    """Arithmetic of a real step over that of one whose sequences are all of full length."""

    def ring(self, machine: Machine) -> float:
        """Bytes a second that every device passes on in a ring: as fast as the slowest link of the ring."""
        if machine.devices > machine.devices_per_node and self.network:
            return min(self.network, self.bandwidth or self.network)
        return self.bandwidth


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one configuration would need and take; seconds are of one optimizer step."""

    engine: str
    """`ddp`, or a DeepSpeed file by its name."""
    stage: int | None
    offloads: bool
    micro_batch_size: int
    micro_steps: int
    device: Parts
    host: Parts
    """A device's part of its host's memory."""
    sent: int
    """Bytes that a device sends in a step."""
    trouble: str
    """Why it cannot be taken: too large, or refused; empty where it can."""
    compute_seconds: float | None = None
    """Of the slowest rank."""
    communication_seconds: float | None = None
    """Of all that is sent."""
    hidden_seconds: float | None = None
    """The part of it that a backward pass may hide at best; `step_seconds` counts on none of it."""
    optimizer_seconds: float | None = None
    transfer_seconds: float | None = None
    """Between device and host."""
    step_seconds: float | None = None
    """With nothing hidden; None where the rate of computing is unknown, or for offloading one of the host's.
    """
    days: float | None = None
    """The whole schedule with its validations, without checkpoints and stops."""


class _Times(TypedDict):
    """The fields of `Prediction` that rates give."""

    compute_seconds: float | None
    communication_seconds: float | None
    hidden_seconds: float | None
    optimizer_seconds: float | None
    transfer_seconds: float | None
    step_seconds: float | None
    days: float | None


def predict(
    config: Config,
    machine: Machine,
    rates: Rates,
    *,
    vocabulary_size: int,
    counted: Parameters | None = None,
) -> Prediction:
    """Work out the run as it is configured, on a machine.

    Raises:
        UserError: the batch does not divide over the devices, or the engine refuses the configuration.
    """
    if config.training.phases:
        phases, total = phases_of(config), config.training.schedule.total_steps
        found = [
            predict(phase.config, machine, rates, vocabulary_size=vocabulary_size, counted=counted)
            for phase in phases
        ]
        size = config.training.micro_batch_size
        return _joined(found, [phase.steps / total for phase in phases], micro_batch_size=size)
    run = plan_run(config, world_size=machine.devices, vocabulary_size=vocabulary_size, counted=counted)
    sharding = Sharding.of(config, world_size=machine.devices)
    return Prediction(
        engine=engine_of(config),
        stage=sharding.stage,
        offloads=sharding.offload_optimizer or sharding.offload_weights,
        micro_batch_size=config.training.micro_batch_size,
        micro_steps=run.micro_steps,
        device=run.memory.device,
        host=run.memory.host,
        sent=sum(run.sent),
        trouble=_too_large(run.memory, machine),
        **_times(run, sharding, machine, rates),
    )


def _joined(phases: list[Prediction], shares: list[float], *, micro_batch_size: int) -> Prediction:
    """Of a run with phases: the memory of the one that needs most, and the mean of the times."""

    def mean(values: list[float | None]) -> float | None:
        known = [share * value for share, value in zip(shares, values, strict=True) if value is not None]
        return sum(known) if len(known) == len(values) else None

    return replace(
        max(phases, key=lambda phase: (bool(phase.trouble), phase.device.peak)),
        micro_batch_size=micro_batch_size,
        compute_seconds=mean([phase.compute_seconds for phase in phases]),
        communication_seconds=mean([phase.communication_seconds for phase in phases]),
        hidden_seconds=mean([phase.hidden_seconds for phase in phases]),
        optimizer_seconds=mean([phase.optimizer_seconds for phase in phases]),
        transfer_seconds=mean([phase.transfer_seconds for phase in phases]),
        step_seconds=mean([phase.step_seconds for phase in phases]),
        days=mean([phase.days for phase in phases]),
    )


def refused(config: Config, why: UserError) -> Prediction:
    """A configuration that the engine does not take."""
    return Prediction(
        engine=engine_of(config),
        stage=None,
        offloads=False,
        micro_batch_size=config.training.micro_batch_size,
        micro_steps=0,
        device=Parts(),
        host=Parts(),
        sent=0,
        trouble=why.what,
    )


def engine_of(config: Config) -> str:
    """`ddp`, or the DeepSpeed file by its name."""
    engine = config.training.engine
    return "ddp" if engine.name == "ddp" else engine.deepspeed_config


def with_micro_batch(config: Config, engine: str, micro_batch_size: int) -> Config:
    """The same run under another engine (`ddp`, or a DeepSpeed file by its name) and another micro-batch."""
    settings = config.training.engine
    settings = (
        replace(settings, name="ddp")
        if engine == "ddp"
        else replace(settings, name="deepspeed", deepspeed_config=engine)
    )
    return replace(
        config, training=replace(config.training, engine=settings, micro_batch_size=micro_batch_size)
    )


def _too_large(memory: RankMemory, machine: Machine) -> str:
    usable = 1 - machine.reserve
    if machine.device_memory and memory.device.peak > machine.device_memory * usable:
        return "too large for the device"
    ranks = min(machine.devices, machine.devices_per_node)
    if machine.host_memory and memory.host.peak * ranks > machine.host_memory * usable:
        return "too large for the host"
    return ""


def computed_again(config: Config) -> float:
    """Work of a step over the model's: activation checkpointing does the forward pass, a third, twice."""
    return 4 / 3 if config.compute.activation_checkpointing else 1.0


def slowest_rank(spread: float, devices: int) -> float:
    """The slowest rank's seconds of computing over the mean rank's; see `Rates.spread`."""
    return 1 + spread * expected_maximum(devices)


def _times(run: DryRun, sharding: Sharding, machine: Machine, rates: Rates) -> _Times:
    training = run.config.training
    schedule, validation = training.schedule, training.validation
    count = sum(run.parameters.values())
    share = count if sharding.stage in (None, 0) else -(-count // machine.devices)
    element = rates.host_step if sharding.offload_optimizer else rates.device_step
    moved = _moved(sharding, share, run.micro_steps, 4 if training.precision.dtype == "fp32" else 2)
    ring = rates.ring(machine)
    batch = run.sequence_flops * training.global_batch_size * rates.filling
    slowest = slowest_rank(rates.spread, machine.devices)
    compute = (
        batch * computed_again(run.config) / machine.devices / rates.flops * slowest if rates.flops else None
    )
    sending = hidden = None
    if ring or machine.devices == 1:
        calls = collective_calls(count, sharding, micro_steps=run.micro_steps)
        links = Links(machine.devices, ring, rates.latency)
        reduce_seconds = links.gather_seconds if sharding.stage == 3 else links.all_reduce_seconds
        reducing = reduce_seconds(run.sent.reduced, calls.reduced)
        gathering = links.gather_seconds(run.sent.gathered, calls.gathered)
        sending = reducing + gathering
        if compute is not None:
            hidden = _hidden(sharding, reducing, gathering, compute, run.micro_steps)
    optimizer = share * element if element else None
    transfer = 0.0 if not moved else moved / rates.transfer if rates.transfer else None
    # Without its host's part, offloading would look free.
    step = days = None
    if compute is not None and not (moved and not (element and rates.transfer)):
        step = compute + (sending or 0.0) + (optimizer or 0.0) + (transfer or 0.0) + rates.other_seconds
        # A forward pass is a third of the arithmetic; before the first step it is done once more.
        forward = (
            run.sequence_flops * rates.filling * validation.sequences / 3 / machine.devices / rates.flops
        )
        validations = 1 + schedule.total_steps // validation.every_steps
        # In the batch's warm-up a step computes less.
        spared = (schedule.total_steps - run.sequences / training.global_batch_size) * compute
        days = (schedule.total_steps * step - spared + validations * forward) / 86400
    return {
        "compute_seconds": compute,
        "communication_seconds": sending,
        "hidden_seconds": hidden,
        "optimizer_seconds": optimizer,
        "transfer_seconds": transfer,
        "step_seconds": step,
        "days": days,
    }


def _hidden(sharding: Sharding, reducing: float, gathering: float, compute: float, micro_steps: int) -> float:
    """Seconds of communication that may go on beside computing, at best; the backward pass is two thirds of
    the arithmetic."""
    backward = 2 / 3 * compute / micro_steps
    match sharding.stage:
        case None:  # buckets are reduced while the last micro-batch's backward pass goes on
            return min(reducing, backward)
        case 2 if sharding.overlap:
            return micro_steps * min(reducing / micro_steps, backward)
        case 3 if sharding.overlap:  # weights are fetched ahead in both passes, too
            return min(reducing + gathering, compute)
        case _:
            return 0.0


def _moved(sharding: Sharding, share: int, micro_steps: int, p: int) -> int:
    """Bytes between a device and its host in a step.

    A share of the gradients goes to the host in each micro-step, and comes back for the next one to be added
    to it; in the last one it goes in fp32 at stages 1 and 2. Stage 3 fetches offloaded weights for the
    forward and for the backward pass.
    """
    if not sharding.offload_optimizer and not sharding.offload_weights:
        return 0
    gradients = (
        (2 * (micro_steps - 1) * p + (4 if sharding.stage != 3 else p)) * share
        if sharding.offload_optimizer
        else 0
    )
    weights = 2 * micro_steps * p * share if sharding.offload_weights else p * share
    return gradients + weights
