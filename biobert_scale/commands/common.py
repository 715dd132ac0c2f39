"""What several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from biobert_scale.config import SlurmConfig
from biobert_scale.errors import UserError

if TYPE_CHECKING:
    from biobert_scale.files import Manifest


def cluster(executor: str, slurm: SlurmConfig) -> SlurmConfig | None:
    """The cluster's settings where it was chosen; told before any work is done: settings without it, or no
    SLURM here."""
    if executor == "local":
        if slurm != SlurmConfig():
            raise UserError(
                "options for SLURM without --executor slurm",
                where="command line",
                remedy="add --executor slurm, or leave them out",
            )
        return None
    from biobert_scale.corpus.slurm import require_slurm

    if (
        min(slurm.tasks, slurm.cpus_per_task, slurm.memory_gib, slurm.max_array) < 1
        or slurm.retries < 0
        or slurm.poll_seconds <= 0
    ):
        raise UserError(
            "a number of tasks, processors, GiB, elements or seconds below 1",
            where="command line",
            remedy="give positive numbers",
        )
    require_slurm()
    return slurm


def print_counts(manifest: Manifest) -> None:
    """Print what a stage counted and what it rejected."""
    print(render_counts(manifest.counts))
    for reason, count in manifest.rejects.items():
        print(f"rejected, {reason}: {count}")


def render_counts(counts: Mapping[str, Any]) -> str:
    """Counts as lines `name: value`; groups of counts as a table with a column for each group, and groups of
    groups each under its name."""
    lines = [f"{name}: {_plain(value)}" for name, value in counts.items() if not isinstance(value, Mapping)]
    groups = {name: value for name, value in counts.items() if isinstance(value, Mapping)}
    flat = {name: group for name, group in groups.items() if not _is_nested(group)}
    if flat:
        names = list(dict.fromkeys(name for group in flat.values() for name in group))
        rows = [
            ["", *flat],
            *([name, *(_cell(group.get(name)) for group in flat.values())] for name in names),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *cells in rows:
            aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            lines.append("  ".join([first.ljust(widths[0]), *aligned]).rstrip())
    for name, group in groups.items():
        if _is_nested(group):
            lines += ["", name, render_counts(group)]
    return "\n".join(lines).strip("\n")


def _is_nested(group: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Mapping) for value in group.values())


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}" if type(value) is int else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
