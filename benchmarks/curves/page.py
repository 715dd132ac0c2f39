"""The settings' loss curves as Markdown and as a picture."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.curves.records import Comparison, CurvesResult
from benchmarks.figure import LINE, OURS, PEERS, STYLE, as_png
from benchmarks.result import heading
from biobert_scale.config import Config


def curves_page(result: CurvesResult, config: Config, *, figure: str) -> str:
    """Render what `curves` measured.

    Args:
        config: the recipe as it was trained.
        figure: the picture's file name.
    """
    training, last = config.training, result["end_steps"]
    outside = [row.switch for row in result["rows"] if not row.within]
    lines = [
        *heading("Loss curves with every setting of compute on and off", result, result["device"]),
        (
            f"- Model: {config.model.num_hidden_layers} layers, hidden size {config.model.hidden_size}, a"
            f" vocabulary of {result['settings']['vocabulary']:,} entries; fp32"
        ),
        (
            f"- Each run: {result['steps']:,} steps ({training.schedule.warmup_steps:,} of warm-up, peak"
            f" learning rate {training.optimizer.learning_rate:g}) of {training.global_batch_size} sequences"
            f" of at most {config.data.max_seq_length} tokens, from the same weights, on the same samples and"
            " masks"
        ),
        "",
        f"Out of tolerance: {', '.join(outside)}." if outside else "Every setting is within its tolerance.",
        "",
        (
            f'Relative to the run with the settings as shipped. "The end" is the mean over the last {last}'
            " steps."
        ),
        "",
        (
            f"| setting changed | in `[compute]` | largest difference in the first {last} steps |"
            " tolerance | of any step's loss | at step | tolerance | difference of the end | tolerance | |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, result["rows"]),
        "",
        (
            "Without dropout, but for the last row: there the random numbers themselves differ, so that"
            " single steps cannot be compared. It compares means over"
        ),
        (
            f"{result['seeds']} seeds each, at a dropout of {result['dropout']:g}; the tolerance is"
            f" {result['standard_errors']:g} standard errors of their difference."
        ),
        "",
        f"![Losses, and how far from those as shipped]({figure})",
    ]
    return "\n".join(lines) + "\n"


def _row(row: Comparison) -> str:
    changes = ", ".join(
        f"{name} = {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in row.changes.items()
    )
    early, tolerance = (
        "by chance" if value is None else f"{value:.1e}" for value in (row.early_tolerance, row.tolerance)
    )
    return (
        f"| {row.switch} | `{changes}` | {row.early:.1e} | {early} | {row.largest:.1e} |"
        f" {row.at_step} | {tolerance} | {row.end:+.1e} | {row.end_tolerance:.1e} |"
        f" {'within' if row.within else '**out**'} |"
    )


def curves_figure(result: CurvesResult) -> bytes:
    """The losses without dropout, how far each switch parts them, and the losses with dropout, as a PNG."""
    curves, steps = result["curves"], range(1, result["steps"] + 1)
    shipped = np.array(curves["as shipped"])
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(6.4, 8.0), dpi=150, layout="constrained")
        above, middle, below = canvas.subplots(3, 1, sharex=True)
        for switch, losses in curves.items():
            above.plot(steps, losses, lw=1)
            if switch != "as shipped":
                # A logarithmic axis shows no zero.
                middle.plot(
                    steps, np.maximum(np.abs(np.array(losses) / shipped - 1), 1e-9), lw=1, label=switch
                )
        above.set_title(f"{len(curves)} runs without dropout, one over another", loc="left", fontsize=9)
        above.set_ylabel("training loss (nats)")
        middle.axhline(next(row.tolerance for row in result["rows"]), color=LINE, lw=1, ls="--")
        middle.set_yscale("log")
        middle.set_ylabel("relative difference")
        middle.set_title(
            "from the run as shipped; the broken line is the tolerance of any step", loc="left", fontsize=9
        )
        middle.set_ylim(top=1)  # room for the legend above the tolerance
        middle.legend(frameon=False, fontsize=6, ncols=2, loc="upper center")
        for (name, runs), colour in zip(result["dropout_curves"].items(), (OURS, PEERS), strict=True):
            for number, losses in enumerate(runs):
                below.plot(steps, losses, lw=0.8, color=colour, label=name if number == 0 else None)
        below.set_title(
            f"dropout {result['dropout']:g}, {result['seeds']} seeds each", loc="left", fontsize=9
        )
        below.set_ylabel("training loss (nats)")
        below.set_xlabel("optimizer step")
        below.legend(frameon=False, fontsize=7)
        return as_png(canvas)
