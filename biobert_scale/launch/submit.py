"""Rendered scripts before SLURM: read by bash, tried by `sbatch --test-only`, submitted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from biobert_scale.errors import RunFailed, UserError

_SILENT = (
    "Could not establish a configuration source",
    "Unable to contact slurm controller",
    "Connection refused",
)
"""What sbatch says where its cluster is out of reach: nothing about the script."""
_REMEDY = "correct the site file or the options, and render again"


def check_scripts(scripts: list[Path]) -> list[str]:
    """Check scripts without running anything of them.

    Returns:
        A line for each script that says what SLURM thinks of it; where there is no SLURM, one line that says
        so.

    Raises:
        UserError: one that bash cannot read, or that SLURM would not take.
    """
    for script in scripts:
        if complaint := _complaint(["bash", "-n", str(script)]):
            raise UserError(f"bash cannot read it ({complaint})", where=script, remedy=_REMEDY)
    if shutil.which("sbatch") is None:
        return ["not tried on SLURM: no sbatch on the PATH"]
    lines = []
    for script in (script for script in scripts if script.suffix == ".sbatch"):
        tried = subprocess.run(["sbatch", "--test-only", str(script)], capture_output=True, text=True)
        said = (tried.stderr.strip().splitlines() or ["sbatch said nothing"])[-1]
        if tried.returncode and any(sign in said for sign in _SILENT):
            return [f"not tried on SLURM: {said}"]
        if tried.returncode:
            what = said.removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
            raise UserError(what, where=script, remedy=_REMEDY)
        lines.append(f"{script.name}: {said.removeprefix('sbatch: ')}")
    return lines


def submit(directory: Path) -> list[str]:
    """Run a rendered `submit.sh`; returns its lines, each `stage job`.

    Raises:
        UserError: no SLURM here.
        RunFailed: SLURM did not take one of the jobs; those before it have been cancelled.
    """
    if shutil.which("sbatch") is None:
        remedy = f"run {directory / 'submit.sh'} where jobs are submitted (a login node)"
        raise UserError("no sbatch on the PATH", where="--submit", remedy=remedy)
    done = subprocess.run(["bash", str(directory / "submit.sh")], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["sbatch failed"])[-1].removeprefix("sbatch: error: ")
        what = f"SLURM did not take every job ({said}); those before it are cancelled"
        raise RunFailed(what, where=directory / "submit.sh", remedy=_REMEDY)
    return done.stdout.splitlines()


def _complaint(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or ["no reason given"])[0] if done.returncode else ""
