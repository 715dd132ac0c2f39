"""Tasks as array jobs of a SLURM cluster, submitted by submitit and watched here: errors are reported here,
killed tasks submitted again.

A phase's job has a name made from its work directory. So whoever comes back after losing the connection waits
for the tasks that are still in the queue instead of submitting them a second time.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from biobert_scale.config import SlurmConfig
from biobert_scale.corpus.completion import COMPLETIONS, incomplete, picklable, run_task
from biobert_scale.errors import RunFailed, UserError, from_os_error
from biobert_scale.files import make_directory, write_atomically

_log = logging.getLogger(__name__)
_FIRST_LOOK_SECONDS = 0.5
_SILENCE_SECONDS = 600
"""How long the queue may give no answer (SLURM's controller restarts now and then)."""
_AGAIN = "run the same command again: finished tasks are kept"
_CHANGE = "change the options for SLURM (--partition, --time, --memory-gib, ...)"
_HOPELESS = ("PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "launch failed requeued held")
"""Reasons for which SLURM keeps a task in the queue and never starts it."""
_LOGS, _ERRORS, _FUNCTION = "slurm_logs", "errors", "function.pickle"


def require_slurm() -> None:
    """Check that SLURM's commands are there.

    Raises:
        UserError: they are not.
    """
    missing = [command for command in ("sbatch", "squeue", "scancel") if shutil.which(command) is None]
    if missing:
        remedy = "run it where jobs are submitted (a login node), or use --executor local"
        raise UserError(f"no {', '.join(missing)} on the PATH", where="--executor slurm", remedy=remedy)


def run_on_slurm(
    function: Callable[[int], None],
    *,
    tasks: int,
    work: Path,
    config: SlurmConfig,
    show: Callable[[int, str], None],
) -> None:
    """Run every task that has not completed before in an element of an array job, and wait for all of them;
    see `run_tasks`. A mistake that one task finds in its input cancels the others.

    Args:
        show: called with the number of completed tasks, and the states of those in the queue.
    """
    require_slurm()
    work = work.resolve()
    name = f"biobert-{work.name.strip('.')}-{hashlib.sha256(str(work).encode()).hexdigest()[:8]}"
    shutil.rmtree(work / _ERRORS, ignore_errors=True)  # of an earlier run
    write_atomically(work / _FUNCTION, pickle.dumps(function))
    make_directory(work / COMPLETIONS)
    logs: dict[int, Path] = {}
    submissions, pause = 0, _FIRST_LOOK_SECONDS
    try:
        if _queue(name):
            _log.info("waiting for the tasks of an earlier call, which are still in the queue (%s)", name)
        while True:
            states = _queue(name)
            # A change of our own makes an NFS client fetch the directory anew.
            NamedTemporaryFile(dir=work / COMPLETIONS).close()
            missing = incomplete(work, tasks)
            queued = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            show(tasks - len(missing), queued)
            _raise_mistake(work, states)
            if states:
                time.sleep(pause)
                pause = min(1.5 * pause, config.poll_seconds)
            elif not missing:
                return
            elif submissions > config.retries:
                raise _unfinished(missing, tasks, work, logs)
            else:
                if submissions:
                    _log.warning("%d tasks ended without a result: submitting them again", len(missing))
                logs = _submit(missing, work, name, config)
                submissions, pause = submissions + 1, _FIRST_LOOK_SECONDS
    except BaseException as reason:
        if not isinstance(reason, RunFailed) and _queue(name):
            _log.info("cancelling the tasks that are queued or running")
        subprocess.run(["scancel", f"--name={name}"], stderr=subprocess.DEVNULL)
        raise


def _submit(missing: list[int], work: Path, name: str, config: SlurmConfig) -> dict[int, Path]:
    """Submit the missing tasks as one array job; returns where SLURM writes down what each of them prints."""
    from submitit import SlurmExecutor  # sets up logging as it is imported
    from submitit.core.utils import FailedJobError

    shutil.rmtree(work / _ERRORS, ignore_errors=True)
    options = (option.removeprefix("--").partition("=")[::2] for option in config.sbatch)
    executor = SlurmExecutor(work / _LOGS)
    executor.update_parameters(
        job_name=name,
        partition=config.partition or None,
        cpus_per_task=config.cpus_per_task,
        mem_per_cpu=f"{-(-config.memory_gib // config.cpus_per_task)}G",
        array_parallelism=config.tasks,
        setup=["set -e", config.setup],
        stderr_to_stdout=True,
        use_srun=False,  # one process a task: the batch step is enough
        wckey=None,
        additional_parameters={
            "time": config.time,  # submitit's own takes minutes only
            "requeue": True,  # when a node fails
            **{option: value or True for option, value in options},
        },
    )
    several = -(-len(missing) // config.max_array)
    elements = [missing[start : start + several] for start in range(0, len(missing), several)]
    try:
        with redirect_stderr(io.StringIO()):  # the reason for a refusal belongs into our one line
            jobs = executor.map_array(_run_element, [work] * len(elements), elements)
    except FailedJobError as refusal:
        lines = str(refusal).strip().splitlines() or ["sbatch failed"]
        what = lines[-1].removeprefix("sbatch: error: ")
        raise UserError(what, where=work / _LOGS, remedy=_CHANGE) from None
    job = jobs[0].job_id.partition("_")[0]
    _log.info("SLURM job %s (%s): %d tasks, at most %d at once", job, name, len(missing), config.tasks)
    return {rank: job.paths.stdout for job, ranks in zip(jobs, elements, strict=True) for rank in ranks}


def _run_element(work: Path, ranks: list[int]) -> None:
    """On a node: run some tasks, and leave their errors where the submitting process finds them."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit ignores it: scancel would wait half a minute
    function = pickle.loads((work / _FUNCTION).read_bytes())
    errors = []
    for rank in ranks:
        try:
            run_task(function, rank, work)
        except Exception as error:
            errors.append(picklable(error))
            write_atomically(work / _ERRORS / f"{rank:05d}.pickle", pickle.dumps(errors[-1]))
    if errors:
        raise errors[0]  # for the log, and for SLURM to know of


def _queue(name: str) -> Counter[str]:
    """How many tasks of a name are in the queue, by state and, of those that wait, SLURM's reason."""
    silent_since = time.monotonic()
    while True:
        command = ["squeue", "--noheader", "--array", f"--name={name}", "--format=%T: %r"]
        asked = subprocess.run(command, capture_output=True, text=True)
        if not asked.returncode:
            return Counter(line.removesuffix(": None") for line in asked.stdout.splitlines())
        if time.monotonic() > silent_since + _SILENCE_SECONDS:
            remedy = f"{asked.stderr.strip()}; {_AGAIN}"
            raise RunFailed("SLURM does not answer", where="squeue", remedy=remedy)
        _log.warning("squeue: %s", asked.stderr.strip())
        time.sleep(_SILENCE_SECONDS / 20)


def _errors(work: Path) -> dict[int, Exception]:
    """The errors that tasks of the newest job have left, by rank."""
    paths = sorted((work / _ERRORS).glob("*.pickle"))
    return {int(path.stem): pickle.loads(path.read_bytes()) for path in paths}


def _raise_mistake(work: Path, states: Iterable[str]) -> None:
    """Raise what no other try would mend."""
    for state in states:
        if state.endswith(_HOPELESS):
            what = f"SLURM never starts these tasks ({state})"
            raise UserError(what, where=work / _LOGS, remedy=_CHANGE)
    for error in _errors(work).values():
        known = from_os_error(error) if isinstance(error, OSError) else error
        if isinstance(known, UserError):
            raise known


def _unfinished(missing: list[int], tasks: int, work: Path, logs: dict[int, Path]) -> RunFailed:
    """Tasks ended without a result: the first error that one left, else the last line of its log."""
    errors = _errors(work)
    rank, last_words = min(errors, default=missing[0]), "nothing"
    if errors:
        last_words = f"{type(errors[rank]).__name__}: {errors[rank]}"
    else:
        with suppress(FileNotFoundError):
            last_words = (logs[rank].read_text(errors="replace").strip().splitlines() or [last_words])[-1]
    what = f"{len(missing)} of {tasks} tasks ended without a result; the last that task {rank} said: "
    return RunFailed(what + last_words[:200], where=logs[rank], remedy=_AGAIN)
