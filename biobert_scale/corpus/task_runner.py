"""Many independent tasks, in processes of this machine or on a SLURM cluster: completion markers, restart
without repeating."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

from tqdm import tqdm

from biobert_scale.config import SlurmConfig
from biobert_scale.corpus.completion import incomplete, picklable, run_task
from biobert_scale.corpus.slurm import run_on_slurm
from biobert_scale.environment import installed_packages_only
from biobert_scale.errors import RunFailed
from biobert_scale.termination import orderly_termination

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
        work: where completion markers and logs are kept between calls; with `slurm` on a shared file system.
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
            run_on_slurm(function, tasks=tasks, work=work, config=slurm, show=progress.show)
            return
        waiting = incomplete(work, tasks)
        completed = tasks - len(waiting)
        progress.show(completed)
        if min(workers, tasks) > 1 and waiting:
            _run_in_processes(function, waiting, work, workers, preload, progress)
        else:
            for done, rank in enumerate(waiting, completed + 1):
                run_task(function, rank, work)
                progress.show(done)


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


def _run_in_processes(
    function: Callable[[int], None],
    waiting: list[int],
    work: Path,
    workers: int,
    preload: tuple[str, ...],
    progress: Progress,
) -> None:
    context = multiprocessing.get_context("forkserver")
    # Imported once, before the workers part: their imports would take longer than a small file.
    module = getattr(function, "func", function).__module__
    context.set_forkserver_preload([__name__, module, *preload])
    # The workers' parent would import from the working directory, where another version may be.
    with installed_packages_only():
        forkserver.ensure_running()
    started = work / "started"
    shutil.rmtree(started, ignore_errors=True)
    started.mkdir(parents=True)
    others, all_known = set(multiprocessing.active_children()), context.Event()
    with (
        orderly_termination(),
        ProcessPoolExecutor(min(workers, len(waiting)), context, _begin, (function, work, all_known)) as pool,
    ):
        processes: set[BaseProcess] = set()
        try:
            tasks = [pool.submit(_run, rank) for rank in waiting]
            processes = set(multiprocessing.active_children()) - others
            all_known.set()
            for done, task in enumerate(as_completed(tasks), progress.tasks - len(waiting) + 1):
                if error := task.result():
                    raise error
                progress.show(done)
        except BrokenProcessPool:
            pool.shutdown()  # and with it the other processes
            exit_codes = {process.pid: process.exitcode or 0 for process in processes}
            raise _killed(started, exit_codes) from None
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_function: Callable[[int], None]
_work: Path
"""Of a worker process."""


def _begin(function: Callable[[int], None], work: Path, all_known: Event) -> None:
    """Make a process a worker. It waits until the parent knows all of them: one that dies at once leaves its
    exit code, too."""
    global _function, _work
    _function, _work = function, work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    all_known.wait()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(rank: int) -> Exception | None:
    """Run a task in a worker; meanwhile a file says which process has it."""
    started = _work / "started" / f"{rank}.{os.getpid()}"
    started.touch()
    try:
        run_task(_function, rank, _work)
    except Exception as error:
        return picklable(error)
    finally:
        started.unlink()
    return None


def _killed(started: Path, exit_codes: dict[int | None, int]) -> RunFailed:
    """Which process died by itself: the pool ends the others by SIGTERM."""
    ranks = {int(pid): rank for rank, pid in (path.name.split(".") for path in started.iterdir())}
    by_itself = sorted(exit_codes, key=lambda pid: (exit_codes[pid] == -signal.SIGTERM, pid not in ranks))
    pid = next(iter(by_itself), None)
    code = exit_codes.get(pid, 1)
    whose = f"the process of task {ranks[pid]}" if pid in ranks else "a worker process"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    remedy = "run the same command again: finished tasks are kept; where memory ran out, with fewer --workers"
    return RunFailed(f"{whose} {how}", where=started.parent, remedy=remedy)
