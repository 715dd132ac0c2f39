"""What several commands share."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any, TypeVar

import tyro

from biobert_scale.config import SlurmConfig
from biobert_scale.errors import UserError

if TYPE_CHECKING:
    from biobert_scale.files import Manifest

T = TypeVar("T")


def parse(target: Callable[..., T], *, prog: str, arguments: list[str], **options: Any) -> T:
    """What tyro makes of a command line; see `tyro.cli` for more options.

    Raises:
        UserError: what tyro complains of, in one line instead of a box.
        SystemExit: after --help.
    """
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            parsed: T = tyro.cli(target, prog=prog, args=arguments, **options)
            return parsed
    except SystemExit as leave:
        if not leave.code:
            raise
    lines = complaint.getvalue().splitlines()
    # In a box, or without its sides where these cannot be printed.
    box = [line[2:].rstrip("│ ") for line in lines if line[:2] in ("│ ", "  ")]
    message = itertools.takewhile(lambda line: not line.startswith(("Argument helptext", "For full")), box)
    # Deeper lines repeat the options' help.
    what = " ".join(line.strip() for line in message if line.strip("─-") and not line.startswith(" " * 8))
    raise UserError(what or "cannot be read", where="command line", remedy=f"see `{prog} --help`") from None


def cluster(executor: str, slurm: SlurmConfig) -> SlurmConfig | None:
    """The cluster's settings where it was chosen; refused before any work is done: settings without it, or no
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
