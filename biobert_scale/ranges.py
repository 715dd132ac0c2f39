"""Which numbers a setting or an option can have, as intervals: "[1, 8]", "(0, 1]", "0 or [8, 512]"."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from biobert_scale.errors import UserError

_INTERVAL = re.compile(r"([\[(])(\S+), (\S+)([\])])")
WORKERS = "[1, 10000]"
SEEDS = "[0, 2147483647]"
F = TypeVar("F", bound=Callable[..., Any])


def check_section(section: Any, path: str, **intervals: str) -> None:
    """Refuse a configuration section with a number outside its interval.

    Args:
        section: a dataclass; every number in it, and in its tuples, is checked.
        path: the section's name in a recipe; "--" where its fields are a command's options.
        intervals: by the fields' names.

    Raises:
        UserError: with the field's dotted name.
    """
    for field in fields(section):
        value = getattr(section, field.name)
        if field.name in intervals:
            option = f"--{field.name.replace('_', '-')}"
            where = option if path == "--" else f"{path}.{field.name}".lstrip(".")
            check_number(value, intervals[field.name], where)
        else:
            assert not _is_number(value), f"{field.name} has no interval"


def check_number(value: Any, interval: str, where: str) -> None:
    """Refuse a number, or a tuple that holds one, outside an interval; None is no number.

    Raises:
        UserError: with its name, which is an option's, or a setting's dotted one.
    """
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not any(_holds(part, number) for part in interval.split(" or ")):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            is_option = where.startswith("--")
            raise UserError(
                f"{where if is_option else where.rpartition('.')[2]} cannot be {shown}",
                where="command line" if is_option else where,
                remedy=f"use {' or '.join(map(_words, interval.split(' or ')))}",
            )


def within(**intervals: str) -> Callable[[F], F]:
    """Refuse a command's options outside their intervals, which the parameters' names give."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def checked(*arguments: Any, **options: Any) -> Any:
            for name, value in options.items():
                if name in intervals:
                    check_number(value, intervals[name], f"--{name.replace('_', '-')}")
            return function(*arguments, **options)

        checked.intervals = intervals  # type: ignore[attr-defined]  # a test compares them with the signature
        return checked  # type: ignore[return-value]

    return decorate


def _is_number(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _holds(part: str, number: float) -> bool:
    found = _INTERVAL.fullmatch(part)
    if found is None:
        return number == float(part)
    left, low, high, right = found.groups()
    above = number > float(low) if left == "(" else number >= float(low)
    below = number < float(high) if right == ")" else number <= float(high)
    return above and below


def _words(part: str) -> str:
    found = _INTERVAL.fullmatch(part)
    if found is None:
        return part
    left, low, high, right = found.groups()
    if left == "[" and right == "]":
        return f"a number from {low} to {high}"
    least, most = "above" if left == "(" else "from", "below" if right == ")" else "at most"
    return f"a number {least} {low}, {most} {high}"
