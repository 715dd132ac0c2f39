"""What commands print: tables, counts and files in one look.

A terminal gets bold headings, coloured findings and bars. Pipes, files and terminals with NO_COLOR get the
same lines as plain text. No line is cut or folded: a terminal wraps those that are longer than it is wide.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from biobert_scale.environment import wants_plain_text

_NUMBER = re.compile(r"[-+<>=~ ]*\d[\d,.:]*(e[-+]?\d+)?( ?(%|[kMGT]?B|GiB|s))?|-")
_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}
_WIDTH = 10_000


def show(*parts: RenderableType) -> None:
    """Print on the standard output."""
    print(_rendered(parts, plain=not is_styled()), flush=True)


def text(*parts: RenderableType) -> str:
    """The same as plain text."""
    return _rendered(parts, plain=True)


def is_styled() -> bool:
    """Whether the standard output shows colours and bars."""
    return sys.stdout.isatty() and not wants_plain_text()


def _rendered(parts: Iterable[RenderableType], *, plain: bool) -> str:
    console = Console(
        file=io.StringIO(),
        width=_WIDTH,
        color_system=None if plain else "standard",
        force_terminal=not plain,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(*parts, sep="\n", soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def heading(words: str) -> Text:
    """A line above what belongs to it."""
    return Text(words, "bold")


def table(rows: Iterable[Sequence[str]], *, header: Sequence[str] = (), right: Collection[int] = ()) -> Table:
    """Aligned columns: those of numbers to the right, others to the left. A row of one cell is a heading.

    Args:
        right: columns to the right whatever they hold.
    """
    rows = list(rows)
    made = Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(header), header_style="bold"
    )
    for number in range(max(map(len, [header, *rows]))):
        cells = [row[number] for row in rows if number < len(row) > 1 and row[number]]
        numbers = number in right or (cells and all(map(_NUMBER.fullmatch, cells)))
        title = header[number] if header else ""
        made.add_column(Text(title), justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        made.add_row(heading(row[0]) if len(row) == 1 else Text(row[0]), *map(Text, row[1:]))
    return made


def findings(found: Iterable[tuple[str, str, str, str]]) -> Table:
    """Checks by their outcome (OK, WARN, FAIL), name, what was found, and the remedy below it, if any."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for outcome, check, words, remedy in found:
        made.add_row(Text(outcome, _STYLES[outcome]), Text(check), Text(words))
        if remedy:
            made.add_row("", "", Text(f"-> {remedy}"))
    return made


def counts(counted: Mapping[str, Any]) -> RenderableType:
    """Numbers by name; groups of numbers as columns of one table; groups of groups, each under its name."""
    groups = {name: value for name, value in counted.items() if isinstance(value, Mapping)}
    flat = {name: group for name, group in groups.items() if not _is_nested(group)}
    parts: list[RenderableType] = []
    if single := [(words(name), quantity(value)) for name, value in counted.items() if name not in groups]:
        parts.append(table(single))
    if flat:
        names = dict.fromkeys(name for group in flat.values() for name in group)
        rows = [(words(name), *(quantity(group.get(name)) for group in flat.values())) for name in names]
        parts.append(table(rows, header=["", *flat]))
    nested = [Group(heading(name), counts(group)) for name, group in groups.items() if name not in flat]
    return separated([*parts, *nested])


def separated(parts: Iterable[RenderableType]) -> Group:
    """With an empty line between each two."""
    return Group(*[piece for part in parts for piece in ("", part)][1:])


def _is_nested(group: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Mapping) for value in group.values())


def words(name: str) -> str:
    """A name of a program's, for people."""
    return name.replace("_", " ")


def quantity(value: Any) -> str:
    """A number with thousands separators, yes or no, or a word; nothing of None."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def size(count: int) -> str:
    """Bytes in units of 10^9, or of 10^6 or 10^3 where there are few."""
    unit, name = next(
        ((10**n, name) for n, name in ((9, "GB"), (6, "MB")) if 10 * count >= 10**n), (1000, "kB")
    )
    return f"{count / unit:,.3f} {name}"


def written(directory: Path) -> str:
    """What a directory holds now and where it is, hidden files and directories aside."""
    names = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    files = [directory / name for name in names if not any(part.startswith(".") for part in name.parts)]
    number = "1 file" if len(files) == 1 else f"{len(files):,} files"
    return f"written: {directory} ({number}, {size(sum(path.stat().st_size for path in files))})"
