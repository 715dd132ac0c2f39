"""Runs that are started again without a person: torchrun's elastic restarts, SLURM's requeues. One that ends
at the same point again and again is stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from biobert_scale.environment import is_restart
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import read_json, write_json

STARTS = "starts.json"
REACHED = "reached"
LAST_START = "last-start.json"
"""The process that began last, as its lock had it."""
FAILED = "failed.json"
"""Where and why the last start ended in an error; missing where it has not."""
_DEATHS = 2


class _Start(TypedDict):
    """How the last start of a run began."""

    global_step: int
    deaths: int
    """Starts in a row, before this one, that ended at the same point."""
    died_at: int | None
    """The steps that the start before had seen, if it died."""


class Reached:
    """Where a run is, step by step, in a file that outlives its process."""

    def __init__(self, run: Path) -> None:
        self._path, self._descriptor = run / REACHED, -1

    def at(self, steps: int) -> None:
        """Note the steps seen; not synced, so it takes microseconds."""
        if self._descriptor < 0:  # `note_start` has read and removed the file of the start before
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(self._descriptor, f"{steps:020d}".encode(), 0)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def note_start(run: Path, global_step: int) -> None:
    """Remember at which step a run began; called on one rank.

    A start that made steps made progress, also where it was preempted before its first checkpoint. One that
    ended where the start before it had ended, with no checkpoint in between, did not.

    Raises:
        RunFailed: restarted by itself, and ended twice at the same point.
    """
    before, died_at, deaths = _read(run / STARTS), _reached(run), 0
    if is_restart() and before is not None and before["global_step"] == global_step:
        deaths = 1 + (before["deaths"] if before["died_at"] == died_at else 0)
    start: _Start = {"global_step": global_step, "deaths": deaths, "died_at": died_at if deaths else None}
    write_json(run / STARTS, start)
    if deaths >= _DEATHS:
        raise RunFailed(
            f"restarted {deaths} times at step {global_step} without reaching another checkpoint, and ended"
            " at the same point each time",
            where=run,
            remedy="the reason is above, or in another rank's log; starting it by hand tries again",
        )
    (run / REACHED).unlink(missing_ok=True)  # kept above: the next restart is refused as well


def note_end(run: Path) -> None:
    """The run has saved and stopped, or is finished: the next start is no sign of trouble."""
    for name in (STARTS, REACHED):
        (run / name).unlink(missing_ok=True)


def _read(path: Path) -> _Start | None:
    """None where it is missing or unreadable: no reason not to resume."""
    try:
        found = read_json(path)
        return _Start(global_step=found["global_step"], deaths=found["deaths"], died_at=found["died_at"])
    except (UserError, KeyError, TypeError):
        return None


def _reached(run: Path) -> int | None:
    """The steps that the start before this one had seen; None where it has seen none."""
    try:
        return int((run / REACHED).read_bytes())
    except (OSError, ValueError):
        return None
