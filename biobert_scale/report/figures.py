"""The plots, as vector graphics: drawn on a transparent ground, with text as outlines, so that they look
alike everywhere."""

from __future__ import annotations

import base64
import io
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from biobert_scale.report.continuity import Continuity
from biobert_scale.report.sources import Interruption, Record, Sources

Floats = NDArray[np.float64]

_TRAINING, _SMOOTH, _VALIDATION, _AFTER, _LINE = "#9dbde0", "#1f5fa8", "#c8501e", "#2a7f4f", "#6b7280"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": "#374151",
    "axes.grid": True,
    "grid.color": "#d1d5db",
    "grid.linewidth": 0.5,
    "xtick.color": "#374151",
    "ytick.color": "#374151",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "biobert_scale",
}
_MOST_POINTS = 500
_MOST_LABELS = 3
_ZOOM = 30
_MOST_ZOOMS = 4


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One plot of the page."""

    id: str
    svg: bytes
    alt: str
    """What the plot shows, in words."""
    caption: str

    @property
    def address(self) -> str:
        """The plot itself, as an image's address inside a page."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class Panel:
    """What a plot shows of the metrics."""

    id: str
    title: str
    unit: str
    """The y axis' label."""
    training: str
    validation: str = ""
    """Empty: no such metric."""
    factor: float = 1.0
    """What the metric is multiplied by to be in `unit`."""
    from_zero: bool = False
    noisy: bool = True
    """Draw a running mean over the records."""


PANELS = tuple(
    Panel(**row)
    for row in tomllib.loads((resources.files("biobert_scale.report") / "panels.toml").read_text())["panel"]
)


def curves(sources: Sources) -> list[Figure]:
    """The plots of everything that the metrics hold."""
    marks = [_mark_of(entry) for entry in sources.interruptions]
    drawn = (_curve(panel, sources, marks) for panel in PANELS)
    return [figure for figure in drawn if figure is not None]


class _Mark(NamedTuple):
    """A dashed line where a run was interrupted."""

    step: float
    label: str


def _mark_of(entry: Interruption) -> _Mark:
    state = "not resumed yet" if entry.resumed_step is None else "resumed"
    return _Mark(entry.last_kept_step + 0.5, f"{entry.signal}, {state}")


class Series(NamedTuple):
    """A metric's finite values and their global steps, each of shape (records,)."""

    steps: Floats
    values: Floats


def series(records: Sequence[Record], name: str, factor: float = 1.0) -> Series:
    """Read a metric; the overflows of a loss-scaled run leave gaps."""
    pairs = [
        (record["global_step"], record[name] * factor)
        for record in records
        if isinstance(record.get(name), int | float) and math.isfinite(record[name])
    ]
    return Series(*np.asarray(pairs, dtype=np.float64).reshape(-1, 2).T)


class Thinned(NamedTuple):
    """Groups of a long series, each array of shape (groups,): the mean step, and the mean, least and greatest
    value."""

    middle: Floats
    mean: Floats
    low: Floats
    high: Floats
    size: int
    """Values in a group."""


def thin(steps: Floats, values: Floats, most: int = _MOST_POINTS) -> Thinned:
    """Thin a long series for plotting, in groups of equal size; at most `most` values are groups of one."""
    size = -(-len(steps) // most) if len(steps) else 1
    starts = np.arange(0, len(steps), size)
    counts = np.diff([*starts, len(steps)])
    middle, mean = (np.add.reduceat(column, starts) / counts for column in (steps, values))
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return Thinned(middle, mean, low, high, size)


def _curve(panel: Panel, sources: Sources, marks: Sequence[_Mark]) -> Figure | None:
    steps, values = series(sources.training, panel.training, panel.factor)
    if not len(steps):
        return None
    held_out = series(sources.validation, panel.validation, panel.factor)
    with matplotlib.rc_context(STYLE):
        canvas, axes = _canvas(panel.unit)
        note = _draw(axes, steps, values, smooth=panel.noisy)
        if len(held_out.steps):
            axes.plot(*held_out, "o", color=_VALIDATION, ms=4, label="validation", zorder=4)
        _scale(axes, panel, values)
        _mark(axes, marks)
        if len(axes.get_legend_handles_labels()[0]) > 1:
            _legend(axes)
        svg = svg_of(canvas)
    alt = (
        f"{panel.title}, {panel.unit}: from {values[0]:.4g} at step {steps[0]:,.0f} to {values[-1]:.4g} at"
        f" step {steps[-1]:,.0f}."
    )
    if len(held_out.steps):
        alt += f" On validation: from {held_out.values[0]:.4g} to {held_out.values[-1]:.4g}."
    if marks:
        steps_before = ", ".join(f"{mark.step - 0.5:,.0f}" for mark in marks[:10])
        alt += f" Dashed lines: stopped and resumed after step {steps_before}."
    return Figure(id=panel.id, svg=svg, alt=alt, caption=f"{panel.title}{note}.")


def _canvas(unit: str) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(5.0, 2.9), layout="constrained")
    axes = canvas.add_subplot()
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return canvas, axes


