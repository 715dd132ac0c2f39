"""The options of `evaluate ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from biobert_scale.commands.common import cluster, report_stage
from biobert_scale.config import BLURB_GRID, FinetuneConfig, GridConfig, SlurmConfig
from biobert_scale.display import show, table, written
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import UserError
from biobert_scale.ranges import within


def evaluate_prepare(
    *,
    output: Path,
    benchmarks: Path | None = None,
    task: tuple[str, ...] = (),
    download: bool = False,
    sources: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Make tokenised, validated splits of the benchmarks' original files, or of data of your own.

    Args:
        output: directory to write; counts.html in it is a page of what was counted.
        benchmarks: directory that holds the files, at any depth; without it, each task must be a TOML file
            with its data beside it.
        task: names of benchmarks, and TOML files of tasks of your own; by default every benchmark that is
            there.
        download: first fetch into `benchmarks` what is missing of BC5CDR and NCBI-disease, from their
            publishers, with checksums.
        sources: TOML file with other addresses (path, url, sha256), as evaluation/benchmarks.toml in the
            package.
        overwrite: replace what other files left there.
    """
    from biobert_scale.evaluation.prepare import prepare
    from biobert_scale.report.prepared import PAGE, write_prepared_page

    if download or sources is not None:
        from biobert_scale.evaluation.download import download as fetch
        from biobert_scale.evaluation.download import read_sources

        if benchmarks is None:
            remedy = "add --benchmarks with the directory to fetch them into"
            raise UserError("no directory to download to", where="--benchmarks", remedy=remedy)
        fetch(benchmarks, read_sources(sources))
    manifest = prepare(benchmarks, output, overwrite=overwrite, tasks=task)
    if not (output / PAGE).exists():
        write_prepared_page(output)
    report_stage(manifest, output)


def evaluate_baselines(*, prepared: Path, output: Path, overwrite: bool = False) -> None:
    """Train and score dictionary, CRF and TF-IDF baselines on every prepared benchmark.

    Args:
        prepared: a directory that `evaluate prepare` wrote.
        output: directory to write.
        overwrite: replace what other data left there.
    """
    from biobert_scale.evaluation.baselines import run_baselines

    report_stage(run_baselines(prepared, output, overwrite=overwrite), output)


@within(seed="[0, 2147483647]")
def evaluate_finetune(
    *,
    prepared: Path,
    task: tuple[str, ...],
    model: Path,
    output: Path,
    settings: Annotated[FinetuneConfig, tyro.conf.arg(name="")] = FinetuneConfig(),
    seed: tuple[int, ...] = (1,),
    protocol: str = "",
    grid: GridConfig = GridConfig(),
    random_weights: bool = False,
    executor: Literal["local", "slurm"] = "local",
    slurm: SlurmConfig = SlurmConfig(),
    overwrite: bool = False,
) -> None:
    """Fine-tune and score a model on tasks: seeds, a grid, protocols.

    Settings and epoch are chosen on dev, and each run is scored once on test. One directory per task and
    seed; finished runs are not done again, so the same command goes on where it was stopped. Also under
    accelerate launch and torchrun.

    Args:
        prepared: a directory that `evaluate prepare` wrote.
        task: names of prepared tasks, of any kind.
        model: a Hugging Face BERT directory.
        output: directory to write; a run goes to TASK/pretrained-seedN (or random-seedN): metrics,
            predictions, weights.
        settings: the budget.
        seed: each keys the order, dropout and fresh weights of one run per task.
        protocol: one of the task's (default: its first one). The entity benchmarks have blurb and biobert.
        grid: settings to try, every combination; dev chooses.
        random_weights: start from random weights of the model's shape.
        executor: this process, or array jobs of a SLURM cluster, an element for each task and seed.
        slurm: the array jobs.
        overwrite: replace what other data or settings left there.
    """
    from biobert_scale.evaluation.score_display import overlap_line
    from biobert_scale.evaluation.sweep import sweep

    found = sweep(
        prepared,
        task,
        model,
        output,
        settings,
        seeds=seed,
        protocol=protocol,
        grid=grid,
        random_weights=(random_weights,),
        slurm=cluster(executor, slurm),
        overwrite=overwrite,
    )
    if is_first_rank():
        rows = [
            (
                run["task"],
                run["kind"],
                run["protocol"],
                str(run["seed"]),
                run["score_name"],
                f"{run['score']:.2f}",
            )
            for run in found
        ]
        shown = table(rows, header=("task", "start", "protocol", "seed", "score", "%"))
        overlaps = {run["task"]: overlap_line(run["overlap"]) for run in found if "overlap" in run}
        show(shown, *(f"{name}, test, {line}" for name, line in overlaps.items()), written(output))


