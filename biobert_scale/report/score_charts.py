"""Plots of benchmark scores: bars with their intervals, and scores against steps of pre-training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from biobert_scale.evaluation.records import ScoreRow
from biobert_scale.evaluation.table import name_of, steps_curve
from biobert_scale.report.figures import STYLE, Figure, svg_of

_COLOURS = {"pre-trained": "#1f5fa8", "random weights": "#9dbde0"}
_COLOURS |= {"baseline": "#b8bec7", "predictions": "#c8501e"}
_LINE = "#374151"


def score_bars(rows: Sequence[ScoreRow]) -> Figure:
    """A panel for each task and protocol, a bar for each system; whiskers are the 95% intervals, or else
    standard deviations."""
    panels: dict[str, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        panels[f"{row['task']}: {row['score_name']}, {row['protocol']}"].append(row)
    heights = [0.5 + 0.24 * len(panel) for panel in panels.values()]
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, sum(heights) + 0.4), layout="constrained")
        axes_of = canvas.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, (title, panel) in zip(axes_of, panels.items(), strict=True):
            _draw_bars(axes, panel)
            axes.set_title(title, loc="left", fontsize=8.5)
        axes_of[-1].set_xlabel("test score (%)")
        svg = svg_of(canvas)
    values = "; ".join(
        f"{row['task']} ({row['protocol']}), {name_of(row)}: {row['mean']:.1f}" for row in rows[:24]
    )
    caption = (
        "Mean test scores over seeds; whiskers: 95% bootstrap intervals over documents, or standard"
        " deviations where the documents' counts are gone."
    )
    return Figure(id="scores", svg=svg, alt=f"Bars of test scores in percent. {values}.", caption=caption)


def _draw_bars(axes: Axes, panel: Sequence[ScoreRow]) -> None:
    names, means = [name_of(row) for row in panel], [row["mean"] for row in panel]
    axes.barh(names, means, height=0.62, color=[_COLOURS[row["kind"]] for row in panel], zorder=2)
    for place, row in enumerate(panel):
        low, high = _whisker(row)
        if high > low:
            axes.plot([low, high], [place, place], color=_LINE, lw=1.1, marker="|", ms=6, zorder=3)
        text, end = f"{row['mean']:.1f}", (max(high, row["mean"]), place)
        axes.annotate(text, end, (4, 0), textcoords="offset points", va="center", fontsize=7.5, color=_LINE)
    axes.set_xlim(min(0.0, *(_whisker(row)[0] for row in panel), *means), 108)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def _whisker(row: ScoreRow) -> tuple[float, float]:
    low, high = row["interval_95"] or (row["mean"] - (row["sd"] or 0.0), row["mean"] + (row["sd"] or 0.0))
    return low, high


def score_steps(rows: list[ScoreRow]) -> Figure | None:
    """Scores against the step of pre-training; None where fewer than two steps were evaluated."""
    curves = steps_curve(rows)
    if not curves:
        return None
    names = [(curve.task, curve.protocol) for curve in curves]
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(5.6, 3.2), layout="constrained")
        axes = canvas.add_subplot()
        for (task, protocol, _), found in curves.items():
            model = f", {found[-1]['model']}" if names.count((task, protocol)) > 1 else ""
            steps, means = [row["pretraining_step"] or 0 for row in found], [row["mean"] for row in found]
            below = [max(row["mean"] - _whisker(row)[0], 0) for row in found]
            above = [max(_whisker(row)[1] - row["mean"], 0) for row in found]
            label = f"{task}, {protocol}{model}"
            axes.errorbar(steps, means, yerr=[below, above], marker="o", ms=4, lw=1.2, capsize=3, label=label)
        axes.set_xlabel("optimizer step of pre-training (0: random weights)")
        axes.set_ylabel("test score (%)")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.legend(loc="lower right", fontsize=7.5)
        svg = svg_of(canvas)
    values = "; ".join(
        f"{task}: " + ", ".join(f"{row['mean']:.1f} at step {row['pretraining_step']:,}" for row in found)
        for (task, _, _), found in curves.items()
    )
    caption = (
        "Test scores after fine-tuning with one budget, against the step of pre-training; whiskers as in the"
        " bars."
    )
    return Figure(id="score-steps", svg=svg, alt=f"Test scores in percent. {values}.", caption=caption)
