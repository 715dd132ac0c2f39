"""How a stage's tasks run on a SLURM cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from biobert_scale.config.section import Section
from biobert_scale.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SlurmConfig(Section, path="--"):
    """How a stage's tasks run on a SLURM cluster. Where work is done never changes what comes out: no part of
    a stage's key."""

    partition: str = ""
    """SLURM: the partition (the cluster's default one where it is empty)."""
    tasks: Annotated[int, "[1, 1e6]"] = 64
    """SLURM: tasks that run at once, at most."""
    time: str = "02:00:00"
    """SLURM: time limit of an array element, hours:minutes:seconds."""
    cpus_per_task: Annotated[int, "[1, 1e4]"] = 1
    """SLURM: processors of a task; more than one buys memory only."""
    memory_gib: Annotated[int, "[1, 1e6]"] = 4
    """SLURM: memory of a task, GiB."""
    max_array: Annotated[int, "[1, 1e7]"] = 1000
    """SLURM: elements of an array job at most; where there are more tasks, an element runs several, one after
    another."""
    setup: str = ""
    """SLURM: shell command that a node needs first, as "module load python"."""
    sbatch: tuple[str, ...] = ()
    """SLURM: more options for sbatch, each as name=value (account=lab qos=low)."""
    retries: Annotated[int, "[0, 1000]"] = 1
    """SLURM: how often tasks that were killed are submitted again."""
    poll_seconds: Annotated[float, "(0, 3600]"] = 10.0
    """SLURM: the longest time between two looks at the queue."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", self.time):
            what = f"'{self.time}' is no time limit"
            raise UserError(what, where="--time", remedy="write hours:minutes:seconds, or days-hours")
