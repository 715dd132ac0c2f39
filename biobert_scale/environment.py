"""What a process can know of where it runs: what launchers and SLURM say through the environment, besides
ranks (see `training/ranks.py`), and the processor."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

WEBHOOK = "BIOBERT_SCALE_WEBHOOK"


def is_first_rank() -> bool:
    """Whether this process is the one of a launcher's that reports what all of them meet."""
    names = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def wants_plain_text() -> bool:
    """Whether the person asked for text without colours (no-color.org), or the terminal has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def launcher_environment(*, threads: int, on_gpu: bool) -> dict[str, str]:
    """Of a launcher that is started here: with what torchrun and DeepSpeed would otherwise choose by
    themselves, and print."""
    device = {} if on_gpu else {"DS_ACCELERATOR": "cpu"}
    return {**os.environ, "OMP_NUM_THREADS": str(threads), **device}


@contextmanager
def installed_packages_only() -> Iterator[None]:
    """Python that is started meanwhile does not import from the working directory."""
    before = os.environ.get("PYTHONSAFEPATH", "")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        os.environ["PYTHONSAFEPATH"] = before


def keep_few_kernels() -> None:
    """Have oneDNN, from its first kernel on, keep 64 of them and not 1,024: there is one for each shape, and
    batches of ever new lengths make it gigabytes."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def is_restart() -> bool:
    """Whether torchrun or SLURM has started this again by itself."""
    counts = (os.environ.get(name, "") for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
    return any(count.isdecimal() and int(count) > 0 for count in counts)


def restarts_allowed() -> int:
    """How often torchrun's agent starts the ranks again where one ends with anything but 0."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS") or 0)


def webhook_address() -> str:
    """Where to report that a run has finished, failed or stalled; empty for nowhere."""
    return os.environ.get(WEBHOOK, "")


def slurm_job() -> str:
    """The number of the SLURM job; empty outside of one."""
    return os.environ.get("SLURM_JOB_ID", "")


def slurm_job_end() -> float | None:
    """The end of the job's time in seconds since the epoch, where this SLURM gives it."""
    end = os.environ.get("SLURM_JOB_END_TIME")
    return float(end) if end else None


class Start(TypedDict):
    """What SLURM and torchrun call one start of a command."""

    job: str
    cluster: str
    requeues: int
    """How often the job was queued again."""
    elastic_run: str
    elastic_restarts: int
    """How often torchrun's ranks were restarted."""


def this_start() -> Start:
    """This process' start; empty and 0 outside of SLURM and torchrun."""
    elastic = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return {
        "job": slurm_job(),
        "cluster": os.environ.get("SLURM_CLUSTER_NAME", ""),
        "requeues": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        "elastic_run": "" if elastic == "none" else elastic,  # torchrun's word where it was given no id
        "elastic_restarts": int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0),
    }


def processor_name() -> str:
    """The processor's model, or its architecture where the system does not say more."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()
