"""A command with a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

_PATIENCE_SECONDS = 10.0
"""From asking a command to end until it is killed."""


def run_for(command: list[str], *, seconds: float, log: Path) -> int | None:
    """Run a command for so long at most; then end it with everything that it has started.

    It is asked to end first, because a launcher's ranks have sessions of their own, and the launcher alone
    knows them.

    Args:
        log: file for its output.

    Returns:
        Its exit code; None where its time ended.
    """
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            return process.wait(timeout=seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_PATIENCE_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    return None
