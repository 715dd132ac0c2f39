"""The rows of the page's tables of benchmark scores; published scores are apart from them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from biobert_scale.evaluation.published import REFERENCE_PROTOCOLS, PublishedScores
from biobert_scale.evaluation.records import ScoreRow
from biobert_scale.report.figures import Figure
from biobert_scale.report.score_charts import score_bars, score_steps
from biobert_scale.report.templates import Cell

_Row = tuple[Cell | str, ...]


class _Column(NamedTuple):
    """Scores that compare: never two protocols in one column."""

    task: str
    protocol: str
    score_name: str


class _System(NamedTuple):
    kind: str
    model: str
    distinction: str
    copy: int
    """A second checkpoint of the same model is on a row of its own."""


_Systems = dict[_System, dict[_Column, ScoreRow]]


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """One row a system, one column a task and protocol."""

    head: _Row
    systems: list[_Row]
    differences: list[_Row]
    """Pre-trained minus random, for each model that was run both ways with one budget on the same data."""
    tasks: list[str]
    reference_tasks: list[str]
    """Those that were run under a protocol of published scores."""
    not_published: list[str]
    """Tasks whose files are not the published ones."""


def score_rows(rows: Sequence[ScoreRow]) -> ScoreTable:
    """Arrange the systems' scores, the best of each column in bold."""
    columns, systems = _arrange(rows)
    best = {
        column: max(cells[column]["mean"] for cells in systems.values() if column in cells)
        for column in columns
    }
    tasks = list(dict.fromkeys(column.task for column in columns))
    compared = {column.task for column in columns if column.protocol in REFERENCE_PROTOCOLS}
    others = {row["task"] for row in rows if not row["published_data"]}
    return ScoreTable(
        head=("system", *(Cell(task, f"{score_name}, {protocol}") for task, protocol, score_name in columns)),
        systems=[
            (_name(system), *(_cell(cells.get(column), best[column]) for column in columns))
            for system, cells in systems.items()
        ],
        differences=_differences(rows, systems, columns),
        tasks=tasks,
        reference_tasks=[task for task in tasks if task in compared],
        not_published=[task for task in tasks if task in others],
    )


def plots(rows: list[ScoreRow]) -> list[Figure]:
    return [figure for figure in (score_bars(rows), score_steps(rows)) if figure is not None]


def _arrange(rows: Sequence[ScoreRow]) -> tuple[list[_Column], _Systems]:
    """Columns in the table's order of tasks; systems by kind."""
    columns = list(dict.fromkeys(map(_column, rows)))
    systems: _Systems = defaultdict(dict)
    for row in rows:
        system = _System(row["kind"], row["model"], row["distinction"], 1)
        while _column(row) in systems[system]:
            system = system._replace(copy=system.copy + 1)
        systems[system][_column(row)] = row
    kinds = list(dict.fromkeys(["pre-trained", "random weights", *(system.kind for system in systems)]))
    return columns, {
        system: systems[system] for system in sorted(systems, key=lambda system: kinds.index(system.kind))
    }


def _column(row: ScoreRow) -> _Column:
    return _Column(row["task"], row["protocol"], row["score_name"])


def _name(system: _System) -> Cell:
    note = system.kind if system.kind == "baseline" else f"model: {system.model}"
    return Cell(_label(system), note)


def _label(system: _System) -> str:
    name = system.model if system.kind == "baseline" else system.kind
    name += f", {system.distinction}" if system.distinction else ""
    return name + (f" ({system.copy})" if system.copy > 1 else "")


def _cell(row: ScoreRow | None, best: float) -> Cell | str:
    if row is None:
        return "–"
    value = f"{row['mean']:.2f}" + (f" ± {row['sd']:.2f}" if row["sd"] is not None else "")
    note = f"n = {len(row['scores'])}"
    if interval := row["interval_95"]:
        note += f", {interval[0]:.1f}–{interval[1]:.1f}"
    return Cell(value, note, bold=row["mean"] == best)


def _differences(rows: Sequence[ScoreRow], systems: _Systems, columns: list[_Column]) -> list[_Row]:
    shown: list[_Row] = []
    for system, trained in systems.items():
        fresh = {column: _fresh(rows, row) for column, row in trained.items()}
        if system.kind == "pre-trained" and any(fresh.values()):
            note = f"{_label(system)} − random weights, model: {system.model}"
            cells = [_difference(trained.get(column), fresh.get(column)) for column in columns]
            shown.append((Cell("difference", note), *cells))
    return shown


def _fresh(rows: Sequence[ScoreRow], trained: ScoreRow) -> ScoreRow | None:
    """The row of the same network from random weights."""
    same = ("task", "protocol", "model", "config", "data")
    fresh = (row for row in rows if row["kind"] == "random weights")
    return next((row for row in fresh if all(row.get(name) == trained.get(name) for name in same)), None)


def _difference(trained: ScoreRow | None, fresh: ScoreRow | None) -> str:
    if trained is None or fresh is None:
        return "–"
    text = f"{trained['mean'] - fresh['mean']:+.2f}"
    if trained["sd"] is None or fresh["sd"] is None:
        return text
    errors = trained["sd"] / math.sqrt(len(trained["scores"])), fresh["sd"] / math.sqrt(len(fresh["scores"]))
    return f"{text} ± {math.hypot(*errors):.2f}"


@dataclass(frozen=True, kw_only=True)
class ReferenceTable:
    """Published scores; the last cell of a row counts in `sources`, from 1."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    sources: list[tuple[str, str]]
    """(protocol, source)."""


def references(published: Sequence[PublishedScores], tasks: Sequence[str]) -> ReferenceTable:
    """The published scores of some tasks."""
    chosen = [reference for reference in published if any(task in reference.scores for task in tasks)]
    sources = list(dict.fromkeys((reference.protocol, reference.source) for reference in chosen))
    rows = [
        (
            reference.model,
            *(f"{reference.scores[task]:.2f}" if task in reference.scores else "–" for task in tasks),
            f"[{1 + sources.index((reference.protocol, reference.source))}]",
        )
        for reference in chosen
    ]
    return ReferenceTable(head=("model", *tasks, "source"), rows=rows, sources=sources)
