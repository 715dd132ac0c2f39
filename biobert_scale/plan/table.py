"""A plan as JSON, and the same figures as a table for a person."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType

from biobert_scale.display import heading, separated, table, words
from biobert_scale.plan.at_scale import AtScale, Simulation
from biobert_scale.plan.measured import Comparison
from biobert_scale.plan.memory import Parts
from biobert_scale.plan.plan import Plan
from biobert_scale.plan.predict import Prediction

_GIB = 2**30
_SIZES = ("weights", "gradients", "optimizer", "activations", "buffers", "step", "at the most")
_COLUMNS = (
    *("engine", "micro", *_SIZES, "on host", "sent GB"),
    *("sending s", "hidden s", "step s", "days", ""),
)
_NOTES = (
    "memory in GiB a device; `at the most` = weights + gradients + optimizer + the larger of (activations +"
    " buffers) and step",
    "`step s` and `days` count all of `sending s`; the backward pass hides `hidden s` of it at best",
)

_SCALE_COLUMNS = (
    *("devices", "nodes", "micro", "step s", "no failure", "Young", "Daly", "every", "by"),
    *("days", "95%", "restarts", "lost", "restarting", "saving"),
)
_SCALE_NOTES = (
    "`no failure` in days, without saves; `Young`, `Daly`: the best interval between saves by their formulas,"
    " in steps",
    "`every` so many steps a save; by 1,000 simulated runs: mean `days`, and those that `95%` do not exceed;"
    " shares of the time: `lost` on steps that a failure undid, `restarting`, `saving`",
)


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything a plan says; sizes in bytes, times in seconds and days."""
    config, taken = plan.config, plan.choice.taken
    return {
        "recipe": config.name,
        "global_batch_size": config.training.global_batch_size,
        "max_seq_length": config.data.max_seq_length,
        "total_steps": config.training.schedule.total_steps,
        "precision": config.training.precision.dtype,
        "vocabulary_size": plan.vocabulary_size,
        "machine": asdict(plan.machine),
        "rates": {**asdict(plan.rates), "sources": dict(plan.sources)},
        "configurations": [
            {
                **asdict(prediction),
                "device": _parts(prediction.device),
                "host": _parts(prediction.host),
                "fits": not prediction.trouble,
            }
            for prediction in plan.predictions
        ],
        "recommended": taken
        and {
            "engine": taken.engine,
            "micro_batch_size": taken.micro_batch_size,
            "gradient_accumulation_steps": taken.micro_steps,
        },
        "reason": plan.choice.reason,
        "measured": [
            {
                **asdict(one),
                "step_seconds_error": one.step_seconds_error,
                "peak_memory_error": one.peak_memory_error,
            }
            for one in plan.comparisons
        ],
        "simulation": plan.simulation and _simulation_json(plan.simulation),
    }


def _simulation_json(simulation: Simulation) -> dict[str, Any]:
    node = asdict(simulation.node)
    if math.isinf(simulation.node.mtbf):  # no number of JSON's
        node["mtbf"] = None
    return {**asdict(simulation), "node": node}


def _parts(parts: Parts) -> dict[str, int]:
    """Bytes by part; `at_most` adds to weights, gradients and optimizer the larger of (activations and
    buffers) and (step)."""
    return {
        "weights": parts.weights,
        "gradients": parts.gradients,
        "optimizer": parts.fp32_weights + parts.moments,
        "activations": parts.activations,
        "buffers": parts.copies + parts.communication,
        "step": parts.optimizer_step,
        "at_most": parts.peak,
    }


def render(plan: Plan) -> RenderableType:
    """The configurations that the engines take as a table, with what is unknown everywhere left out; why the
    others are refused; measured runs; and the recommendation."""
    taken = plan.choice.taken
    possible = [one for one in plan.predictions if one.micro_steps]
    refused = dict.fromkeys(
        f"not possible: {one.engine} ({one.trouble})" for one in plan.predictions if not one.micro_steps
    )
    rows = [_cells(one, "<- recommended" if one is taken else one.trouble) for one in possible]
    shown = [n for n, _ in enumerate(_COLUMNS) if n < 2 or any(row[n] not in ("", "-") for row in rows)]
    header = [_COLUMNS[n] for n in shown]
    parts: list[RenderableType] = [
        _headline(plan),
        table([[row[n] for n in shown] for row in rows], header=header),
        "\n".join([*refused, *_NOTES[: 1 + ("sending s" in header)]]),
    ]
    if plan.comparisons:
        names = ("measured run", "step s", "predicted", "error", "peak GiB", "predicted", "error", "")
        parts.append(table(map(_measured, plan.comparisons), header=names))
    chosen = (
        "none"
        if taken is None
        else f"{taken.engine}, micro-batch {taken.micro_batch_size}, {taken.micro_steps} accumulation steps"
    )
    parts.append(f"recommended: {chosen} ({plan.choice.reason})")
    return separated([*parts, *(_simulation(plan.simulation) if plan.simulation else ())])


