"""Docstrings and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import docstring_parser


def field_texts(section: type[Any]) -> dict[str, str]:
    """What stands below each field of a dataclass."""
    params = docstring_parser.parse_from_object(section).params
    return {param.arg_name: one_line(param.description) for param in params if param.description}


def one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table's lines; what would end a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
