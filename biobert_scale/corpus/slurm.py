"""datatrove's SLURM executor, watched: tasks as one array job, their errors reported here, killed ones
submitted again.

A phase's job has a name made from its work directory. So whoever comes back after losing the connection waits
for the tasks that are still in the queue instead of submitting them a second time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datatrove.executor import SlurmPipelineExecutor
from loguru import logger

from biobert_scale.config import SlurmConfig
from biobert_scale.errors import RunFailed, UserError, from_os_error
from biobert_scale.files import read_json, write_json

_log = logging.getLogger(__name__)
_FIRST_LOOK_SECONDS = 0.5
_SILENCE_SECONDS = 600
"""How long the queue may give no answer (SLURM's controller restarts now and then)."""
_AGAIN = "run the same command again: finished tasks are kept"
_CHANGE = "change the options for SLURM (--partition, --time, --memory-gib, ...)"
_HOPELESS = ("PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "launch failed requeued held")
"""Reasons for which SLURM keeps a task in the queue and never starts it."""


def require_slurm() -> None:
    """Check that SLURM's commands are there.

    Raises:
        UserError: they are not.
    """
    missing = [command for command in ("sbatch", "squeue", "scancel") if shutil.which(command) is None]
    if missing:
        raise UserError(
            f"no {', '.join(missing)} on the PATH",
            where="--executor slurm",
            remedy="run it where jobs are submitted (a login node), or use --executor local",
        )


def run_on_slurm(
    steps: list[Callable[..., Any]],
    *,
    tasks: int,
    work: Path,
    config: SlurmConfig,
    show: Callable[[int, str], None],
) -> None:
    """Run every task that has not completed before as an element of an array job, and wait for all of them.

    Args:
        steps: datatrove's pipeline.
        tasks: ranks 0 to `tasks - 1`.
        work: on a file system that every node sees; logs are in its `slurm_logs`.
        show: called with the number of completed tasks, and the states of those in the queue.

    Raises:
        UserError: a task found a mistake in its input (all other tasks are cancelled), or SLURM refuses the
            job.
        RunFailed: tasks are still not done after `config.retries`.
    """
    require_slurm()
    work = work.resolve()
    name = f"biobert-{work.name.strip('.')}-{hashlib.sha256(str(work).encode()).hexdigest()[:8]}"
    shutil.rmtree(work / "errors", ignore_errors=True)  # of an earlier run
    executor = _Executor(work, name, config, steps, tasks)
    submissions = 0
    try:
        while missing := executor.missing():
            if not _queue(name):
                if submissions > config.retries:
                    raise _unfinished(executor, missing)
                if submissions:
                    _log.warning("%d tasks ended without a result: submitting them again", len(missing))
                executor.submit(missing)
                submissions += 1
            elif not submissions:
                _log.info("waiting for the tasks of an earlier call, which are still in the queue (%s)", name)
            _wait(executor, show)
    except BaseException as reason:
        if not isinstance(reason, RunFailed) and _queue(name):
            _log.info("cancelling the tasks that are queued or running")
        subprocess.run(["scancel", f"--name={name}"], stderr=subprocess.DEVNULL)
        raise


class _Executor(SlurmPipelineExecutor):
    def __init__(
        self, work: Path, name: str, config: SlurmConfig, steps: list[Callable[..., Any]], tasks: int
    ) -> None:
        super().__init__(
            steps,
            tasks=tasks,
            time=config.time,
            partition=config.partition,
            cpus_per_task=config.cpus_per_task,
            mem_per_cpu_gb=-(-config.memory_gib // config.cpus_per_task),
            workers=config.tasks,
            job_name=name,
            qos="",
            env_command=_environment(config),
            sbatch_args=dict(option.removeprefix("--").partition("=")[::2] for option in config.sbatch),
            max_array_size=config.max_array,
            job_id_retriever=_job_id,
            logging_dir=str(work),
            slurm_logs_folder=str(work / "slurm_logs"),
            with_srun=False,  # one process a task: the batch step is enough
        )
        self.work, self.config = work, config

    def missing(self) -> list[int]:
        """The ranks without a completion marker."""
        marker = self.work / "completions" / ".looking"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()  # a change of our own makes an NFS client fetch the directory anew
        marker.unlink()
        return self.get_incomplete_ranks()

    def submit(self, missing: list[int]) -> None:
        """Submit the missing tasks as one array job.

        Raises:
            UserError: sbatch does not take it.
        """
        shutil.rmtree(self.work / "errors", ignore_errors=True)
        self.tasks_per_job = -(-len(missing) // self.config.max_array)
        logger.disable("datatrove")
        with tempfile.TemporaryFile("w+") as said:
            try:
                with _stderr_into(said.fileno()):
                    self.launch_job()
            except subprocess.CalledProcessError:
                said.seek(0)
                lines = said.read().strip().splitlines() or ["sbatch failed"]
                raise UserError(
                    lines[-1].removeprefix("sbatch: error: "),
                    where=self.work / "launch_script.slurm",
                    remedy=_CHANGE,
                ) from None
        _log.info(
            "SLURM job %s (%s): %d tasks, at most %d at once",
            self.job_id,
            self.job_name,
            len(missing),
            self.config.tasks,
        )

    def launch_merge_stats(self) -> None:
        """Nothing: datatrove would leave a second job in the queue, for ever where a task of the first
        fails."""

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        options = super().get_sbatch_args(max_array)
        return {name: value for name, value in options.items() if name != "partition" or value}

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        """On a node: leave the error where the submitting process finds it."""
        try:
            return super()._run_for_rank(rank, local_rank, node_rank)
        except Exception as error:
            known = (
                error
                if isinstance(error, UserError)
                else from_os_error(error)
                if isinstance(error, OSError)
                else None
            )
            record = (
                vars(known) | {"exit_code": known.exit_code}
                if known
                else {"error": f"{type(error).__name__}: {error}"}
            )
            write_json(self.work / "errors" / f"{rank:05d}.json", record)
            raise

    def log(self, rank: int) -> Path:
        """What SLURM wrote down of the newest job's array element that was to run a task."""
        element = json.loads((self.work / "ranks_to_run.json").read_text()).index(rank) // self.tasks_per_job
        return self.work / "slurm_logs" / f"{self.job_id}_{element}.out"


def _job_id(answer: str) -> str:
    found = re.search(r"\d+", answer)
    assert found, f"sbatch said: {answer}"
    return found.group()


def _environment(config: SlurmConfig) -> str:
    """Shell lines after which a node finds this very Python environment."""
    return "\n".join(
        [
            "set -e",
            *([config.setup] if config.setup else []),
            f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH",
        ]
    )


def _wait(executor: _Executor, show: Callable[[int, str], None]) -> None:
    """Wait until no task is in the queue any more.

    Raises:
        UserError: what a task found wrong with its input.
    """
    pause = _FIRST_LOOK_SECONDS
    while states := _queue(executor.job_name):
        show(
            executor.tasks - len(executor.missing()),
            ", ".join(f"{count} {state}" for state, count in sorted(states.items())),
        )
        for state in states:
            if state.endswith(_HOPELESS):
                raise UserError(
                    f"SLURM never starts these tasks ({state})",
                    where=executor.work / "launch_script.slurm",
                    remedy=_CHANGE,
                )
        _raise_known_error(executor.work)
        time.sleep(pause)
        pause = min(1.5 * pause, executor.config.poll_seconds)
    show(executor.tasks - len(executor.missing()), "")
    _raise_known_error(executor.work)


def _queue(name: str) -> Counter[str]:
    """How many tasks of a name are in the queue, by state and, of those that wait, SLURM's reason."""
    silent_since = time.monotonic()
    while True:
        asked = subprocess.run(
            ["squeue", "--noheader", "--array", f"--name={name}", "--format=%T: %r"],
            capture_output=True,
            text=True,
        )
        if not asked.returncode:
            return Counter(line.removesuffix(": None") for line in asked.stdout.splitlines())
        if time.monotonic() > silent_since + _SILENCE_SECONDS:
            raise RunFailed(
                "SLURM does not answer", where="squeue", remedy=f"{asked.stderr.strip()}; {_AGAIN}"
            )
        _log.warning("squeue: %s", asked.stderr.strip())
        time.sleep(_SILENCE_SECONDS / 20)


def _raise_known_error(work: Path) -> None:
    for path in sorted((work / "errors").glob("*.json")):
        record = read_json(path)
        if "what" in record:
            kind = UserError if record["exit_code"] == UserError.exit_code else RunFailed
            raise kind(record["what"], where=record["where"], remedy=record["remedy"])


def _unfinished(executor: _Executor, missing: list[int]) -> RunFailed:
    """One line of tasks that ended without a result: the first error that one left, or else the last line of
    its log."""
    errors = sorted((executor.work / "errors").glob("*.json"))
    rank = int(errors[0].stem) if errors else missing[0]
    log, last_words = executor.log(rank), "nothing"
    if errors:
        last_words = read_json(errors[0])["error"]
    else:
        with suppress(FileNotFoundError):
            last_words = (log.read_text(errors="replace").strip().splitlines() or [last_words])[-1]
    what = (
        f"{len(missing)} of {executor.tasks} tasks ended without a result; the last that task {rank} said:"
        f" {last_words[:200]}"
    )
    return RunFailed(what, where=log, remedy=_AGAIN)


@contextmanager
def _stderr_into(descriptor: int) -> Iterator[None]:
    """datatrove lets sbatch write to standard error; the reason for a refusal belongs into our one line."""
    sys.stderr.flush()
    saved = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
