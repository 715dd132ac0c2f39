"""What several commands share."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tyro

from biobert_scale.config import SlurmConfig
from biobert_scale.display import counts, quantity, separated, show, table, written
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


def values_of(option: str, arguments: list[str]) -> list[str]:
    """What a command line gives for an option, each time that it does."""
    values = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if argument == option:
            values.append(following)
        elif argument.startswith(f"{option}="):
            values.append(argument.removeprefix(f"{option}="))
    return values


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


def check_models(models: Sequence[Path]) -> None:
    """Refuse a command line without a model, or with one given twice."""
    if not models:
        raise UserError("no model", where="command line", remedy="give the directory of at least one")
    if len({model.resolve() for model in models}) < len(models):
        raise UserError("one model is given twice", where="command line", remedy="give each once")


def report_stage(manifest: Manifest, output: Path) -> None:
    """Print what a stage counted, what it left out and why, and what it wrote where."""
    by_number = sorted(manifest.rejects.items(), key=lambda reject: (-reject[1], reject[0]))
    rejects = [(f"  {reason}", quantity(number)) for reason, number in by_number]
    left_out = [table([("left out, by reason",), *rejects])] if rejects else []
    show(separated([counts(manifest.counts), *left_out, written(output)]))
