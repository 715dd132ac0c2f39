from __future__ import annotations

from tests.cluster.conftest import cluster as cluster
