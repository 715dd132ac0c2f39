"""All tasks of BLURB with one model, each under its published protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from biobert_scale.config import BLURB_GRID, FinetuneConfig, GridConfig, SlurmConfig
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import UserError
from biobert_scale.evaluation.blurb_table import BlurbTable, blurb_table, blurb_tasks, render_markdown
from biobert_scale.evaluation.finetune import name_of_model
from biobert_scale.evaluation.prepared import prepared_tasks, task_directory, why_not_comparable
from biobert_scale.evaluation.sweep import Run, check_seeds, run_all, run_name
from biobert_scale.evaluation.table import option_text
from biobert_scale.evaluation.tasks.spec import Task
from biobert_scale.files import write_atomically, write_json


def blurb(
    prepared: Path,
    model: Path,
    output: Path,
    settings: FinetuneConfig = FinetuneConfig(),
    *,
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (),
    grid: GridConfig = BLURB_GRID,
    slurm: SlurmConfig | None = None,
    overwrite: bool = False,
) -> BlurbTable:
    """Fine-tune a model on BLURB's tasks and make the table; what is finished is read back.

    Args:
        output: for the runs (see `sweep`), `blurb.json` and `blurb.md`.
        settings: the budget. Learning rate, batch size and epochs are the grid's; where it has no epochs, the
            task's.
        tasks: all that were prepared, by default.
        seeds: by default from 1 to the number of runs that the published score is the mean of.
        slurm: see `run_all`.

    Raises:
        UserError: a name that is no task of BLURB or was not prepared, no task at all, a budget that the grid
            decides; see `run_all`.
    """
    known, there = blurb_tasks(), set(prepared_tasks(prepared))
    chosen = tasks or [name for name in known if name in there]
    for name in chosen:
        if name not in known:
            remedy = f"choose among {', '.join(known)}"
            raise UserError(f"{name} is no task of BLURB", where="--tasks", remedy=remedy)
        task_directory(prepared, name)
    if not chosen:
        remedy = f"prepare the files of any of {', '.join(known)}"
        raise UserError("no task of BLURB was prepared", where=prepared, remedy=remedy)
    check_seeds(seeds)
    _refuse_settings(settings)
    last = max(known[name].seeds for name in chosen)
    runs = [  # every task once before any has a second seed: there is soon a table
        _run(known[name], seed, output, settings, grid)
        for seed in seeds or range(1, last + 1)
        for name in chosen
        if seeds or seed <= known[name].seeds
    ]
    swept = run_all(runs, prepared, model, output, slurm=slurm, overwrite=overwrite)
    problems = {name: "its files were not prepared" for name in known if name not in there}
    problems |= {name: "not among --tasks" for name in known if name in there.difference(chosen)}
    problems |= {name: why for name in chosen if (why := why_not_comparable(prepared, name))}
    failed: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        if run.name in swept.failed:
            failed[run.task].append(f"seed {run.seed}: {swept.failed[run.name]}")
    changed = _changed(settings, grid)
    table = blurb_table(name_of_model(model), swept.finished, problems, failed, changed)
    if is_first_rank():
        write_json(output / "blurb.json", table)
        write_atomically(output / "blurb.md", render_markdown(table))
    return table


def _refuse_settings(settings: FinetuneConfig) -> None:
    for name in ("learning_rate", "batch_size", "epochs"):
        if getattr(settings, name) != getattr(FinetuneConfig(), name):
            option = name.replace("_", "-")
            what = f"--{option} where dev chooses among several"
            raise UserError(what, where="command line", remedy=f"give --grid.{option} instead")


def _changed(settings: FinetuneConfig, grid: GridConfig) -> list[str]:
    """The options that are not as published."""
    usual = replace(FinetuneConfig(), keep_weights=settings.keep_weights, precision=settings.precision)
    pairs = ((asdict(settings), asdict(usual)), (asdict(grid), asdict(BLURB_GRID)))
    return [
        option_text(name, value)
        for given, published in pairs
        for name, value in given.items()
        if value != published[name]
    ]


def _run(task: Task, seed: int, output: Path, settings: FinetuneConfig, grid: GridConfig) -> Run:
    return Run(
        task=task.name,
        seed=seed,
        directory=output / task.name / run_name(task, "", seed=seed, random_weights=False),
        config=replace(settings, epochs=task.epochs or settings.epochs),
        grid=grid,
    )
