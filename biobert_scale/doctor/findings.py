"""What a check says, and how the ranks' findings become one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict

from rich.console import Group, RenderableType

from biobert_scale import display
from biobert_scale.errors import UserError, from_os_error

Status = Literal["OK", "WARN", "FAIL"]
_WORSE = {"OK": 0, "WARN": 1, "FAIL": 2}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    status: Status
    text: str
    remedy: str = ""
    """What to do about it; empty where all is well."""
    figures: dict[str, Any] = field(default_factory=dict)
    """The numbers behind the line, for programs."""
    same: str | None = None
    """What must be the same on all ranks."""


class Started(TypedDict):
    """The ranks that were started together, as the report has them."""

    world_size: int
    nodes: int
    hosts: list[str]
    """Of each rank."""
    device: str


def guarded(check: str, examine: Callable[[], list[Finding]]) -> list[Finding]:
    """Run a check; a mistake of the user's that it meets is its finding."""
    try:
        return examine()
    except UserError as error:
        problem = error
    except OSError as error:
        known = from_os_error(error)
        if known is None:
            raise
        problem = known
    return [Finding(check, "FAIL", f"{problem.what}: {problem.where}", problem.remedy)]


def merge(gathered: Sequence[Sequence[Finding]], hosts: Sequence[str]) -> list[Finding]:
    """One finding for each check: the worst of the ranks', naming the rank where they differ.

    Args:
        gathered: of each rank, its findings.
        hosts: each rank's host name.
    """
    names = list(dict.fromkeys(finding.check for findings in gathered for finding in findings))
    return [
        _merge_one(
            [(rank, one) for rank, findings in enumerate(gathered) for one in findings if one.check == name],
            hosts,
            len(gathered),
        )
        for name in names
    ]


def _merge_one(found: Sequence[tuple[int, Finding]], hosts: Sequence[str], ranks: int) -> Finding:
    rank, worst = max(found, key=lambda pair: (_WORSE[pair[1].status], -pair[0]))
    values = {one.same: first for first, one in reversed(found)}
    if len(values) > 1 and worst.status != "FAIL":
        text = "not the same on all ranks: " + ", ".join(
            f"{value} on rank {first} ({hosts[first]})"
            for value, first in sorted(values.items(), key=lambda pair: pair[1])
        )
        return replace(
            worst, status="FAIL", text=text, remedy=worst.remedy or "make it the same on every node"
        )
    if len({one.text for _, one in found}) == 1 and len(found) == ranks:
        return worst
    alike = sum(one.status == worst.status for _, one in found)
    if worst.status == "OK":
        return replace(worst, text=f"{worst.text} (rank {rank}; the others are well, too)")
    others = f" and {alike - 1} more" if alike > 1 else ""
    return replace(worst, text=f"{worst.text} (rank {rank} on {hosts[rank]}{others})")


def render(findings: Sequence[Finding], headline: str) -> RenderableType:
    """A line for each check, and its remedy below it."""
    counted = {status: sum(finding.status == status for finding in findings) for status in _WORSE}
    return Group(
        display.heading(headline),
        display.findings((one.status, one.check, one.text, one.remedy) for one in findings),
        ", ".join(f"{number} {status}" for status, number in counted.items()),
    )
