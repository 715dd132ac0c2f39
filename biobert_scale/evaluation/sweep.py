"""Tasks x seeds x weights: every run in a directory of its own, so that a killed sweep resumes; one after the
other here, or as the elements of an array of SLURM jobs. A run that fails is named, and the others are kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from biobert_scale.config import FinetuneConfig, GridConfig, SlurmConfig
from biobert_scale.corpus.completion import COMPLETIONS, incomplete
from biobert_scale.corpus.slurm import run_on_slurm
from biobert_scale.corpus.task_runner import Progress
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.evaluation.finetune import finetune, model_files, read_metrics
from biobert_scale.evaluation.prepared import STAGE, task_of
from biobert_scale.evaluation.protocols import protocol_of
from biobert_scale.evaluation.records import FinetunedMetrics
from biobert_scale.evaluation.tasks.spec import Task
from biobert_scale.files import MANIFEST, describe_inputs, fingerprint, read_manifest, write_atomically
from biobert_scale.training.ranks import this_process

logger = logging.getLogger(__name__)
_FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One fine-tuning of a sweep: a task with a seed, its grid included."""

    task: str
    seed: int
    directory: Path
    config: FinetuneConfig
    grid: GridConfig
    protocol: str = ""
    random_weights: bool = False

    @property
    def name(self) -> str:
        return f"{self.task} {self.directory.name}"


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What became of a sweep."""

    finished: list[FinetunedMetrics]
    failed: dict[str, str] = field(default_factory=dict)
    """Names of runs, and why each has no result."""


def sweep(
    prepared: Path,
    tasks: Sequence[str],
    model: Path,
    output: Path,
    config: FinetuneConfig,
    *,
    seeds: Sequence[int],
    protocol: str = "",
    grid: GridConfig = GridConfig(),
    random_weights: Sequence[bool] = (False,),
    slurm: SlurmConfig | None = None,
    overwrite: bool = False,
) -> list[FinetunedMetrics]:
    """Fine-tune a model on every task with every seed; what is finished is read back.

    Args:
        output: a run's directory is `<output>/<task>/<run>` (`run_name`).
        random_weights: which weights to start from: the model's (False), fresh ones (True), or both.
        slurm: see `run_all`.

    Returns:
        The runs' metrics.

    Raises:
        UserError: see `run_all`; unknown tasks and protocols are refused before the first run.
        RunFailed: runs failed, after all others were done.
    """
    check_seeds(seeds)
    if not tasks:
        raise UserError("no task", where="--task", remedy="name one or more")
    specs = {task: task_of(prepared, task) for task in tasks}
    for spec in specs.values():
        protocol_of(spec, protocol)
    runs = [
        Run(
            task=task,
            seed=seed,
            directory=output / task / run_name(specs[task], protocol, seed=seed, random_weights=fresh),
            config=config,
            grid=grid,
            protocol=protocol,
            random_weights=fresh,
        )
        for task in tasks
        for seed in seeds
        for fresh in random_weights
    ]
    swept = run_all(runs, prepared, model, output, slurm=slurm, overwrite=overwrite)
    if swept.failed:
        named = "; ".join(f"{name}: {reason}" for name, reason in swept.failed.items())
        what = f"{len(swept.failed)} of {len(runs)} runs failed ({named})"
        raise RunFailed(what, where=output, remedy="run the same command again: finished runs are kept")
    return swept.finished


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse a seed that is there twice."""
    if repeated := {seed for seed in seeds if list(seeds).count(seed) > 1}:
        raise UserError(f"seed {min(repeated)} is given twice", where="--seed", remedy="give each seed once")


def run_name(task: Task, protocol: str, *, seed: int, random_weights: bool) -> str:
    """`pretrained-seed1`, `random-seed1`; a protocol that is not the task's first one is named:
    `pretrained-biobert-seed1`."""
    kind = "random" if random_weights else "pretrained"
    named = "" if protocol in ("", protocol_of(task).name) else f"{protocol}-"
    return f"{kind}-{named}seed{seed}"


def run_all(
    runs: Sequence[Run],
    prepared: Path,
    model: Path,
    output: Path,
    *,
    slurm: SlurmConfig | None = None,
    overwrite: bool = False,
) -> Swept:
    """Do every run that is not finished; one that fails stops no other.

    Args:
        output: with `slurm`, markers and logs are kept in `.sweep` below it.
        slurm: do each run in an element of an array job; see `run_on_slurm`.

    Raises:
        UserError: a mistake that a run found in its input or settings; no further run is begun.
        RunFailed: SLURM does not answer. Under a launcher with several ranks, or of a single run, also its
            failure.
    """
    if slurm is not None:  # a node may have another working directory
        prepared, model, output = (path.resolve() for path in (prepared, model, output))
        runs = [replace(run, directory=run.directory.resolve()) for run in runs]
    job = _Job(runs=tuple(runs), prepared=prepared, model=model, overwrite=overwrite)
    costs = [_cost(prepared, run) for run in runs]
    with Progress("runs", len(runs)) as progress:
        if slurm is None:
            failed = _run_here(job, costs, progress)
        else:
            failed = _run_on_slurm(job, output, costs, slurm, progress)
    return Swept(
        finished=[read_metrics(run.directory) for number, run in enumerate(runs) if number not in failed],
        failed={runs[number].name: reason for number, reason in sorted(failed.items())},
    )


