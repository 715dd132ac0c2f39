"""Who works in a directory, and whether it still does."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from biobert_scale.environment import this_start

_PATIENCE_SECONDS = 30
"""For an answer of SLURM's controller."""
_NO_PROCESSES = frozenset(
    (
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PENDING", "PREEMPTED", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "REVOKED", "SPECIAL_EXIT"),
        "TIMEOUT",
    )
)
"""States of a SLURM job in which none of its processes is left: it is over, or waits for its next start."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process, so that no other one anywhere is taken for it."""

    token: str
    """Random: no two holders share one."""
    work: str
    """What it does, as its command's name."""
    since: str
    host: str
    boot: str
    """The kernel's identifier of this boot."""
    namespace: str
    """The PID namespace: containers and jobs number their processes anew."""
    pid: int
    started: str
    """Clock ticks since boot at which the process started; a PID is used again, both together are not."""
    job: str = ""
    """SLURM's."""
    cluster: str = ""
    requeues: int = 0
    elastic_run: str = ""
    elastic_restarts: int = 0

    def __str__(self) -> str:
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"


def this_process(work: str) -> Holder:
    """The calling process as a holder."""
    return Holder(
        token=uuid.uuid4().hex,
        work=work,
        since=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        host=socket.gethostname(),
        boot=_boot(),
        namespace=_namespace(),
        pid=os.getpid(),
        started=started_at(os.getpid()),
        **this_start(),
    )


def is_at_work(holder: Holder) -> bool | None:
    """Whether a holder still runs, where that can be proven from here; else None.

    A process of the same boot and PID namespace is looked up; SLURM is asked about a job of this cluster; and
    a start that SLURM or torchrun made after the holder's start replaces it.
    """
    me = this_process("")
    if holder.boot and (holder.host, holder.boot, holder.namespace) == (me.host, me.boot, me.namespace):
        return _runs(holder)
    if _replaces(me, holder):
        return False
    return _slurm_says(holder) if holder.job else None


def _runs(holder: Holder) -> bool | None:
    if started := started_at(holder.pid):
        return started == holder.started
    try:
        os.kill(holder.pid, 0)
    except PermissionError:
        return None  # another user's, whose processes this host hides
    except OSError:
        return False
    return False  # dead, and not yet waited for


def _replaces(me: Holder, holder: Holder) -> bool:
    requeued = (holder.job, holder.cluster) == (me.job, me.cluster) and holder.requeues < me.requeues
    restarted = holder.elastic_run == me.elastic_run and holder.elastic_restarts < me.elastic_restarts
    return bool(holder.job and requeued) or bool(holder.elastic_run and restarted)


def _slurm_says(holder: Holder) -> bool | None:
    shown = _job(holder)
    if shown is None:
        return None
    if shown.returncode:
        return False if "Invalid job id" in shown.stderr else None
    job = _fields(shown.stdout, holder.job)
    if "JobState" not in job or not job.get("Restarts", "").isdecimal():
        return None
    if job["JobState"] in _NO_PROCESSES or int(job["Restarts"]) > holder.requeues:
        return False
    return True if job["JobState"] in ("SUSPENDED", "STOPPED") else None


def queue_state(holder: Holder) -> str:
    """What SLURM says of a holder's job now, for people; empty where it is no job, or this cluster does not
    know it."""
    shown = _job(holder) if holder.job else None
    if shown is None:
        return ""
    job = {} if shown.returncode else _fields(shown.stdout, holder.job)
    match job.get("JobState"):
        case None:
            return f"job {holder.job} is no longer in the queue"
        case "PENDING":
            start = job.get("StartTime", "Unknown")
            when = f", starts {start.replace('T', ' ')}" if start != "Unknown" else ""
            return f"job {holder.job} is PENDING ({job.get('Reason')}){when}"
        case "RUNNING":
            return f"job {holder.job} is RUNNING for {job.get('RunTime')} of {job.get('TimeLimit')}"
        case state:
            return f"job {holder.job} is {state}"


def _job(holder: Holder) -> subprocess.CompletedProcess[str] | None:
    """What `scontrol show job` says, where this is the holder's cluster."""
    settings = _scontrol("show", "config")
    cluster = re.search(r"^ClusterName\s*=\s*(\S+)", settings.stdout, re.M) if settings else None
    if cluster is None or cluster[1] != holder.cluster:
        return None
    return _scontrol("--oneliner", "show", "job", holder.job)


def _fields(shown: str, job: str) -> dict[str, str]:
    """A job's fields. Of an array's number, every element has a line."""
    line = next((line for line in shown.splitlines() if line.startswith(f"JobId={job} ")), "")
    return dict(reversed(re.findall(r"(\w+)=(\S*)", line)))  # the first of a name counts


def _scontrol(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def started_at(pid: int) -> str:
    """When a process of this host started, in the kernel's ticks: its number may be another's later.

    Field 22 of /proc/PID/stat (proc(5)); empty where the process is gone, or dead and not waited for."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in (b"Z", b"X") else fields[18].decode()
