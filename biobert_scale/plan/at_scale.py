"""A configuration on more and more devices whose nodes fail: days, lost work, and how often to save."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.modeling.model import bert_config
from biobert_scale.plan.choose import Choice, part_of_batch
from biobert_scale.plan.dry_run import count_parameters
from biobert_scale.plan.failures import Failures, Outcome, daly_interval, simulate, young_interval
from biobert_scale.plan.predict import Machine, Prediction, Rates, predict, with_micro_batch

MOST_DEVICES = 1024


@dataclass(frozen=True, kw_only=True)
class SavedEvery:
    """A run that saves after so many steps."""

    steps: int
    by: str
    """`recipe`, or `Daly`."""
    outcome: Outcome | None
    """None where failures are too many to be simulated."""


@dataclass(frozen=True, kw_only=True)
class AtScale:
    """The run on a number of devices."""

    devices: int
    nodes: int
    micro_batch_size: int
    step_seconds: float
    days: float
    """Without failures and saves."""
    mtbf_days: float | None
    """Mean time between failures of all nodes; None where none fails."""
    young_steps: float | None
    """The best interval to first order."""
    daly_steps: float | None
    """The same to higher order."""
    saved: Sequence[SavedEvery]


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Every number of devices that the run can have."""

    node: Failures
    """Of one node."""
    scales: Sequence[AtScale]
    left_out: Sequence[str]
    """Numbers of devices, each with the reason."""


def simulate_scales(
    config: Config, machine: Machine, rates: Rates, choice: Choice, node: Failures, *, vocabulary_size: int
) -> Simulation:
    """Work out the chosen configuration on the machine's devices, twice as many, and so on to 1,024.

    The engine stays. The micro-batch is the largest that divides its chosen size and the part of the batch
    that a device has.

    Raises:
        UserError: no configuration was chosen, or its seconds are unknown, or those of a save.
    """
    chosen = choice.taken
    if chosen is None:
        raise UserError(choice.reason, where="--simulate", remedy="see the plan without it")
    if node.mtbf < math.inf and not node.save:
        what = "the seconds of a save are unknown, and the best interval depends on them"
        raise UserError(
            what, where="--save-seconds", remedy="give them, or the --run of a run that has saved"
        )
    if chosen.days is None or chosen.communication_seconds is None:
        what = "the seconds of a step are unknown: there is no rate of computing, or none of sending"
        remedy = "give --device-tflops, and --bandwidth-gbs for several devices; or --run"
        raise UserError(what, where="--simulate", remedy=remedy)
    counted = count_parameters(
        config, bert_config(config.model, vocabulary_size=vocabulary_size, pad_token_id=0)
    )
    scales, left_out = [], []
    for devices in itertools.takewhile(
        lambda number: number <= max(MOST_DEVICES, machine.devices),
        (machine.devices * 2**times for times in itertools.count()),
    ):
        where = replace(machine, devices=devices)
        try:
            size = math.gcd(part_of_batch(config, devices), chosen.micro_batch_size)
            candidate = with_micro_batch(config, chosen.engine, size)
            one = predict(candidate, where, rates, vocabulary_size=vocabulary_size, counted=counted)
            trouble = one.trouble
        except UserError as why:
            trouble = why.what
        if trouble:
            left_out.append(f"{devices:,} devices: {trouble}")
        else:
            scales.append(_at_scale(config, where, one, node))
    return Simulation(node=node, scales=scales, left_out=left_out)


def _at_scale(config: Config, machine: Machine, one: Prediction, node: Failures) -> AtScale:
    assert one.days is not None and one.step_seconds is not None
    nodes = -(-machine.devices // machine.devices_per_node)
    failures = replace(node, mtbf=node.mtbf / nodes)
    work, total = one.days * 86400, config.training.schedule.total_steps
    intervals = {"recipe": config.training.checkpoint.every_steps}
    young = daly = None
    if failures.mtbf < math.inf:
        young, daly = (found(failures) / work * total for found in (young_interval, daly_interval))
        intervals["Daly"] = min(max(round(daly), 1), total)
    return AtScale(
        devices=machine.devices,
        nodes=nodes,
        micro_batch_size=one.micro_batch_size,
        step_seconds=one.step_seconds,
        days=one.days,
        mtbf_days=failures.mtbf / 86400 if failures.mtbf < math.inf else None,
        young_steps=young,
        daly_steps=daly,
        saved=[
            SavedEvery(
                steps=steps, by=by, outcome=simulate(work, steps * work / total, failures, seed=config.seed)
            )
            for by, steps in intervals.items()
        ],
    )
