"""The options of `evaluate ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from biobert_scale.commands.common import print_counts
from biobert_scale.config import (
    FinetuneConfig,
)


def evaluate_prepare(*, benchmarks: Path, output: Path, overwrite: bool = False) -> None:
    """Read the benchmarks' original files (BC5CDR, NCBI-disease, HoC), validate them, and write tokenised splits.

    Args:
        benchmarks: directory that holds them, at any depth.
        output: directory to write.
        overwrite: replace what other files left there.
    """
    from biobert_scale.evaluation.tasks import prepare

    print_counts(prepare(benchmarks, output, overwrite=overwrite))


def evaluate_baselines(*, prepared: Path, output: Path, overwrite: bool = False) -> None:
    """Train and score the simple baselines of every prepared benchmark.

    Args:
        prepared: a directory that `evaluate prepare` wrote.
        output: directory to write.
        overwrite: replace what other data left there.
    """
    from biobert_scale.evaluation.baselines import run_baselines

    print_counts(run_baselines(prepared, output, overwrite=overwrite))


def evaluate_finetune(
    *,
    prepared: Path,
    task: str,
    model: Path,
    output: Path,
    settings: Annotated[FinetuneConfig, tyro.conf.arg(name="")] = FinetuneConfig(),
    seed: int = 1,
    random_weights: bool = False,
    save_model: bool = False,
    overwrite: bool = False,
) -> None:
    """Fine-tune a model on one benchmark, choose the epoch on dev, and score it once on test.

    Args:
        prepared: a directory that `evaluate prepare` wrote.
        task: BC5CDR-chem, BC5CDR-disease, NCBI-disease or HoC.
        model: a Hugging Face BERT directory.
        output: directory to write: metrics.json and predictions.tsv.
        settings: the budget.
        seed: keys the order, dropout and fresh weights.
        random_weights: start from random weights of the model's shape.
        save_model: keep the fine-tuned weights in OUTPUT/model, for `export` and `tag`.
        overwrite: replace what other data or settings left there.
    """
    from biobert_scale.evaluation.finetune import finetune

    metrics = finetune(prepared, task, model, output, settings, seed=seed, random_weights=random_weights, save_model=save_model, overwrite=overwrite)
    print(f"{task}, {metrics['kind']}, seed {seed}: {metrics['score_name']} {metrics['score']:.2f}")


def evaluate_table(runs: Positional[Path], /) -> None:
    """Print the means over seeds of every finished run below a directory, and published scores for reference.

    Args:
        runs: directory that holds them, at any depth.
    """
    from biobert_scale.evaluation.table import render_table, score_table

    print(render_table(score_table(runs)))
