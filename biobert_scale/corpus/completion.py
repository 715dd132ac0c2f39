"""Which tasks of a work directory are complete: the same for local processes and for array jobs."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

from biobert_scale.files import make_directory

COMPLETIONS = "completions"
"""The directory of the markers, an empty file for each complete task."""


def incomplete(work: Path, tasks: int) -> list[int]:
    """The ranks below `tasks` without a completion marker."""
    directory = work / COMPLETIONS
    make_directory(directory)
    completed = set(os.listdir(directory))
    return [rank for rank in range(tasks) if _marker(work, rank).name not in completed]


def run_task(function: Callable[[int], None], rank: int, work: Path) -> None:
    """Run a task and mark it as complete. A complete one is not run again: SLURM may start a job a second
    time. A power failure may take the mark, not what the task has written; the task is then run again."""
    marker = _marker(work, rank)
    if not marker.exists():
        function(rank)
        marker.touch()


def picklable(error: Exception) -> Exception:
    """The error for another process to raise, with its traceback as a note; another one with the same message
    where it does not survive pickling."""
    where = "".join(traceback.format_tb(error.__traceback__))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In the task's process:\n{where}")
    return error


def _marker(work: Path, rank: int) -> Path:
    return work / COMPLETIONS / f"{rank:05d}"
