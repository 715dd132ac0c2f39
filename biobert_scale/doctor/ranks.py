"""The ranks that were started together, as the checks see them."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One rank and its place among the others; alone it gathers its own values only."""

    rank: int
    world_size: int
    local_rank: int
    device: torch.device

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank; it goes over gloo, also where the devices speak NCCL."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def meet(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            dist.all_reduce(torch.zeros(1))

    def hosts(self) -> list[str]:
        """Every rank's host name."""
        return self.gather(socket.gethostname())


def alone(rank: int = 0, local_rank: int = 0) -> Ranks:
    """A rank that meets nobody."""
    return Ranks(rank=rank, world_size=1, local_rank=local_rank, device=device_of(local_rank))


def device_of(local_rank: int) -> torch.device:
    """A rank's GPU by its number on the node, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())
