"""What several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """Tell what a stage counted and what it rejected."""
    for name, value in manifest.counts.items():
        print(f"{name}: {value}")
    for reason, count in manifest.rejects.items():
        print(f"rejected, {reason}: {count}")
