"""Pages from the templates in `templates/`: every value is escaped, and an unknown name is an error."""

from __future__ import annotations

import datetime
import json
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from biobert_scale import __version__


class Cell(NamedTuple):
    """A table's cell with a note below its text."""

    text: str
    note: str
    bold: bool = False


def render_page(template: str, *, date: datetime.date, **values: object) -> str:
    """A template filled with values, as HTML that loads nothing and runs nothing."""
    environment = Environment(
        loader=PackageLoader("biobert_scale.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,}".format, "to_json": json.dumps}
    return environment.get_template(template).render(
        date=f"{date.day} {date:%B %Y}", version=__version__, **values
    )


def large(value: float) -> str:
    """A count in three digits and a unit, from a million on."""
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "–"


def measured(value: float | None, digits: int) -> str:
    """A metric; a dash where it was no number when it was logged, and is null in `metrics.jsonl`."""
    return "–" if value is None else f"{value:,.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{seconds / 3600:.1f} h"
