"""The end-to-end benchmark's result as Markdown and as a picture, and when a loss was first reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Literal

import matplotlib
from matplotlib.figure import Figure

from benchmarks.end_to_end.records import EndToEndResult, Side
from benchmarks.figure import LINE, OURS, PEERS, STYLE, as_png
from benchmarks.result import heading, spread
from benchmarks.trainer import Point
from biobert_scale.config import Config

_STAGES = {"corpus": "raw XML to text", "vocabulary": "vocabulary", "tokens": "text to tokens"}


def clock(side: Side, point: Point) -> float:
    """Seconds from raw XML to a point of a side's curve: its stages, the start of its training, and the
    steps; no validation."""
    return (
        sum(side["stages"][stage]["seconds"] for stage in _STAGES)
        + side["stages"]["training"]["start_seconds"]
        + point["training_seconds"]
    )


def first_reached(side: Side, loss: float) -> tuple[float, int] | None:
    """Seconds from raw XML, and steps, at the first validation with an MLM loss of at most `loss`; None where
    there was none."""
    for point in side["curve"]:
        if point["validation/mlm_loss"] <= loss:
            return clock(side, point), point["global_step"]
    return None


def end_to_end_page(result: EndToEndResult, config: Config, *, figure: str) -> str:
    """Render what `end_to_end` measured; medians of the rounds, with the least and the most where there
    are several.

    Args:
        config: the recipe as both sides ran it.
        figure: the picture's file name.
    """
    training, files = config.training, result["files"]
    names = [side["name"] for side in result["rounds"][0]]
    dtype = training.precision.dtype
    lines = [
        *heading(
            "Raw XML to a validation loss",
            result,
            result["device"],
            f"load before, of other work: {result['load_before']:.1f}",
        ),
        (
            f"- Material: {files['files']} MEDLINE files, {files['records']:,} records; {files['left_out']}"
            " at which pubmed-parser stops are left out for both"
        ),
        f"- Model: {config.model.num_hidden_layers} layers, hidden size {config.model.hidden_size}; {dtype}"
        + (f" in place of the recipe's {result['recipe_dtype']}" if dtype != result["recipe_dtype"] else ""),
        (
            f"- Both: {training.schedule.total_steps:,} steps ({training.schedule.warmup_steps:,} of warm-up)"
            f" of {training.global_batch_size} sequences of at most {config.data.max_seq_length} tokens;"
            f" AdamW, peak learning rate {training.optimizer.learning_rate:g}; the same initial weights, rate"
            " at each step, vocabulary and held-out samples"
        ),
        "",
        *_verdict(result),
        "",
        f"![Held-out loss over time]({figure})",
        "",
        f"| | {names[0]} | {names[1]} |",
        "|---|---|---|",
    ]
    for stage, title in _STAGES.items():
        lines.append(_line(f"{title}, s", result, partial(_of_stage, stage, "seconds")))
    lines += [
        _line(
            "training: until the first step, s",
            result,
            lambda side: side["stages"]["training"]["start_seconds"],
        ),
        _line("training: all steps, s", result, lambda side: side["training_seconds"]),
        _line("**total, s**", result, lambda side: clock(side, side["curve"][-1])),
        *(
            _line(
                f"CPU time, {stage}, s",
                result,
                partial(_of_stage, stage, "cpu_seconds"),
            )
            for stage in (*_STAGES, "training")
        ),
        *(
            _line(
                f"peak memory, {stage}, GB",
                result,
                partial(_of_stage, stage, "peak_memory_bytes", unit=1e9),
                2,
            )
            for stage in (*_STAGES, "training")
        ),
        _line("documents trained on", result, lambda side: side["documents"], 0),
        _line("real tokens trained on", result, lambda side: side["real_tokens"], 0),
        _line(
            "real tokens/s in training",
            result,
            lambda side: side["real_tokens"] / side["training_seconds"],
            0,
        ),
        _line(
            "final held-out MLM loss, nats", result, lambda side: side["curve"][-1]["validation/mlm_loss"], 4
        ),
        _line("the same of held-out text in the peer's blocks", result, lambda side: side["blocks_loss"], 4),
        "",
        (
            "Seconds are the clock's, each stage in a process of its own that starts Python and its"
            " libraries. Validations and the saving of the last model are"
        ),
        (
            "counted for neither side (they are in the CPU time and memory of the training). The vocabulary"
            " is made once, and its time counted for both."
        ),
    ]
    return "\n".join(lines) + "\n"


def _of_stage(
    stage: str,
    figure: Literal["seconds", "cpu_seconds", "peak_memory_bytes"],
    side: Side,
    *,
    unit: float = 1.0,
) -> float:
    return side["stages"][stage][figure] / unit


def _line(title: str, result: EndToEndResult, value: Callable[[Side], float], digits: int = 1) -> str:
    cells = [[value(sides[number]) for sides in result["rounds"]] for number in range(2)]
    return (
        f"| {title} | "
        + " | ".join(f"{cell[0]:,.{digits}f}" if len(cell) == 1 else spread(cell, digits) for cell in cells)
        + " |"
    )


def _verdict(result: EndToEndResult) -> list[str]:
    loss = result["loss"]
    sentence = (
        f"A held-out MLM loss of {loss:.4f} nats"
        + ("" if result["loss_given"] else ", the worse of the two final ones,")
        + " was first found at a validation"
    )
    lines, medians = [], []
    for number, side in enumerate(result["rounds"][0]):
        reached = [first_reached(sides[number], loss) for sides in result["rounds"]]
        found = [one for one in reached if one is not None]
        if len(found) == len(reached):
            medians.append(statistics.median(seconds for seconds, _ in found))
            lines.append(
                f"- {side['name']}: after {medians[-1]:,.1f} s, at step"
                f" {statistics.median_low([step for _, step in found]):,}"
            )
        else:
            lines.append(
                f"- {side['name']}: not reached in {len(reached) - len(found)} of {len(reached)} runs"
            )
    if len(medians) == 2:
        lines.append(f"- {medians[1] / medians[0]:.2f} times as long with the peer")
    return [sentence, "", *lines]


def end_to_end_figure(result: EndToEndResult) -> bytes:
    """Held-out losses by the clock from raw XML on, as a PNG."""
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
        axes = canvas.subplots()
        for number, sides in enumerate(result["rounds"]):
            for side, colour in zip(sides, (OURS, PEERS), strict=True):
                seconds = [clock(side, point) for point in side["curve"]]
                axes.plot(
                    seconds,
                    [point["validation/mlm_loss"] for point in side["curve"]],
                    color=colour,
                    lw=1.3,
                    label=None if number else side["name"],
                )
        axes.axhline(result["loss"], color=LINE, lw=0.8, ls="--")
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds from raw XML, validation left out")
        axes.set_ylabel("held-out MLM loss (nats)")
        axes.legend(frameon=False)
        return as_png(canvas)
