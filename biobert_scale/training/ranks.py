"""Rank and world size, as launchers describe them through the environment: read here and nowhere else.

`accelerate launch`, torchrun, srun, Open MPI and others each have their way; a plain process is a world of
one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from biobert_scale.errors import UserError
from biobert_scale.training.engine.group import forget_launcher_settings

_LAUNCHERS = (
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
)
"""How srun and Open MPI name the number of processes, a process' rank, and its rank on its node."""
_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_WHERE = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class RankInfo:
    """One process among those of a run."""

    rank: int
    local_rank: int
    """On its node."""
    world_size: int
    address: str
    port: str

    @property
    def variables(self) -> dict[str, str]:
        """As torch reads them."""
        numbers = map(str, (self.rank, self.local_rank, self.world_size))
        return dict(zip((*_RANKS, *_WHERE), (*numbers, self.address, self.port), strict=True))


def read_rank_info(environment: Mapping[str, str]) -> RankInfo:
    """What a launcher has left in the environment.

    Raises:
        UserError: a launcher started several processes and did not say where they meet, or its variables do
            not fit together.
    """
    found = {name: environment.get(name, "") for name in (*_RANKS, *_WHERE)}
    for tasks, rank, local_rank in _LAUNCHERS:
        if "RANK" not in environment and int(environment.get(tasks, "1")) > 1:
            if "MASTER_ADDR" not in environment:
                what = f"{tasks} is {environment[tasks]}, but MASTER_ADDR is not set"
                remedy = "export MASTER_ADDR (the first node's name) and MASTER_PORT before the ranks start"
                raise UserError(what, where="the environment", remedy=remedy)
            found |= {"RANK": environment[rank], "LOCAL_RANK": environment[local_rank]}
            found |= {"WORLD_SIZE": environment[tasks], "MASTER_PORT": found["MASTER_PORT"] or "29500"}
    given = [name for name in _RANKS if found[name]]
    if not given or (given == ["WORLD_SIZE"] and found["WORLD_SIZE"] == "1"):
        # Port 0: the one process takes a free one as it listens. A number found free before may be another's
        # by then.
        return RankInfo(rank=0, local_rank=0, world_size=1, address="127.0.0.1", port="0")
    remedy = f"use a launcher, which sets {', '.join(_RANKS)}, MASTER_ADDR and MASTER_PORT, or unset them all"
    said = ", ".join(f"{name} is {found[name]}" for name in given)
    if missing := ", ".join(name for name in found if not found[name]):
        raise UserError(f"{said}, but {missing} is not set", where="the environment", remedy=remedy)
    numbers = [int(found[name]) for name in _RANKS if found[name].isdecimal()]
    if len(numbers) < len(_RANKS) or not max(numbers[:2]) < numbers[2]:
        raise UserError(f"{said}, which do not fit together", where="the environment", remedy=remedy)
    address, port = (found[name] for name in _WHERE)
    return RankInfo(rank=numbers[0], local_rank=numbers[1], world_size=numbers[2], address=address, port=port)


def this_process() -> RankInfo:
    """See `read_rank_info`, of this process' own environment."""
    return read_rank_info(os.environ)


@contextmanager
def rank_environment() -> Iterator[RankInfo]:
    """The environment as torch and Accelerate read it, for the life of a run; afterwards it is as it was.

    Raises:
        UserError: see `read_rank_info` and `forget_launcher_settings`.
    """
    before = dict(os.environ)
    try:
        forget_launcher_settings(os.environ, on_gpu=torch.cuda.is_available())
        info = this_process()
        os.environ.update(info.variables)
        yield info
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
