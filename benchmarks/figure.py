"""The look of the benchmarks' pictures."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d1d5db",
    "grid.linewidth": 0.5,
}
"""In matplotlib's terms."""
OURS, PEERS, LINE = "#1f5fa8", "#e0a458", "#6b7280"
"""Colours of this package, of its peer, and of lines to compare with."""


def as_png(figure: Figure) -> bytes:
    """The picture's file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
