"""A trace of a few steps, for chrome://tracing or Perfetto."""

from __future__ import annotations

from pathlib import Path

import torch

from biobert_scale.errors import UserError


class StepProfile:
    """Records steps `first` to `last` of this rank with torch's profiler, and nothing else."""

    def __init__(self, steps: tuple[int, int], path: Path) -> None:
        self.first, self.last = steps
        self.path = path
        self.profiler: torch.profiler.profile | None = None

    def before(self, global_step: int) -> None:
        """Called before each step, with its number."""
        if self.first <= global_step <= self.last and self.profiler is None:
            self.profiler = torch.profiler.profile()
            self.profiler.start()

    def after(self, global_step: int) -> None:
        if self.profiler is not None and global_step >= self.last:
            self.close()

    def close(self) -> None:
        """Write what has been recorded."""
        if self.profiler is not None:
            self.profiler.stop()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.profiler.export_chrome_trace(str(self.path))
            self.profiler, self.first = None, self.last + 1


def parse_steps(text: str) -> tuple[int, int]:
    """`FIRST:LAST`, counted from 1.

    Raises:
        UserError: it is something else.
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UserError(f"'{text}' is no range of steps", where="--profile", remedy="write it like 20:25")
    return int(first), int(last)
