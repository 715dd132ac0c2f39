"""Measurements in a process of their own: with one thread for every library, or with nothing loaded before.

As a module, it runs a command for `run_measured`: a small process in between, because a command's peak memory
counts what its parent had before it as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biobert_scale.errors import RunFailed

ONE_THREAD = (
    "OMP_NUM_THREADS=1",
    "OPENBLAS_NUM_THREADS=1",
    "MKL_NUM_THREADS=1",
    "RAYON_NUM_THREADS=1",
    "TOKENIZERS_PARALLELISM=false",
    "HF_HUB_OFFLINE=1",
)
"""What `env` is told before a command."""
_PATIENCE_SECONDS = 10.0
"""From asking a command to end until it is killed."""


def run_alone(module: str, arguments: dict[str, Any]) -> Any:
    """Run a module that calls `answer`, and return what its function told.

    Args:
        arguments: keyword arguments of the function, as JSON.

    Raises:
        RunFailed: the process failed; what it said is on the standard error.
    """
    command = [
        "env",
        *ONE_THREAD,
        sys.executable,
        "-m",
        module,
        json.dumps(arguments),
        repr(time.monotonic()),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RunFailed(
            f"a measurement ended with code {done.returncode}", where=module, remedy="see the messages above"
        )
    return json.loads(done.stdout.splitlines()[-1])


def run_measured(command: list[str]) -> dict[str, Any]:
    """Run a command alone on one thread.

    Returns:
        `seconds` by the clock, `cpu_seconds` and `peak_memory_bytes` (resident, of the process or its largest
        child), `begun_at` (seconds since the epoch), and `said`, the last line of its standard output.

    Raises:
        RunFailed: it failed; what it said is on the standard error.
    """
    told: dict[str, Any] = run_alone(__name__, {"command": command})
    return told


def run_for(command: list[str], *, seconds: float, log: Path) -> int | None:
    """Run a command for so long at most; then end it with everything that it has started.

    It is asked to end first, because a launcher's ranks have sessions of their own, and the launcher alone
    knows them.

    Args:
        log: file for what it says.

    Returns:
        Its exit code; None where its time ended.
    """
    with open(log, "w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
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


def answer(function: Callable[..., Any]) -> None:
    """The other side of `run_alone`: call a function with `begun` (its process' beginning, by the monotonic
    clock) and the arguments."""
    print(json.dumps(function(begun=float(sys.argv[2]), **json.loads(sys.argv[1]))), flush=True)


def _run(*, begun: float, command: list[str]) -> dict[str, Any]:
    del begun
    begun_at, clock = time.time(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - clock
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(1)
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_bytes": usage.ru_maxrss * 1024,
        "begun_at": begun_at,
        "said": lines[-1] if lines else "",
    }


if __name__ == "__main__":
    answer(_run)
