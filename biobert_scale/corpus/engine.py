"""Many independent tasks, run by datatrove: worker processes, completion markers, restart without repeating."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from loguru import logger


def run_tasks(function: Callable[[int], None], *, tasks: int, workers: int, work: Path) -> None:
    """Call `function(rank)` for every rank below `tasks` that has not completed before.

    Args:
        function: picklable; its own output is written atomically, since a killed task is run again.
        workers: processes at once.
        work: where completion markers, logs and statistics are kept between calls.

    Raises:
        Exception: the first task's error, as it was raised; tasks that completed before it stay completed.
    """
    if tasks:
        _QuietExecutor([_Step(function)], tasks=tasks, workers=min(workers, tasks), logging_dir=str(work)).run()


class _Step:
    """datatrove calls a step with (documents, rank, world size)."""

    def __init__(self, function: Callable[[int], None]) -> None:
        self.function = function

    def __call__(self, _documents: Any, rank: int, _world_size: int) -> None:
        self.function(rank)


class _QuietExecutor(LocalPipelineExecutor):
    """Without datatrove's log lines: errors reach the caller as exceptions, progress through the caller's own bar."""

    def run(self) -> Any:
        logger.disable("datatrove")
        return super().run()

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        logger.disable("datatrove")  # once more: this runs in a worker process
        return super()._run_for_rank(rank, local_rank, node_rank)
