"""SIGTERM where a process has others at work."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def orderly_termination() -> Iterator[None]:
    """Meanwhile SIGTERM ends the worker processes and raises SystemExit, as Ctrl-C raises KeyboardInterrupt.

    A process that dies at once leaves launchers running, and semaphores that nobody unlinks.
    """
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: object) -> None:
    for worker in multiprocessing.active_children():
        worker.terminate()
    raise SystemExit(128 + number)
