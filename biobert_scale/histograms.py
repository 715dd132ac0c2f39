"""Histograms of lengths, for a person: as lines of text and as a picture. Of the classes those between the
first and the last that are not empty are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biobert_scale.display import is_styled, table, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR_WIDTH = 40


def text_bars(counts: NDArray[np.int64], edges: tuple[int, ...]) -> list[str]:
    """A line for each class, with a bar on a terminal.

    Args:
        counts: (classes,) how many fall into each class; not all 0.
        edges: (classes,) lower bounds; the last class is open.
    """
    scale = _BAR_WIDTH / counts.max() if is_styled() else 0.0
    rows = [
        (f"  {label}", f"{count:,}", "█" * int(np.ceil(count * scale)))
        for label, count in _shown(counts, edges).items()
    ]
    return text(table(rows)).splitlines()


def draw_bars(axes: Axes, counts: NDArray[np.int64], edges: tuple[int, ...], colour: str, title: str) -> None:
    """The same as a picture."""
    shown = _shown(counts, edges)
    axes.bar(list(shown), list(shown.values()), color=colour)
    axes.set_title(title, loc="left", fontsize=10)
    axes.tick_params(axis="x", rotation=35, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _shown(counts: NDArray[np.int64], edges: tuple[int, ...]) -> dict[str, int]:
    upper = [f"-{edge - 1:,}" for edge in edges[1:]] + [" and more"]
    used = np.flatnonzero(counts)
    return {f"{edges[i]:,}{upper[i]}": int(counts[i]) for i in range(used[0], used[-1] + 1)}