def _draw(axes: Axes, steps: Floats, values: Floats, *, smooth: bool) -> str:
    """Draw a training curve; returns what the caption must say about it."""
    middle, mean, low, high, size = thin(steps, values)
    if size > 1:
        axes.fill_between(middle, low, high, color=_TRAINING, alpha=0.6, linewidth=0, label="range")
        axes.plot(middle, mean, color=_SMOOTH, lw=1.2, label="training")
        return f" (each point: the mean of {size:,} records; the band: their least and greatest)"
    if not smooth or len(steps) < 40:
        axes.plot(steps, values, color=_SMOOTH, lw=1.2, label="training")
        return ""
    axes.plot(steps, values, color=_TRAINING, lw=0.8, label="each record")
    width = max(5, len(steps) // 25) | 1
    half = width // 2
    running = np.convolve(values, np.full(width, 1 / width), "valid")
    axes.plot(steps[half:-half], running, color=_SMOOTH, lw=1.4, label=f"mean of {width}")
    return ""


def _scale(axes: Axes, panel: Panel, values: Floats) -> None:
    positive = values.min() > 0
    if panel.id == "loss-scale":
        if positive and values.max() > values.min():
            axes.set_yscale("log", base=2)
        else:
            axes.set_ylim(0, max(2 * values.max(), 1))
    elif panel.id == "gradient-norm" and positive and values.max() > 20 * np.median(values):
        axes.set_yscale("log")
    elif panel.from_zero:
        axes.set_ylim(bottom=0)
    if axes.get_yscale() == "linear" and values.max() >= 1000:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if values.max() < 0.01:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)


def _mark(axes: Axes, marks: Sequence[_Mark]) -> None:
    """Draw a dashed line at each interruption: labelled beside it where they are few, in the legend where
    they are many."""
    few = len(marks) <= _MOST_LABELS
    for number, (step, label) in enumerate(marks):
        line = axes.axvline(step, color=_LINE, lw=1, ls=(0, (4, 3)), zorder=3)
        if not few and number == 0:
            line.set_label(f"resumed ({len(marks)} times)")
        if few:
            height = axes.get_xaxis_transform()
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
            note = axes.annotate(label, (step, 0.99), (-2, 0), height, "offset points", rotation=90)
            note.set(ha="right", va="top", fontsize=7, color=_LINE, bbox=box, zorder=3)


def _legend(axes: Axes) -> None:
    """Above the plot, where no curve can run through it."""
    spacing = {"borderaxespad": 0.2, "handlelength": 1.5, "columnspacing": 1.4}
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, **spacing)


def zooms(sources: Sources, checked: Sequence[Continuity]) -> list[Figure]:
    """The records around each of the first interruptions that have records on both sides."""
    resumed = [each for each in checked if each.first_step is not None and each.last_step is not None]
    return [_zoom(sources, each, place) for place, each in enumerate(resumed[:_MOST_ZOOMS], 1)]


def _zoom(sources: Sources, continuity: Continuity, number: int) -> Figure:
    at = continuity.interruption.last_kept_step
    before = [record for record in sources.training if record["global_step"] <= at][-_ZOOM:]
    after = [record for record in sources.training if record["global_step"] > at][:_ZOOM]
    with matplotlib.rc_context(STYLE):
        canvas, axes = _canvas("MLM loss (nats per prediction)")
        for records, colour, label in ((before, _SMOOTH, "before"), (after, _AFTER, "after")):
            axes.plot(*series(records, "train/mlm_loss"), "o-", color=colour, lw=0.9, ms=2.6, label=label)
        step, label = _mark_of(continuity.interruption)
        axes.axvline(step, color=_LINE, lw=1, ls=(0, (4, 3)), label=label, zorder=3)
        _legend(axes)
        svg = svg_of(canvas)
    alt = (
        f"Training MLM loss of {len(before)} records before and {len(after)} after the interruption at step"
        f" {at:,}. {continuity.verdict}"
    )
    caption = f"Training MLM loss around step {at:,}."
    return Figure(id=f"interruption-{number}", svg=svg, alt=alt, caption=caption)


def svg_of(canvas: Canvas) -> bytes:
    stream = io.BytesIO()
    undated = dict.fromkeys(("Date", "Creator", "Type", "Format"))
    canvas.savefig(stream, format="svg", transparent=True, metadata=undated)
    return stream.getvalue()
