"""When a SLURM job ends."""

from __future__ import annotations

import re
import subprocess
import time

from biobert_scale.environment import slurm_job, slurm_job_end
from biobert_scale.errors import UserError

_LEFT = re.compile(r"(?:(?:(?P<days>\d+)-)?(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+)")


def slurm_end_time() -> float | None:
    """The job's end by its time limit, in seconds since the epoch; None where it has no limit.

    Source: SLURM_JOB_END_TIME where this SLURM sets it, else `squeue --format=%L`.

    Raises:
        UserError: this is no SLURM job, or squeue does not say.
    """
    if (end := slurm_job_end()) is not None:
        return end
    if not (job := slurm_job()):
        raise UserError("this is no SLURM job", where="--save-before-limit", remedy="leave the option out")
    try:
        command = ["squeue", "--noheader", f"--jobs={job}", "--format=%L"]
        left = subprocess.check_output(command, stderr=subprocess.PIPE, text=True, timeout=60).strip()
    except (OSError, subprocess.SubprocessError) as error:
        what = f"squeue does not say when the job ends ({error})"
        remedy = "leave the option out, or use sbatch's --signal"
        raise UserError(what, where="--save-before-limit", remedy=remedy) from None
    return None if left == "UNLIMITED" else time.time() + seconds_of(left)


def seconds_of(left: str) -> int:
    """SLURM's `days-hours:minutes:seconds`, of which the first parts may be missing.

    Raises:
        UserError: it is nothing of the kind (`INVALID`, where the limit has passed).
    """
    if (found := _LEFT.fullmatch(left)) is None:
        raise UserError(f"'{left}' is no time", where="squeue", remedy="leave --save-before-limit out")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
