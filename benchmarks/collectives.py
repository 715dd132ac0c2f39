"""What the ranks send each other, counted where torch.distributed is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch.distributed as dist

WHOLE = {"all_reduce": 0, "all_gather_into_tensor": 0, "reduce_scatter_tensor": 1, "reduce": 0}
"""Collective -> which of its arguments is the whole buffer."""


class Sent:
    """Elements and bytes of the buffers that collectives were called with, by collective: the whole buffer,
    not one rank's part."""

    def __init__(self) -> None:
        self.elements: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def clear(self) -> None:
        self.elements.clear()
        self.bytes.clear()

    def ring_bytes(self, world_size: int) -> float:
        """What one rank sends by ring algorithms: an all-reduce twice, all others once the buffer, less its
        own part."""
        return (
            sum(size * (2 if name == "all_reduce" else 1) for name, size in self.bytes.items())
            * (world_size - 1)
            / world_size
        )


def count_collectives() -> Sent:
    """Count from now on. To be called before the libraries take their own references to the functions."""
    sent = Sent()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            buffer = (
                args[WHOLE[name]]
                if len(args) > WHOLE[name]
                else kwargs.get("tensor", kwargs.get("output_tensor" if WHOLE[name] == 0 else "input"))
            )
            assert buffer is not None, (name, sorted(kwargs))
            sent.elements[name] += buffer.numel()
            sent.bytes[name] += buffer.numel() * buffer.element_size()
            return function(*args, **kwargs)

        return call

    for name in WHOLE:
        wrapped = counted(name, getattr(dist, name))
        setattr(dist, name, wrapped)
        setattr(dist.distributed_c10d, name, wrapped)  # type: ignore[attr-defined]
    return sent
