from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real PubMed, PMC and benchmark files, which are no part of the project."""
    directory = Path(os.environ.get("BIOBERT_SCALE_DATA", ROOT.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"no real data at {directory}: set BIOBERT_SCALE_DATA")
    return directory


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The command line gives the root logger a handler on the standard error of one test, which the next test has not."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
