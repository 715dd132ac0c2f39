"""Pre-training as a rendered job on the cluster of `slurm_cluster.py`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biobert_scale.files import write_json
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import TINY
from tests.launching import column
from tests.slurm_cluster import Cluster

STEPS = 200
RECIPE: dict[str, Any] = {
    **TINY,
    "training": {**TINY["training"], "validation": {"every_steps": 100, "sequences": 21}},
}
SITE = """
{more}
[devices]
cpus_per_device = 1
memory_gib_per_device = 1
[processors]
cpus = 2
memory_gib = 4
"""


def prepare(work: Path, tokens: Path | None, recipe: dict[str, Any], *, site: str = "doctor = false") -> None:
    work.mkdir(parents=True, exist_ok=True)
    (work / "site.toml").write_text(SITE.format(more=site))
    write_json(work / "recipe.json", recipe)
    if tokens is not None:
        (work / "tokens").symlink_to(tokens)


def submit(cluster: Cluster, work: Path, *options: str) -> dict[str, str]:
    """Render, check and submit; returns the jobs by their stages."""
    printed = cluster.run(
        sys.executable,
        "-m",
        "biobert_scale.cli",
        "launch",
        "slurm",
        "--site",
        str(work / "site.toml"),
        "--config",
        str(work / "recipe.json"),
        "--work",
        str(work),
        "--quiet",
        "--submit",
        *options,
    )
    assert "to start at" in printed, printed
    return dict(line.split()[1:] for line in printed.splitlines() if line.startswith("submitted: "))


def pretrain(
    cluster: Cluster,
    tokens: Path,
    work: Path,
    *options: str,
    steps: int = STEPS,
    nodes: int = 2,
    devices: int = 2,
) -> str:
    prepare(work, tokens, RECIPE)
    sizes = (
        "--nodes",
        str(nodes),
        "--devices-per-node",
        str(devices),
        "--settings",
        f"training.schedule.total-steps={steps}",
    )
    return submit(cluster, work, *sizes, *options)["pretrain"]


def log(work: Path) -> str:
    return "".join(path.read_text() for path in sorted((work / "jobs" / "logs").glob("*.log")))


def wait_until(condition: Callable[[], object], work: Path, *, seconds: float = 800) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log(work)[-6000:]
        time.sleep(0.2)


def state(cluster: Cluster, job: str) -> str:
    """The job's state; an array's are joined."""
    return "+".join(
        sorted(
            set(cluster.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").split())
        )
    )


def step(work: Path) -> int:
    return max((record["global_step"] for record in read_metrics(work / "pretraining")), default=0)


def losses(work: Path) -> list[tuple[Any, ...]]:
    return column(read_metrics(work / "pretraining"), "train/loss")


def ranks_of(cluster: Cluster, work: Path) -> list[str]:
    """The processes of a job's ranks, as the head numbers them."""
    process = cluster.start("pgrep", "--full", f"^{sys.executable} -m biobert_scale.train .*{work}/")
    return process.communicate(timeout=60)[0].split()