@within(seeds="[0, 2147483647]")
def evaluate_blurb(
    *,
    model: Path,
    output: Path,
    prepared: Path = Path("prepared"),
    tasks: tuple[str, ...] = (),
    settings: Annotated[FinetuneConfig, tyro.conf.arg(name="")] = FinetuneConfig(),
    seeds: tuple[int, ...] = (),
    grid: GridConfig = BLURB_GRID,
    executor: Literal["local", "slurm"] = "local",
    slurm: SlurmConfig = SlurmConfig(),
    overwrite: bool = False,
) -> int:
    """Fine-tune and score a model on all of BLURB, and print its table.

    Each task runs under its published protocol. Averages by type of task and published scores are beside the
    model's. Where a task is missing, failed or is not the published one, it is named and there is no total.
    The same command resumes.

    Args:
        model: a Hugging Face BERT directory.
        output: directory to write: blurb.json, blurb.md, and the runs as `evaluate finetune` writes them.
        prepared: a directory that `evaluate prepare` wrote.
        tasks: some of BLURB's (default: all that were prepared).
        settings: the budget, but for what the grid decides.
        seeds: one run of each task for each (default: 1 to 5 or 10, as many as the published means have).
        grid: settings to try, every combination; dev chooses. Without epochs each task has its own number.
        executor: this process, or array jobs of a SLURM cluster, an element for each task and seed.
        slurm: the array jobs.
        overwrite: replace what other data or settings left there.
    """
    from biobert_scale.evaluation.blurb import blurb
    from biobert_scale.evaluation.blurb_table import render

    table = blurb(
        prepared,
        model,
        output,
        settings,
        tasks=tasks,
        seeds=seeds,
        grid=grid,
        slurm=cluster(executor, slurm),
        overwrite=overwrite,
    )
    if is_first_rank():
        show(render(table), "", written(output))
    return int(any(row["failed"] for row in table["tasks"]))


def evaluate_predict(
    run: Positional[Path],
    /,
    *,
    prepared: Path,
    output: Path,
    split: str = "test",
    task: str = "",
    types: tuple[str, ...] = (),
    overwrite: bool = False,
) -> None:
    """Write a fine-tuned model's predictions as CoNLL, PubTator or rows of answers, and their scores.

    Labels come with their probabilities. With `--task`, a tagger is scored on another corpus.

    Args:
        run: a directory that `evaluate finetune` wrote.
        prepared: a directory that `evaluate prepare` wrote.
        output: directory to write.
        split: train, dev or test.
        task: another prepared task of entities (default: the run's own).
        types: with it, MODEL_TYPE=TASK_TYPE of each type of the model that has another name there;
            MODEL_TYPE= leaves its predictions out.
        overwrite: replace what other data left there.
    """
    from biobert_scale.evaluation.predict import predict
    from biobert_scale.evaluation.score_display import score_parts

    found = predict(run, prepared, output, split=split, task=task, types=types, overwrite=overwrite)
    show(*score_parts(found), written(output))


def evaluate_score(
    predictions: Positional[Path],
    /,
    *,
    prepared: Path,
    task: str,
    output: Path,
    name: str = "",
    protocol: str = "",
    split: str = "test",
    overwrite: bool = False,
) -> None:
    """Score a file of predictions, from here or anywhere: CoNLL, PubTator or rows of answers.

    Args:
        predictions: the file.
        prepared: a directory that `evaluate prepare` wrote: the gold.
        task: the prepared task.
        output: directory to write.
        name: the system's name in tables (default: the file's).
        protocol: under which the predictions were made (default: not said, and then no published score stands
            beside theirs).
        split: train, dev or test.
        overwrite: replace what other predictions left there.
    """
    from biobert_scale.evaluation.predict import score
    from biobert_scale.evaluation.score_display import score_parts

    named = {"name": name, "protocol": protocol, "split": split}
    found = score(prepared, task, predictions, output, **named, overwrite=overwrite)
    show(*score_parts(found), written(output))


def evaluate_table(runs: Positional[Path], /, *, output: Path | None = None) -> None:
    """Print means, intervals and comparisons of all scored runs below a directory.

    Means over seeds, with published scores beside them.

    Args:
        runs: directory that holds them, at any depth.
        output: directory to write besides: table.txt, table.json, scores.svg (bars), and steps.svg where
            several checkpoints were scored.
    """
    from biobert_scale.evaluation.table import render_table, score_table, write_table

    scores = score_table(runs)
    show(render_table(scores))
    if output is not None:
        from biobert_scale.files import write_atomically
        from biobert_scale.report.score_charts import score_bars, score_steps

        write_table(scores, output)
        write_atomically(output / "scores.svg", score_bars(scores["rows"]).svg)
        if steps := score_steps(scores["rows"]):
            write_atomically(output / "steps.svg", steps.svg)
        show(written(output))


def evaluate_errors(run: Positional[Path], /, *, prepared: Path, output: Path) -> None:
    """Write a run's errors as an HTML page of highlighted sentences.

    It has every document with a wrong or missing answer.

    Args:
        run: a directory that `evaluate finetune`, `predict` or `baselines` wrote (one system's).
        prepared: the directory that it was scored on.
        output: the page.
    """
    from biobert_scale.report.errors import write_errors

    show(f"written: {write_errors(run, prepared, output)}")
