"""Spans of entities: where a task has several types, with theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

Span = tuple[int, int] | tuple[int, int, str]
"""Document characters, first to last + 1; and the type where a task has several."""


def span_of(start: int, end: int, kind: str = "") -> Span:
    """A span; `kind` is "" where the task has one type."""
    return (start, end, kind) if kind else (start, end)


def type_of(span: Span) -> str:
    """A span's type, "" where the task has one alone."""
    return span[2] if len(span) == 3 else ""


def types_of(*documents: Mapping[str, Collection[Span]]) -> list[str]:
    """The types of all spans in alphabetical order; none where a task has one alone."""
    spans = (span for spans in documents for of_document in spans.values() for span in of_document)
    return sorted({type_of(span) for span in spans} - {""})
