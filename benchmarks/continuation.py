"""What continuing a run costs in held-out loss: extended, cooled down from the middle, and on a grown corpus,
each beside the run that was so from the start."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.figure import OURS, PEERS, STYLE, as_png
from benchmarks.result import Conditions, conditions, device_name, heading, recipe_argument, write_result
from biobert_scale.config import Config
from biobert_scale.ranges import within
from biobert_scale.recipes import load_config
from biobert_scale.training.monitor.telemetry import read_metrics
from biobert_scale.training.run import train

_LIBRARIES = ("torch", "numpy")
TOLERANCE = 0.01
"""Of a continued constant rate's held-out loss over that of the run that was so from the start."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained."""

    name: str
    decay: Literal["constant", "linear"]
    total: int
    """Steps of its schedule."""
    cooldown: int = 0
    parent: str = ""
    """The run that it continues; empty for none."""
    step: int = 0
    """Of the parent."""
    grown: bool = False
    """On the grown corpus."""
    beside: str = ""
    """The run that was so from the start."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A run, and its losses by step."""

    run: Run
    training: list[tuple[int, float]]
    """MLM and NSP together."""
    held_out: list[tuple[int, float]]
    """MLM, on held-out samples of its own corpus."""


class ContinuationResult(Conditions):
    """All of it."""

    device: str
    recipe: Config
    steps: int
    curves: list[Curve]


def runs_of(steps: int) -> list[Run]:
    """Each after the one that it continues. The first schedule has three quarters of the steps; a cool-down
    is the last quarter."""
    first, half, down = 3 * steps // 4, steps // 2, steps // 4
    found = []
    for kind, decay, cooldown in (("WSD", "constant", down), ("linear", "linear", 0)):
        base = Run(name=f"{kind}, first run", decay=decay, total=first)  # type: ignore[arg-type]
        ends = replace(base, total=steps, cooldown=cooldown)
        whole, new = (f"{kind}, {what} from the start" for what in ("longer", "grown corpus"))
        later = replace(ends, parent=base.name, step=first)
        found += [
            base,
            replace(ends, name=whole),
            replace(later, name=f"{kind}, extended", beside=whole),
            replace(ends, name=new, grown=True),
            replace(later, name=f"{kind}, continued on the grown corpus", grown=True, beside=new),
        ]
    shorter = Run(name="WSD, shorter from the start", decay="constant", total=first, cooldown=down)
    middle = {"parent": "WSD, first run", "step": half, "beside": shorter.name}
    return [*found, shorter, replace(shorter, name="WSD, cooled down from the middle", **middle)]  # type: ignore[arg-type]


