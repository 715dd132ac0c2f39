"""A process' memory: its peak, and what it can give back."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_resident_bytes() -> int:
    """The most memory that this process has had resident, in bytes.

    On Linux from `/proc` (proc_pid_status(5), `VmHWM`). `getrusage` (elsewhere) would count what its parent
    had when it started this process.
    """
    found = (
        re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE) if _STATUS.is_file() else None
    )
    if found:
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class FreedMemory:
    """Gives back to the system, now and then, what C's allocator keeps: batches of ever new lengths leave
    holes that nothing else fits, hundreds of megabytes in minutes. Only glibc has this call, and needs it.

    Args:
        seconds: between two times, at least. What is needed again has to be fetched anew.
    """

    def __init__(self, *, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def give_back(self) -> None:
        """To be called often: it does nothing until the time has passed."""
        if time.monotonic() - self._last < self._seconds:
            return
        with suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._last = time.monotonic()
