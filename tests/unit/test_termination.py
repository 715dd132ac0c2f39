from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WORKERS = """
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from biobert_scale.termination import orderly_termination
with orderly_termination(), ProcessPoolExecutor(1, mp_context=get_context({method!r})) as pool:
    pool.submit(int).result()
    work = pool.submit(time.sleep, 600)
    print("ready", flush=True)
    work.result()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.fault(
    "a SIGTERM to a command with worker processes", "they end with it, and nothing is left over"
)
def test_sigterm_leaves_no_worker_and_no_semaphore(method: str) -> None:
    command = [sys.executable, "-c", WORKERS.format(method=method)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)  # ends when the last process that inherited the pipe has ended
    assert (process.returncode, said) == (128 + signal.SIGTERM, "")
