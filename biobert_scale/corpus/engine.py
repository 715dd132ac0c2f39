"""Many independent tasks, run by datatrove here or on a SLURM cluster: completion markers, restart without
repeating."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from loguru import logger
from tqdm import tqdm

from biobert_scale.config import SlurmConfig
from biobert_scale.corpus.slurm import run_on_slurm
from biobert_scale.errors import RunFailed

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 30


def run_tasks(
    function: Callable[[int], None],
    *,
    tasks: int,
    work: Path,
    workers: int = 1,
    slurm: SlurmConfig | None = None,
    description: str = "tasks",
    preload: tuple[str, ...] = (),
) -> None:
    """Call `function(rank)` for every rank below `tasks` that has not completed before.

    Args:
        function: picklable; its own output is written atomically, since a killed task is run again.
        work: where completion markers, logs and statistics are kept between calls; with `slurm` on a shared
            file system.
        workers: processes at once on this machine.
        slurm: run the tasks as array jobs of a cluster instead. Both ways know what the other has completed.
        description: what the tasks do, for the progress bar.
        preload: modules that the tasks need besides the function's own; workers on this machine find them
            imported.

    Raises:
        UserError: a task found a mistake in its input.
        RunFailed: a task's process was killed.
        Exception: on this machine, the first task's error as it was raised. Tasks that completed before it
            stay completed.
    """
    if not tasks:
        return
    with Progress(description, tasks) as progress:
        if slurm is not None:
            run_on_slurm([_Step(function)], tasks=tasks, work=work, config=slurm, show=progress.show)
        else:
            _LocalExecutor(
                progress,
                preload,
                [_Step(function)],
                tasks=tasks,
                workers=min(workers, tasks),
                logging_dir=str(work),
            ).run()


class _Step:
    """datatrove calls a step with (documents, rank, world size)."""

    def __init__(self, function: Callable[[int], None]) -> None:
        self.function = function

    @property
    def module(self) -> str:
        """Where the function comes from."""
        return str(getattr(self.function, "func", self.function).__module__)

    def __call__(self, _documents: Any, rank: int, _world_size: int) -> None:
        self.function(rank)


class Progress:
    """Completed tasks: a bar on a terminal; elsewhere a line when there is something new, at most one in half
    a minute."""

    def __init__(self, description: str, tasks: int) -> None:
        self.bar = tqdm(total=tasks, desc=description, disable=None)
        self.description, self.tasks = description, tasks
        self.shown, self.shown_at = "", time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, completed: int, note: str = "") -> None:
        """`note` says what the other tasks are doing."""
        if not self.bar.disable:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(completed - self.bar.n)
            self.bar.refresh()
            return
        line = f"{self.description}: {completed} of {self.tasks} done" + (f" ({note})" if note else "")
        if line != self.shown and (time.monotonic() > self.shown_at + _SECONDS_BETWEEN_LINES):
            _log.info("%s", line)
            self.shown, self.shown_at = line, time.monotonic()


class _LocalExecutor(LocalPipelineExecutor):
    """datatrove's tasks and completion markers in processes that are watched: its own pool waits for ever for
    one that was killed.

    Its log lines are off: errors reach the caller as exceptions.
    """

    def __init__(self, progress: Progress, preload: tuple[str, ...], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.progress, self.preload = progress, preload

    def run(self) -> None:
        waiting = self.get_incomplete_ranks()
        if self.workers == 1:
            for done, rank in enumerate(waiting, self.tasks - len(waiting)):
                self.progress.show(done)
                self._run_for_rank(rank)
        else:
            self._run_in_processes(waiting)
        self.progress.show(self.tasks)

    def _run_in_processes(self, waiting: list[int]) -> None:
        completed, waiting = self.tasks - len(waiting), waiting[::-1]
        # Imported once, before the workers part: their imports would take longer than a small file.
        multiprocessing.get_context("forkserver").set_forkserver_preload(
            [__name__, self.pipeline[0].module, *self.preload]
        )
        workers = [_Worker(self) for _ in range(min(self.workers, len(waiting)))]
        try:
            for worker in workers:
                worker.start(waiting.pop())
            while busy := {worker.channel: worker for worker in workers if worker.rank is not None}:
                self.progress.show(completed)
                for channel in wait(list(busy)):
                    worker = busy[channel]  # type: ignore[index]
                    worker.finish(self.logging_dir.resolve_paths(f"logs/task_{worker.rank:05d}.log"))
                    completed += 1
                    if waiting:
                        worker.start(waiting.pop())
        finally:
            for worker in workers:
                worker.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress": None}  # a terminal's bar stays with the process that draws it

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


class _Worker:
    """A process that runs one task after another, and the end of its pipe on this side."""

    def __init__(self, executor: _LocalExecutor) -> None:
        context = multiprocessing.get_context("forkserver")
        self.channel, theirs = context.Pipe()
        self.rank: int | None = None
        self.process: BaseProcess = context.Process(target=_work, args=(executor, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends with the process

    def start(self, rank: int) -> None:
        self.rank = rank
        self.channel.send(rank)

    def finish(self, log: str) -> None:
        """Take the task's answer."""
        try:
            error = self.channel.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            remedy = (
                "run the same command again: finished tasks are kept; where memory ran out, with fewer"
                " --workers"
            )
            raise RunFailed(f"the process of task {self.rank} {how}", where=log, remedy=remedy) from None
        if error is not None:
            raise error
        self.rank = None

    def stop(self) -> None:
        self.channel.close()
        self.process.terminate()
        self.process.join()


def _work(executor: _LocalExecutor, channel: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            rank, answer = channel.recv(), None
            try:
                executor._run_for_rank(rank)
            except Exception as error:
                answer = error
            channel.send(answer)
