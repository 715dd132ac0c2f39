"""Asking a run to save and stop: SIGTERM, SIGUSR1, the file STOP, or the end of the job's time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from biobert_scale.environment import restarts_allowed

EXIT_CODE = 75
"""The exit code of a run that saved and stopped before its end (sysexits' EX_TEMPFAIL: try again later)."""

STOP_FILE = "STOP"

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


def exit_code(*, finished: bool) -> int:
    """What the process ends with: an elastic agent with restarts left would start anything but 0 again at
    once. No signal replaces it from here on."""
    for number in _SIGNALS:
        signal.signal(number, lambda number, frame: None)
    return 0 if finished or restarts_allowed() > 0 else EXIT_CODE


@contextmanager
def signals_given_back() -> Iterator[None]:
    """Whoever listens inside for a request to stop, those who listened before do so again afterwards."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Remembers a request until a step boundary, where all ranks agree on it."""

    def __init__(self, run: Path, *, deadline: float | None = None) -> None:
        """Listen from here on.

        Args:
            deadline: seconds since the epoch from which on this rank asks by itself.
        """
        self.path, self.deadline = run / STOP_FILE, deadline
        self.reason = ""
        for number in _SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.reason = signal.Signals(number).name

    def heard(self) -> bool:
        """Whether this rank has been asked to stop."""
        if not self.reason and self.path.exists():
            self.reason = f"the file {STOP_FILE}"
        if not self.reason and self.deadline is not None and time.time() >= self.deadline:
            self.reason = "the end of the job's time"
        return bool(self.reason)
