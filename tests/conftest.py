from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests.faults import faults_of
from tests.record import Record
from tests.slurm_cluster import cluster as cluster

ROOT = Path(__file__).resolve().parent.parent

# Pytest's workers share the cores: with two threads of torch in each, they wait for each other, and a test
# takes ten times as long. Set before anything imports torch, and inherited by what the tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts a background command deaf to Ctrl-C, and so would be every process that a test starts and
    # interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="write down what passes, and leave out what has passed")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record"):
        config.pluginmanager.register(Record(config.getoption("--record")))
    # The one fork server of this process, also of the corpus' tasks, has what `tests/preload.py` imports.
    multiprocessing.set_forkserver_preload(["tests.preload"])
    runs_tests = config.option.numprocesses is None or hasattr(config, "workerinput")
    if runs_tests and not config.option.collectonly:
        forkserver.ensure_running()


def pytest_collection_finish() -> None:
    """What is imported stays. A search for garbage does not look through it again: a run of training ends in
    two such searches, which took longer than its steps."""
    gc.collect()
    gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    item.user_properties += [("fault", fault) for fault in faults_of(item)]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real PubMed, PMC and benchmark files, which are no part of the project."""
    directory = Path(os.environ.get("BIOBERT_SCALE_DATA", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"no real data at {directory}: set BIOBERT_SCALE_DATA")
    return directory


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished token shards of 200 made-up documents."""
    from tests.factories import write_tokens

    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


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
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if "accelerate" in sys.modules:
        import torch.distributed
        from accelerate.state import AcceleratorState

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)
