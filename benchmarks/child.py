"""Measurements in a process of their own: with one thread for every library, or with nothing loaded before.

As a module, it runs a command for `run_measured`: a small process in between, because a command's peak memory
counts what its parent had before it as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypedDict

from biobert_scale.errors import RunFailed

ONE_THREAD = (
    "OMP_NUM_THREADS=1",
    "OPENBLAS_NUM_THREADS=1",
    "MKL_NUM_THREADS=1",
    "RAYON_NUM_THREADS=1",
    "TOKENIZERS_PARALLELISM=false",
    "HF_HUB_OFFLINE=1",
)
"""Variables for `env` before a command."""


class Measured(TypedDict):
    """A command that ran alone."""

    seconds: float
    """By the clock."""
    cpu_seconds: float
    peak_memory_bytes: int
    """Resident, of the process or its largest child."""
    begun_at: float
    """Seconds since the epoch."""
    answer: str
    """The last line of its standard output."""


def run_alone(module: str, arguments: dict[str, Any]) -> Any:
    """Run a module that calls `answer`, and return what its function returned.

    Args:
        arguments: keyword arguments of the function, as JSON.

    Raises:
        RunFailed: the process failed; its messages are on the standard error.
    """
    done = subprocess.run(
        ["env", *ONE_THREAD, *command(module, arguments)], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RunFailed(
            f"a measurement ended with code {done.returncode}", where=module, remedy="see the messages above"
        )
    return json.loads(done.stdout.splitlines()[-1])


def command(module: str, arguments: dict[str, Any]) -> list[str]:
    """The command line of a module that calls `answer`."""
    return [sys.executable, "-m", module, json.dumps(arguments)]


def run_measured(command: list[str]) -> Measured:
    """Run a command alone on one thread.

    Raises:
        RunFailed: it failed; its messages are on the standard error.
    """
    measured: Measured = run_alone(__name__, {"command": command})
    return measured


def answer(function: Callable[..., Any]) -> None:
    """The other side of `run_alone`: call a function with the arguments, and print what it returns."""
    print(json.dumps(function(**json.loads(sys.argv[1]))), flush=True)


def _run(*, command: list[str]) -> Measured:
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
        "answer": lines[-1] if lines else "",
    }


if __name__ == "__main__":
    answer(_run)