def _simulation(simulation: Simulation) -> list[RenderableType]:
    node = simulation.node
    fails = "none fails" if math.isinf(node.mtbf) else f"one fails every {node.mtbf / 86400:,.4g} days"
    rows = [row for one in simulation.scales for row in _scale_cells(one)]
    notes = [f"left out: {reason}" for reason in simulation.left_out]
    if any(saved.outcome is None for one in simulation.scales for saved in one.saved):
        notes.append("a dash: too many failures to be simulated")
    return [
        Group(
            heading("the same engine on more devices"),
            f"nodes: {fails}; a restart takes {node.restart / 60:,.4g} minutes; a save keeps the loop waiting"
            f" for {node.save:,.4g} s and is complete {node.write:,.4g} s later",
        ),
        table(rows, header=_SCALE_COLUMNS),
        "\n".join([*notes, *_SCALE_NOTES]),
    ]


def _scale_cells(one: AtScale) -> Iterator[tuple[str, ...]]:
    """A row for each interval; the first one has what they share."""
    shared = (
        f"{one.devices:,}",
        f"{one.nodes:,}",
        str(one.micro_batch_size),
        _number(one.step_seconds),
        f"{one.days:,.2f}",
        *("-" if steps is None else f"{steps:,.0f}" for steps in (one.young_steps, one.daly_steps)),
    )
    for number, saved in enumerate(one.saved):
        first = ("",) * len(shared) if number else shared
        found = saved.outcome
        if found is None:
            yield (*first, f"{saved.steps:,}", saved.by, *("-",) * 6)
            continue
        days = (f"{seconds / 86400:,.2f}" for seconds in (found.seconds, found.seconds_95))
        shares = (f"{share:.2%}" for share in (found.lost, found.restarting, found.saving))
        yield (*first, f"{saved.steps:,}", saved.by, *days, f"{found.restarts:,.1f}", *shares)


def _headline(plan: Plan) -> RenderableType:
    config, machine = plan.config, plan.machine
    nodes = -(-machine.devices // machine.devices_per_node)
    memory = (
        f"{machine.device_memory / _GIB:g} GiB each, {machine.reserve:.0%} of it left free"
        if machine.device_memory
        else "of any memory"
    )
    return Group(
        heading(
            f"{config.name}: {config.training.schedule.total_steps:,} steps of"
            f" {config.training.global_batch_size:,} sequences of {config.data.max_seq_length},"
            f" {config.training.precision.dtype}, {plan.vocabulary_size:,} entries"
        ),
        f"{machine.devices:,} device(s) on {nodes:,} node(s), {memory}",
        table((f"  {words(name)}", source) for name, source in plan.sources.items()),
    )


def _cells(one: Prediction, remark: str) -> tuple[str, ...]:
    sizes = (*_parts(one.device).values(), one.host.peak)
    seconds = (one.communication_seconds, one.hidden_seconds, one.step_seconds)
    return (
        one.engine,
        str(one.micro_batch_size),
        *(f"{size / _GIB:.3f}" for size in sizes),
        f"{one.sent / 1e9:,.3f}",
        *map(_number, seconds),
        "-" if one.days is None else f"{one.days:,.2f}",
        remark,
    )


def _measured(one: Comparison) -> tuple[str, ...]:
    error = one.step_seconds_error
    return (
        one.run,
        _number(one.measured_step_seconds),
        _number(one.predicted_step_seconds),
        "-" if error is None else f"{error:+.1%}",
        f"{one.measured_peak_memory / _GIB:.3f}",
        f"{one.predicted_peak_memory / _GIB:.3f}",
        f"{one.peak_memory_error:+.1%}",
        "by its own first half" if one.own_rates else "",
    )


def _number(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:,.4f}"
