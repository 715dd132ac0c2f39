"""The page of commands: what each prints for `--help`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO

from biobert_scale.commands import COMMANDS, run, summary_of

HEAD = """# Commands

What each command prints for `--help`, made from the code. The options of `train` are
[the settings](settings.md) of a recipe.
"""
COLUMNS = 100
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def page() -> str:
    """A table of all commands, then the help of each."""
    lines = [HEAD, "| command | what it does |", "|---|---|"]
    lines += [
        f"| [`{name}`](#biobert-scale-{name.replace(' ', '-')}) | {summary_of(name)} |" for name in COMMANDS
    ]
    for name in COMMANDS:
        lines += ["", f"## biobert-scale {name}", "", "```text", help_of(name), "```"]
    return "\n".join([*lines, ""])


def help_of(name: str) -> str:
    """What `biobert-scale NAME --help` prints on a terminal of `COLUMNS` columns, without colours."""
    printed = StringIO()
    with _columns(), redirect_stdout(printed), suppress(SystemExit):
        run(name, ["--help"])
    lines = _ESCAPES.sub("", printed.getvalue()).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()


@contextmanager
def _columns() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(COLUMNS)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
