"""What several commands share."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, TypeVar

import tyro

from biobert_scale.config import SlurmConfig
from biobert_scale.errors import UserError

if TYPE_CHECKING:
    from biobert_scale.files import Manifest

T = TypeVar("T")


def parse(target: Callable[..., T], *, prog: str, arguments: list[str]) -> T:
    """What tyro makes of a command line.

    Raises:
        UserError: what tyro complains of, in one line instead of a box.
        SystemExit: after --help.
    """
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(target, prog=prog, args=arguments)
    except SystemExit as leave:
        if not leave.code:
            raise
    lines = complaint.getvalue().splitlines()
    # In a box, or without its sides where these cannot be printed.
    box = [line[2:].rstrip("│ ") for line in lines if line[:2] in ("│ ", "  ")]
    told = itertools.takewhile(lambda line: not line.startswith(("Argument helptext", "For full")), box)
    # Deeper lines repeat the options' help.
    what = " ".join(line.strip() for line in told if line.strip("─-") and not line.startswith(" " * 8))
    raise UserError(what or "cannot be read", where="command line", remedy=f"see `{prog} --help`") from None


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

    require_slurm()
    return slurm


def print_counts(manifest: Manifest) -> None:
    """Tell what a stage counted and what it rejected."""
    for name, value in manifest.counts.items():
        print(f"{name}: {value}")
    for reason, count in manifest.rejects.items():
        print(f"rejected, {reason}: {count}")
