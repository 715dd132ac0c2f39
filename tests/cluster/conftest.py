from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm_cluster import Cluster
from tests.slurm_runs import log, pretrain, state, wait_until


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes of two ranks, to the end in one go."""
    work = tmp_path_factory.mktemp("undisturbed") / "work"
    job = pretrain(cluster, tokens, work)
    wait_until(lambda: state(cluster, job) not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"), work)
    assert state(cluster, job) == "COMPLETED", log(work)[-6000:]
    return work