@within(steps="[8, 1e6]")
def continuation(
    *, tokens: Path, grown: Path, output: Path, config: str = "demo-real", steps: int = 200
) -> int:
    """Compare the held-out losses of continued runs with those of runs that were so from the start.

    Writes dated JSON, Markdown and a picture. Exit code 1: a continued constant rate loses more than 1%.

    Args:
        tokens: finished token shards.
        grown: finished token shards of a larger corpus, with the same vocabulary.
        output: directory of the results.
        config: recipe: a name or the path of a TOML file; trained in fp32 on this machine.
        steps: optimizer steps of the longer schedules.
    """
    recipe = load_config(config)
    schedule = recipe.training.schedule
    schedule = replace(schedule, warmup_steps=min(schedule.warmup_steps, steps // 10))
    recipe = replace(recipe, training=replace(recipe.training, schedule=schedule))
    with tempfile.TemporaryDirectory() as directory:
        curves = [
            trained(run, recipe, grown if run.grown else tokens, Path(directory))
            for run in tqdm(runs_of(steps), desc="runs", disable=None)
        ]
    result: ContinuationResult = {
        **conditions(
            f"continuation --tokens DIR --grown DIR --config {recipe_argument(recipe)} --steps {steps}",
            _LIBRARIES,
        ),
        "device": device_name("CPU"),
        "recipe": recipe,
        "steps": steps,
        "curves": curves,
    }
    stem = f"continuation-{result['date']}"
    page = continuation_page(result, figure=f"{stem}.png")
    write_result(output, stem, result, page, continuation_figure(result))
    print(page)
    lost = [more for run, more in compared(curves) if run.decay == "constant"]
    return 0 if max(lost) <= TOLERANCE else 1


def trained(run: Run, recipe: Config, tokens: Path, directory: Path) -> Curve:
    """Train one, in a directory of its name."""
    training, first = recipe.training, directory / run.name
    changed = replace(
        training,
        schedule=replace(
            training.schedule,
            decay=run.decay,
            cooldown_steps=run.cooldown,
            total_steps=run.total,
        ),
        engine=replace(training.engine, name="ddp"),
        precision=replace(training.precision, dtype="fp32"),
        checkpoint=replace(training.checkpoint, every_steps=max(1, run.total // 3), keep_last=3, keep_best=0),
        validation=replace(training.validation, every_steps=max(1, run.total // 15)),
        trackers=(),
        log_every_steps=1,
    )
    source = f"{directory / run.parent}@{run.step}" if run.parent else ""
    train(replace(recipe, training=changed), tokens, first, continue_from=source)
    records = read_metrics(first)
    return Curve(
        run=run,
        training=[(one["global_step"], one["train/loss"]) for one in records if "train/loss" in one],
        held_out=[
            (one["global_step"], one["validation/mlm_loss"])
            for one in records
            if "validation/mlm_loss" in one
        ],
    )


def compared(curves: list[Curve]) -> list[tuple[Run, float]]:
    """Continued runs, and their last held-out loss over that of the run beside them, minus 1."""
    last = {curve.run.name: curve.held_out[-1][1] for curve in curves}
    return [
        (curve.run, last[curve.run.name] / last[curve.run.beside] - 1) for curve in curves if curve.run.beside
    ]


def continuation_page(result: ContinuationResult, *, figure: str) -> str:
    """Render what was measured.

    Args:
        figure: the picture's file name.
    """
    recipe, training = result["recipe"], result["recipe"].training
    more = {run.name: share for run, share in compared(result["curves"])}
    lines = [
        *heading("Continued runs", result, result["device"]),
        (
            f"- Model: {recipe.model.num_hidden_layers} layers, hidden size {recipe.model.hidden_size};"
            f" batches of {training.global_batch_size} sequences of at most {recipe.data.max_seq_length}"
            f" tokens, peak learning rate {training.optimizer.learning_rate:g}; fp32"
        ),
        "",
        "WSD: a constant rate, with a cool-down to zero over the last steps. The held-out MLM loss is that",
        "of the last step, on held-out samples of the run's own corpus; the difference is that to the run",
        "beside it.",
        "",
        "| run | steps | cool-down | continues | beside | held-out MLM loss | difference |",
        "|---|---:|---:|---|---|---:|---:|",
    ]
    for curve in result["curves"]:
        run = curve.run
        source = f"{run.parent}, step {run.step}" if run.parent else ""
        difference = f"{more[run.name]:+.2%}" if run.name in more else ""
        lines.append(
            f"| {run.name} | {run.total} | {run.cooldown or ''} | {source} | {run.beside} |"
            f" {curve.held_out[-1][1]:.4f} | {difference} |"
        )
    return "\n".join([*lines, "", f"![Held-out losses]({figure})"]) + "\n"


def continuation_figure(result: ContinuationResult) -> bytes:
    """The held-out losses by step, WSD beside linear, as a PNG."""
    titles = {"constant": "constant rate with a cool-down (WSD)", "linear": "linear decay"}
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(8.0, 3.6), dpi=150, layout="constrained")
        for axes, (decay, title) in zip(canvas.subplots(1, 2, sharey=True), titles.items(), strict=True):
            for curve in (one for one in result["curves"] if one.run.decay == decay):
                run = curve.run
                axes.plot(
                    *zip(*curve.held_out, strict=True),
                    lw=1.4 if run.parent else 1,
                    ls="-" if run.parent else "--",
                    color=PEERS if run.grown else OURS,
                    alpha=1 if run.parent else 0.5,
                    marker="o" if run.parent else None,
                    ms=2.5,
                    label=run.name.partition(", ")[2],
                )
            axes.set_title(title, loc="left", fontsize=9)
            axes.set_xlabel("optimizer step")
            axes.legend(frameon=False, fontsize=6)
        canvas.axes[0].set_ylabel("held-out MLM loss (nats)")
        return as_png(canvas)
