"""Where a step's time goes, without waiting for the device in between."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

PARTS = ("forward", "backward", "step", "checkpoint", "validation")


class StepTimer:
    """Adds up seconds by part; a part within another counts for itself only.

    On a GPU the marks are events in its queue, read when the step's sums have been fetched anyway; elsewhere
    the clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.mark: Callable[[], Any] = _event if device.type == "cuda" else time.perf_counter
        self.between: Callable[[Any, Any], float] = (
            _event_seconds if device.type == "cuda" else lambda begun, ended: ended - begun
        )
        self.open: list[str] = []
        self.since: Any = None
        self.stretches: list[tuple[str, Any, Any]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is inside as `name`."""
        self._turn()
        self.open.append(name)
        try:
            yield
        finally:
            self._turn()
            self.open.pop()

    def _turn(self) -> None:
        now = self.mark()
        if self.open:
            self.stretches.append((self.open[-1], self.since, now))
        self.since = now

    def take(self) -> dict[str, float]:
        """Seconds by part since the last call. On a GPU call it after a synchronisation."""
        seconds: dict[str, float] = defaultdict(float)
        for name, begun, ended in self.stretches:
            seconds[name] += self.between(begun, ended)
        self.stretches.clear()
        return {name: seconds[name] for name in PARTS}


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _event_seconds(begun: torch.cuda.Event, ended: torch.cuda.Event) -> float:
    return float(begun.elapsed_time(ended)) / 1000