@dataclass(frozen=True, kw_only=True)
class _Job:
    """All runs of a sweep, for whoever does one of them."""

    runs: tuple[Run, ...]
    prepared: Path
    model: Path
    overwrite: bool

    def do(self, number: int) -> None:
        run = self.runs[number]
        finetune(
            self.prepared,
            run.task,
            self.model,
            run.directory,
            run.config,
            seed=run.seed,
            protocol=run.protocol,
            grid=run.grid,
            random_weights=run.random_weights,
            overwrite=self.overwrite,
        )

    def keep(self, number: int, error: Exception) -> str:
        """Log a failure; returns its reason in one line."""
        reason = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:300]
        name = self.runs[number].name
        logger.warning("%s failed: %s", name, reason, exc_info=not isinstance(error, UserError))
        return reason


def _run_here(job: _Job, costs: Sequence[float], progress: Progress) -> dict[int, str]:
    """One after the other; returns why runs failed."""
    failed: dict[int, str] = {}
    alone = this_process().world_size == 1
    started, total = time.monotonic(), len(costs)
    for number in range(total):
        try:
            job.do(number)
        except Exception as error:
            # Ranks that went on alone would wait for each other for ever.
            if not alone or _is_mistake(error) or total == 1:
                raise
            failed[number] = job.keep(number, error)
        if is_first_rank():
            done = sum(costs[: number + 1])
            seconds = seconds_to_go(time.monotonic() - started, done, sum(costs) - done)
            progress.show(number + 1, _note(seconds, len(failed)))
    return failed


def _run_on_slurm(
    job: _Job, output: Path, costs: Sequence[float], slurm: SlurmConfig, progress: Progress
) -> dict[int, str]:
    """Each in an element of an array job; returns why runs have no result."""
    total, work = len(job.runs), _work_directory(job, output)
    failures = work / _FAILED
    for stale in failures.glob("*.txt"):  # of an earlier call
        stale.unlink()
    for number in set(range(total)).difference(incomplete(work, total)):
        if not _is_finished(job.runs[number]):  # it failed, or its directory was deleted
            (work / COMPLETIONS / f"{number:05d}").unlink()
    started, before = time.monotonic(), set(incomplete(work, total))

    def show(completed: int, queued: str) -> None:
        missing = set(incomplete(work, total))
        done, rest = (sum(costs[number] for number in part) for part in (before - missing, missing))
        seconds = seconds_to_go(time.monotonic() - started, done, rest)
        note = _note(seconds, len(list(failures.glob("*.txt"))))
        progress.show(completed, ", ".join(filter(None, (queued, note))))

    function, ended = partial(_do_or_keep, job, failures), ""
    try:
        run_on_slurm(function, tasks=total, work=work, config=slurm, show=show)
    except RunFailed as error:
        if len(missing := incomplete(work, total)) == total:
            raise
        ended = error.what if len(missing) == 1 else "ended without a result"
        logger.warning("%s", error)
    failed = {number: ended for number in incomplete(work, total) if not _is_finished(job.runs[number])}
    return failed | {int(path.stem): path.read_text(encoding="utf-8") for path in failures.glob("*.txt")}


def _work_directory(job: _Job, output: Path) -> Path:
    """Of these runs of this model on these data: others have elements of their own."""
    settings = [asdict(run) | {"directory": str(run.directory)} for run in job.runs]
    inputs = describe_inputs([job.prepared, *model_files(job.model)])
    return output / ".sweep" / fingerprint([settings, inputs])[:16]


def _do_or_keep(job: _Job, failures: Path, number: int) -> None:
    """On a node: a failure is written down and ends this run alone; a mistake in the input ends all."""
    try:
        job.do(number)
    except Exception as error:
        if _is_mistake(error):
            raise
        write_atomically(failures / f"{number:05d}.txt", job.keep(number, error))


def _is_mistake(error: Exception) -> bool:
    return isinstance(error, UserError) and not isinstance(error, RunFailed)


def _is_finished(run: Run) -> bool:
    return (run.directory / MANIFEST).is_file()


def seconds_to_go(elapsed: float, done: float, rest: float) -> float | None:
    """How long the rest takes at the speed so far; None before anything is done."""
    return elapsed * rest / done if done else None


def _note(seconds: float | None, failed: int) -> str:
    parts = [f"{failed} failed"] if failed else []
    if seconds:
        minutes = round(seconds / 60)
        parts.append(f"about {minutes // 60} h {minutes % 60:02d} min to go")
    return ", ".join(parts)


def _cost(prepared: Path, run: Run) -> float:
    """Words that a run reads, about: what it takes beside the other runs of a sweep."""
    counts: Mapping[str, Any] = read_manifest(prepared, STAGE).counts[run.task]["train"]
    units = ("sentences",) if task_of(prepared, run.task).kind == "entities" else ("rows", "documents")
    inputs = next((counts[unit] for unit in units if unit in counts), 1)
    grid = run.grid
    epochs = sum(grid.epochs or (run.config.epochs,))
    return float(
        inputs
        * counts.get("median_words", 1)
        * epochs
        * max(len(grid.learning_rate), 1)
        * max(len(grid.batch_size), 1)
    )
