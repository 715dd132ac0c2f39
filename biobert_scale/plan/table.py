"""A plan as JSON, and the same figures as a table for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from biobert_scale.config import Config
from biobert_scale.plan.choose import Choice
from biobert_scale.plan.measured import Comparison
from biobert_scale.plan.memory import Parts
from biobert_scale.plan.predict import Machine, Prediction, Rates

# fmt: off
_COLUMNS = (
    "engine", "micro", "weights", "gradients", "optimizer", "activations", "buffers", "step", "at the most",
    "on host", "sent GB", "sending s", "hidden s", "step s", "days", "",
)
# fmt: on


def as_json(
    config: Config,
    machine: Machine,
    rates: Rates,
    sources: Mapping[str, str],
    vocabulary_size: int,
    predictions: Sequence[Prediction],
    choice: Choice,
    comparisons: Sequence[Comparison],
) -> dict[str, Any]:
    """Everything a plan says; sizes in bytes, times in seconds and days.

    Args:
        sources: where each rate comes from, by its name; a rate that is missing is unknown.
    """
    taken = choice.taken
    return {
        "recipe": config.name,
        "global_batch_size": config.training.global_batch_size,
        "max_seq_length": config.data.max_seq_length,
        "total_steps": config.training.schedule.total_steps,
        "precision": config.training.precision.dtype,
        "vocabulary_size": vocabulary_size,
        "machine": asdict(machine),
        "rates": {**asdict(rates), "sources": dict(sources)},
        "configurations": [_row(prediction) for prediction in predictions],
        "recommended": (
            None
            if taken is None
            else {
                "engine": taken.engine,
                "micro_batch_size": taken.micro_batch_size,
                "gradient_accumulation_steps": taken.micro_steps,
            }
        ),
        "reason": choice.reason,
        "measured": [
            {
                **asdict(one),
                "step_seconds_error": one.step_seconds_error,
                "peak_memory_error": one.peak_memory_error,
            }
            for one in comparisons
        ],
    }


def _row(prediction: Prediction) -> dict[str, Any]:
    row = asdict(prediction)
    row["device"], row["host"] = _parts(prediction.device), _parts(prediction.host)
    row["fits"] = not prediction.trouble
    return row


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


def render(plan: Mapping[str, Any]) -> str:
    """The table of what `as_json` returned."""
    machine, rates = plan["machine"], plan["rates"]
    nodes = -(-machine["devices"] // machine["devices_per_node"])
    memory = (
        f"{machine['device_memory'] / 2**30:g} GiB each, {machine['reserve']:.0%} of it left free"
        if machine["device_memory"]
        else "of any memory"
    )
    lines = [
        (
            f"{plan['recipe']}: {plan['total_steps']:,} steps of {plan['global_batch_size']} sequences of"
            f" {plan['max_seq_length']}, {plan['precision']}, {plan['vocabulary_size']:,} entries"
        ),
        f"{machine['devices']} device(s) on {nodes} node(s), {memory}",
        *(f"  {name}: {source}" for name, source in rates["sources"].items()),
        "",
        *_aligned([_COLUMNS, *(_cells(row, plan["recommended"]) for row in plan["configurations"])]),
        "",
        (
            "memory in GiB a device; `at the most` = weights + gradients + optimizer + the larger of"
            " (activations + buffers) and step"
        ),
        (
            "`step s` and `days` count all of `sending s`; `hidden s` of it may go on beside the backward"
            " pass, at best"
        ),
    ]
    if plan["measured"]:
        lines += [
            "",
            *_aligned(
                [
                    ("measured run", "step s", "predicted", "error", "peak GiB", "predicted", "error", ""),
                    *map(_measured, plan["measured"]),
                ]
            ),
        ]
    taken = plan["recommended"]
    chosen = (
        "recommended: none"
        if taken is None
        else (
            f"recommended: {taken['engine']}, micro-batch {taken['micro_batch_size']},"
            f" {taken['gradient_accumulation_steps']} accumulation steps"
        )
    )
    return "\n".join([*lines, "", f"{chosen} ({plan['reason']})"])


def _cells(row: Mapping[str, Any], recommended: Mapping[str, Any] | None) -> tuple[str, ...]:
    chosen = recommended is not None and (row["engine"], row["micro_batch_size"]) == (
        recommended["engine"],
        recommended["micro_batch_size"],
    )
    remark = "<- recommended" if chosen else row["trouble"]
    if not row["micro_steps"]:
        return (row["engine"], str(row["micro_batch_size"]), *[""] * (len(_COLUMNS) - 3), remark)
    sizes = [
        f"{row['device'][name] / 2**30:.3f}"
        for name in ("weights", "gradients", "optimizer", "activations", "buffers", "step", "at_most")
    ]
    times = [_number(row[name]) for name in ("communication_seconds", "hidden_seconds", "step_seconds")]
    days = "-" if row["days"] is None else f"{row['days']:.2f}"
    return (
        row["engine"],
        str(row["micro_batch_size"]),
        *sizes,
        f"{row['host']['at_most'] / 2**30:.3f}",
        f"{row['sent'] / 1e9:.3f}",
        *times,
        days,
        remark,
    )


def _measured(one: Mapping[str, Any]) -> tuple[str, ...]:
    error = one["step_seconds_error"]
    return (
        one["run"],
        _number(one["measured_step_seconds"]),
        _number(one["predicted_step_seconds"]),
        "-" if error is None else f"{error:+.1%}",
        f"{one['measured_peak_memory'] / 2**30:.3f}",
        f"{one['predicted_peak_memory'] / 2**30:.3f}",
        f"{one['peak_memory_error']:+.1%}",
        "by its own first half" if one["own_rates"] else "",
    )


def _number(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """First and last column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    written = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, len(row) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        written.append("  ".join(cells).rstrip())
    return written
