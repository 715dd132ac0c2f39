"""Does a setting of `compute` change what is learned? The same model trained from the same weights on the
same samples, each setting on and off."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.curves.page import curves_figure, curves_page
from benchmarks.curves.records import Comparison, CurvesResult
from benchmarks.learning.table import shortened
from benchmarks.result import conditions, device_name, write_result
from benchmarks.train_step.contestants import SETTINGS, stepper
from benchmarks.train_step.load import Load, load_of, this_device
from biobert_scale.ranges import within
from biobert_scale.recipes import load_config, recipe_names
from biobert_scale.training.schedule import learning_rate

_LIBRARIES = ("torch", "transformers", "accelerate", "numpy")
_log = logging.getLogger(__name__)

EARLY_TOLERANCE, STEP_TOLERANCE, END_TOLERANCE = 1e-5, 1e-3, 2e-4
"""Of a rewriting, in fp32 and without dropout: relative difference of a step's loss in the first quarter of
the steps, of any step's, and of the mean over the last quarter.

Training enlarges rounding, once the loss falls fast: on a model of hidden size 128, 200 steps of 16 sequences
with every setting off were some 1e-7 apart for 140 steps, 1.3e-4 at most, and 7e-6 at the end. A second beta
of 0.981 in place of 0.98 parted a smaller one by 3.6e-3, where rounding alone never went beyond 3e-7.
"""
_DROPOUT = 0.1
_RANDOM = "attention and dropout as PyTorch has them"
"""The settings that draw other random numbers where there is dropout."""
_STANDARD_ERRORS = 4.0
"""Of the difference of two means over seeds: with four seeds each, chance alone goes beyond it once in 140
times (Student's t, 6 degrees of freedom)."""


@within(steps="[4, 1e6]", seeds="[2, 1000]")
def curves(
    *,
    tokens: Path,
    output: Path,
    config: str = "demo-real",
    steps: int = 200,
    seeds: int = 4,
    compiled: bool = False,
) -> int:
    """Compare the loss curves of a small model with every setting of [compute] on and off.

    Writes dated JSON, Markdown and a picture. Exit code 1: one is out of tolerance.

    Args:
        tokens: finished token shards.
        output: directory of the results.
        config: recipe: a name or the path of a TOML file; trained in fp32, without dropout but where dropout
            is compared.
        steps: optimizer steps of each run, the warm-up shortened in proportion.
        seeds: runs of either kind of dropout.
        compiled: also with torch.compile, which needs a compiler.
    """
    recipe = shortened(load_config(config), steps)
    recipe = replace(
        recipe, training=replace(recipe.training, precision=replace(recipe.training.precision, dtype="fp32"))
    )
    load = load_of(recipe, tokens, steps, "", this_device())
    compared, losses = compare(load, compiled=compiled)
    drawn, drawn_losses = compare_random(load, seeds=seeds)
    compared.append(drawn)
    name = config if config in recipe_names() else Path(config).name
    result: CurvesResult = {
        **conditions(
            f"curves --tokens DIR --config {name} --steps {steps} --seeds {seeds}" + " --compiled" * compiled,
            _LIBRARIES,
        ),
        "device": device_name(f"CPU, {torch.get_num_threads()} thread(s) of torch"),
        "settings": {
            "seed": recipe.seed,
            "vocabulary": load.vocabulary_size,
            "model": recipe.model,
            "data": recipe.data,
            "training": recipe.training,
        },
        "steps": steps,
        "end_steps": _end(steps),
        "seeds": seeds,
        "dropout": _DROPOUT,
        "standard_errors": _STANDARD_ERRORS,
        "rows": compared,
        "curves": losses,
        "dropout_curves": drawn_losses,
    }
    stem = f"curves-{result['date']}"
    page = curves_page(result, recipe, figure=f"{stem}.png")
    write_result(output, stem, result, page, curves_figure(result))
    print(page)
    return 0 if all(one.within for one in compared) else 1


def compare(load: Load, *, compiled: bool = False) -> tuple[list[Comparison], dict[str, list[float]]]:
    """Every setting changed, without dropout.

    Returns:
        The comparisons, and the loss of each step by setting, "as shipped" first.
    """
    load = _with_dropout(load, 0.0)
    curves = {"as shipped": curve(load, {})}
    # Without dropout both kinds of it are one; `compare_random` is about them.
    settings = {
        setting: changes
        for setting, changes in SETTINGS.items()
        if setting != _RANDOM and (compiled or setting != "compiled")
    }
    for setting, changes in tqdm(settings.items(), desc="settings", disable=None):
        curves[setting] = curve(load, changes)
        last, shipped = curves[setting][-1], curves["as shipped"][-1]
        _log.info("%s: a loss of %.4f at the end, as shipped %.4f", setting, last, shipped)
    return [
        judged(setting, changes, curves["as shipped"], curves[setting])
        for setting, changes in settings.items()
    ], curves


def judged(setting: str, changes: dict[str, Any], shipped: list[float], other: list[float]) -> Comparison:
    """Compare the losses of each step of two runs that should be the same but for rounding."""
    tolerances = (EARLY_TOLERANCE, STEP_TOLERANCE, END_TOLERANCE)
    return _comparison(setting, changes, np.array(shipped), np.array(other), tolerances)


def compare_random(load: Load, *, seeds: int) -> tuple[Comparison, dict[str, list[list[float]]]]:
    """Both kinds of dropout, each with several seeds: their means at the end, beside how far seeds part
    them.

    Returns:
        The comparison, and the loss of each step by kind and seed.
    """
    load, changes = _with_dropout(load, _DROPOUT), SETTINGS[_RANDOM]
    kinds: dict[str, dict[str, Any]] = {"as shipped": {}, _RANDOM: changes}
    runs = [(kind, seed) for seed in range(seeds) for kind in kinds]
    curves: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for kind, seed in tqdm(runs, desc="seeds of dropout", disable=None):
        curves[kind].append(curve(load, kinds[kind], seed=seed))
    return judged_random(f"{_RANDOM}, with dropout", changes, *curves.values()), curves


def judged_random(
    setting: str, changes: dict[str, Any], shipped: list[list[float]], other: list[list[float]]
) -> Comparison:
    """Compare the runs of several seeds with those of as many: curves that part by chance, whose means should
    not.

    Args:
        shipped, other: losses by seed and step.
    """
    last = _end(len(shipped[0]))
    ends = [np.array(runs)[:, -last:].mean(axis=1) for runs in (shipped, other)]
    error = (sum(end.var(ddof=1) for end in ends) / len(shipped)) ** 0.5
    tolerances = (None, None, float(_STANDARD_ERRORS * error / ends[0].mean()))
    return _comparison(setting, changes, np.mean(shipped, axis=0), np.mean(other, axis=0), tolerances)


def _comparison(
    setting: str,
    changes: dict[str, Any],
    shipped: np.ndarray,
    other: np.ndarray,
    tolerances: tuple[float | None, float | None, float],
) -> Comparison:
    """Of two curves (steps,): how far they are apart early, at most and at the end, and may be."""
    apart, last = np.abs(other / shipped - 1), _end(len(shipped))
    early, largest = float(apart[:last].max()), float(apart.max())
    end = float(other[-last:].mean() / shipped[-last:].mean() - 1)
    pairs = zip((early, largest, abs(end)), tolerances, strict=True)
    return Comparison(
        switch=setting,
        changes=changes,
        early=early,
        largest=largest,
        at_step=int(apart.argmax()) + 1,
        end=end,
        early_tolerance=tolerances[0],
        tolerance=tolerances[1],
        end_tolerance=tolerances[2],
        within=all(tolerance is None or found <= tolerance for found, tolerance in pairs),
    )


def curve(load: Load, changes: dict[str, Any], *, seed: int = 0) -> list[float]:
    """Train from the recipe's initial weights over the load's steps; the loss of each, MLM and NSP together.

    Args:
        changes: of `compute`.
        seed: of dropout.
    """
    config = replace(load.config, compute=replace(load.config.compute, **changes))
    take, training = stepper(replace(load, config=config)), config.training
    losses = []
    for number in range(len(load.steps)):
        torch.manual_seed(
            seed * len(load.steps) + number
        )  # as training does: of the step, whatever was drawn before it
        rate = learning_rate(number, peak=training.optimizer.learning_rate, schedule=training.schedule)
        (mlm, nsp, *_), step = take(number, rate).sums.tolist(), load.steps[number]
        losses.append(mlm / step.global_predictions + nsp / step.global_sequences)
    return losses


def _with_dropout(load: Load, probability: float) -> Load:
    model = replace(
        load.config.model, hidden_dropout_prob=probability, attention_probs_dropout_prob=probability
    )
    return replace(load, config=replace(load.config, model=model))


def _end(steps: int) -> int:
    """How many of the last steps are averaged, and of the first looked at for themselves: 50 of 200."""
    return max(1, steps // 4)
