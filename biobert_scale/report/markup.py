"""HTML from values: everything is escaped unless it says that it is HTML already."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from biobert_scale.report.figures import Figure


class Html(str):
    """Text that is HTML already."""


def markup(value: object) -> Html:
    """A value as HTML."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[object]) -> Html:
    return Html("\n".join(map(markup, parts)))


def element(name: str, content: object, **attributes: str) -> Html:
    """An element. Python's names stand for HTML's: `class_` for `class`, `aria_label` for `aria-label`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{markup(content)}</{name}>")


def paragraph(text: object, class_: str = "note") -> Html:
    return element("p", text, class_=class_)


def section(identifier: str, title: str, *content: object) -> Html:
    return element("section", join([element("h2", title), *content]), id=f"{identifier}-section")


def table(
    identifier: str,
    caption: str,
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    totals: int = 0,
    text: bool = False,
) -> Html:
    """A table that scrolls by itself where the screen is narrow.

    Args:
        head: the columns' names.
        rows: cells; the first of each row is its heading.
        totals: how many of the last rows are set off as totals.
        text: cells hold words, not numbers: set flush left.
    """
    cells = list(rows)
    first = len(cells) - totals
    lines = []
    for number, (heading, *values) in enumerate(cells):
        row = join([element("th", heading, scope="row"), *(element("td", value) for value in values)])
        lines.append(element("tr", row, class_="total") if number >= first else element("tr", row))
    header = element("thead", element("tr", join(element("th", name, scope="col") for name in head)))
    body = join([element("caption", element("span", caption)), header, element("tbody", join(lines))])
    inner = element("table", body, id=identifier, class_="text" if text else "numbers")
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def figure(drawn: Figure, prefix: str = "") -> Html:
    """A plot as an image inside the page."""
    data = base64.b64encode(drawn.svg).decode()
    image = Html(f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(prefix + drawn.alt)}">')
    return element(
        "figure", join([image, element("figcaption", prefix + drawn.caption)]), id=f"figure-{drawn.id}"
    )


def details(summary: str, *content: object) -> Html:
    return element("details", join([element("summary", summary), *content]))


def number(value: float) -> str:
    """A count with its thousands set apart."""
    return f"{value:,}"


def large(value: float) -> str:
    """A count in three digits and a unit, from a million on."""
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "–"


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{seconds / 3600:.1f} h"
