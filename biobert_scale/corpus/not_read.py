"""What is in the raw directory and is not read: counted by reason, each with one example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

MEMBER_NAME = "package members not named *.xml or *.nxml"
MEMBER_HIDDEN = "hidden package members"
MEMBER_PACKAGE = "packages inside packages"
NOTHING_INSIDE = "XML without citations, articles or books' text"
TASK_REASONS = (MEMBER_NAME, MEMBER_HIDDEN, MEMBER_PACKAGE, NOTHING_INSIDE)
"""What only those who read the files find."""


class Unread(TypedDict):
    """How many were not read for one reason, and the first of them."""

    count: int
    example: str


NotRead = dict[str, Unread]
"""Reason -> count and example."""


def note(not_read: NotRead, reason: str, example: str, count: int = 1) -> None:
    """Add to what was not read; the first example stays."""
    not_read.setdefault(reason, Unread(count=0, example=example))["count"] += count


def summary(not_read: Mapping[str, Unread]) -> str:
    """One line with the number that were not read, the reasons, and an example of each."""
    total = sum(unread["count"] for unread in not_read.values())
    reasons = [f"{why}: {unread['count']}, such as {unread['example']}" for why, unread in not_read.items()]
    return f"{total} not read: {'; '.join(reasons)}"
