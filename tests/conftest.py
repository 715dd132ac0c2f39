from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm_cluster import cluster as cluster

ROOT = Path(__file__).resolve().parent.parent
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts a background command deaf to Ctrl-C, and so would be every process that a test starts and
    # interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real PubMed, PMC and benchmark files, which are no part of the project."""
    directory = Path(os.environ.get("BIOBERT_SCALE_DATA", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"no real data at {directory}: set BIOBERT_SCALE_DATA")
    return directory


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The command line gives the root logger a handler on the standard error of one test, which the next test
    has not."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture(autouse=True)
def no_ranks() -> Iterator[None]:
    """A run in the test's own process is told its rank by the environment, joins a group, and accelerate
    remembers: none of it stays for the next test."""
    yield
    for name in RANK_VARIABLES:
        os.environ.pop(name, None)
    if "accelerate" in sys.modules:
        import torch.distributed
        from accelerate.state import AcceleratorState

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)
