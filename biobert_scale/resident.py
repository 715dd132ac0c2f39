"""The peak of a process' memory."""

from __future__ import annotations

import re
import resource
import sys
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
