"""Measurements in a process of their own: with one thread for every library, or with nothing loaded before."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from biobert_scale.errors import RunFailed

ONE_THREAD = ("OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "RAYON_NUM_THREADS=1", "TOKENIZERS_PARALLELISM=false", "HF_HUB_OFFLINE=1")
"""What `env` is told before a command."""


def run_alone(module: str, arguments: dict[str, Any]) -> Any:
    """Run a module that calls `answer`, and return what its function told.

    Args:
        arguments: keyword arguments of the function, as JSON.

    Raises:
        RunFailed: the process failed; what it said is on the standard error.
    """
    command = ["env", *ONE_THREAD, sys.executable, "-m", module, json.dumps(arguments), repr(time.monotonic())]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RunFailed(f"a measurement ended with code {done.returncode}", where=module, remedy="see the messages above")
    return json.loads(done.stdout.splitlines()[-1])


def answer(function: Callable[..., Any]) -> None:
    """The other side of `run_alone`: call a function with `begun` (its process' beginning, by the monotonic clock) and the arguments."""
    print(json.dumps(function(begun=float(sys.argv[2]), **json.loads(sys.argv[1]))), flush=True)
