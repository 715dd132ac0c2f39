"""Tasks x seeds x weights: every run in a directory of its own, so that a killed sweep resumes and an array
of jobs shares one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from biobert_scale.config import FinetuneConfig, GridConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.prepared import task_of
from biobert_scale.evaluation.protocols import protocol_of
from biobert_scale.evaluation.records import FinetunedMetrics
from biobert_scale.evaluation.tasks.spec import Task

logger = logging.getLogger(__name__)


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
    overwrite: bool = False,
) -> list[FinetunedMetrics]:
    """Fine-tune a model on every task with every seed; what is finished is read back.

    Args:
        output: a run's directory is `<output>/<task>/<run>` (`run_name`).
        random_weights: which weights to start from: the model's (False), fresh ones (True), or both.

    Returns:
        The runs' metrics.

    Raises:
        UserError: see `finetune`; unknown tasks and protocols are refused before the first run.
    """
    if repeated := {seed for seed in seeds if list(seeds).count(seed) > 1}:
        raise UserError(f"seed {min(repeated)} is given twice", where="--seed", remedy="give each seed once")
    if not tasks:
        raise UserError("no task", where="--task", remedy="name one or more")
    specs = {task: task_of(prepared, task) for task in tasks}
    for spec in specs.values():
        protocol_of(spec, protocol)
    run = partial(finetune, prepared, protocol=protocol, grid=grid, overwrite=overwrite)
    jobs = [(task, seed, fresh) for task in tasks for seed in seeds for fresh in random_weights]
    results = []
    for task, seed, fresh in tqdm(jobs, desc="runs", disable=None if len(jobs) > 1 else True):
        directory = output / task / run_name(specs[task], protocol, seed=seed, random_weights=fresh)
        results.append(run(task, model, directory, config, seed=seed, random_weights=fresh))
    return results


def run_name(task: Task, protocol: str, *, seed: int, random_weights: bool) -> str:
    """`pretrained-seed1`, `random-seed1`; a protocol that is not the task's first one is named:
    `pretrained-biobert-seed1`."""
    kind = "random" if random_weights else "pretrained"
    named = "" if protocol in ("", protocol_of(task).name) else f"{protocol}-"
    return f"{kind}-{named}seed{seed}"
