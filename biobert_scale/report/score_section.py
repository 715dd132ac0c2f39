"""The page's part about benchmark scores, and published scores apart from them."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from biobert_scale.evaluation.prepared import TASKS
from biobert_scale.evaluation.published import REFERENCE_PROTOCOLS
from biobert_scale.report.markup import Html, element, figure, join, paragraph, section, table
from biobert_scale.report.score_charts import score_bars, score_steps
from biobert_scale.report.sources import Sources

_Row = dict[str, Any]
_Column = tuple[str, str, str]
_System = tuple[str, str, int]


def scores(sources: Sources) -> Html:
    """One row a system, one column a task and protocol: never two protocols in one column."""
    if sources.scores is None:
        return section("scores", "Scores", paragraph(sources.scores_problem))
    columns, systems = _arrange(sources.scores["rows"])
    best = {
        column: max(cells[column]["mean"] for cells in systems.values() if column in cells)
        for column in columns
    }
    shown: list[tuple[object, ...]] = [
        (_name(system), *(_cell(cells.get(column), best[column]) for column in columns))
        for system, cells in systems.items()
    ]
    differences = _differences(sources.scores["rows"], systems, columns)
    head = ("system", *(_heading(column) for column in columns))
    explained = (
        "Test scores in percent: mean ± standard deviation over seeds, and n, the number of runs; "
        "of a single run the document bootstrap's 95% interval. Bold: the best of a task."
    )
    if differences:
        explained += (
            " Difference: what pre-training adds to the same encoder from random weights; "
            "± its standard error, where both sides have two runs or more; without it, a hint only."
        )
    return section(
        "scores",
        "Scores",
        table("scores", "Scores on the test splits", head, [*shown, *differences], totals=len(differences)),
        paragraph(explained),
        *_plots(sources),
        _published(sources, {(column[0], column[1]) for column in columns}),
    )


def _plots(sources: Sources) -> list[Html]:
    assert sources.scores is not None
    drawn = (score_bars(sources.scores["rows"]), score_steps(sources.scores["rows"]))
    prefix = "Synthetic data. " if sources.synthetic else ""
    return [figure(plot, prefix) for plot in drawn if plot is not None]


def _arrange(rows: list[_Row]) -> tuple[list[_Column], dict[_System, dict[_Column, _Row]]]:
    """Columns in the table's order of tasks; systems by kind, a second model of the same name on a row of its
    own."""
    columns = list(dict.fromkeys(_column(row) for row in rows))
    systems: dict[_System, dict[_Column, _Row]] = defaultdict(dict)
    for row in rows:
        copy = 1
        while _column(row) in systems[(row["kind"], row["model"], copy)]:
            copy += 1
        systems[(row["kind"], row["model"], copy)][_column(row)] = row
    kinds = list(dict.fromkeys(["pre-trained", "random weights", *(kind for kind, _, _ in systems)]))
    return columns, {
        system: systems[system] for system in sorted(systems, key=lambda system: kinds.index(system[0]))
    }


def _column(row: _Row) -> _Column:
    return row["task"], row["protocol"], row["score_name"]


def _heading(column: _Column) -> Html:
    task, protocol, score_name = column
    return join([task, element("span", f"{score_name}, {protocol}", class_="aside")])


def _name(system: _System) -> Html:
    kind, model, copy = system
    again = f" ({copy})" if copy > 1 else ""
    name, note = (model, kind) if kind == "baseline" else (kind, f"model: {model}")
    return join([name + again, element("span", note, class_="aside")])


def _cell(row: _Row | None, best: float) -> Html:
    if row is None:
        return Html("–")
    runs = len(row["scores"])
    value = f"{row['mean']:.2f}" + (f" ± {row['sd']:.2f}" if row["sd"] is not None else "")
    note = f"n = {runs}"
    if row["interval_95"]:
        note += f", {row['interval_95'][0]:.1f}–{row['interval_95'][1]:.1f}"
    return join(
        [element("strong", value) if row["mean"] == best else value, element("span", note, class_="aside")]
    )


def _differences(
    rows: list[_Row], systems: dict[_System, dict[_Column, _Row]], columns: list[_Column]
) -> list[tuple[object, ...]]:
    """Pre-trained minus random, for each model that was run both ways with one budget on the same data."""
    shown: list[tuple[object, ...]] = []
    for (kind, model, copy), trained in systems.items():
        if kind != "pre-trained":
            continue
        fresh = {column: _fresh(rows, row) for column, row in trained.items()}
        if any(fresh.values()):
            note = f"pre-trained{f' ({copy})' * (copy > 1)} − random weights, model: {model}"
            cells = [_difference(trained.get(column), fresh.get(column)) for column in columns]
            shown.append((join(["difference", element("span", note, class_="aside")]), *cells))
    return shown


def _fresh(rows: list[_Row], trained: _Row) -> _Row | None:
    """The row of the same network from random weights."""
    same = ("task", "protocol", "model", "config", "data")
    return next(
        (
            row
            for row in rows
            if row["kind"] == "random weights" and all(row.get(name) == trained.get(name) for name in same)
        ),
        None,
    )


def _difference(trained: _Row | None, fresh: _Row | None) -> str:
    if trained is None or fresh is None:
        return "–"
    text = f"{trained['mean'] - fresh['mean']:+.2f}"
    if trained["sd"] is not None and fresh["sd"] is not None:
        text += (
            f" ± {math.hypot(*(row['sd'] / math.sqrt(len(row['scores'])) for row in (trained, fresh))):.2f}"
        )
    return text


def _published(sources: Sources, contests: set[tuple[str, str]]) -> Html:
    """Published scores, those of the same protocol for the tasks that were run under it."""
    assert sources.scores is not None
    shown: list[str] = [task for task in TASKS if task in {task for task, _ in contests}]
    same = [task for task in shown if any((task, protocol) in contests for protocol in REFERENCE_PROTOCOLS)]
    parts = [element("h3", "Published scores"), paragraph(_comparable(sources, shown))]
    for identifier, caption, references, tasks in (
        ("published", "Published with the same protocol", sources.scores["references"], same),
        (
            "other-protocols",
            "Published with other protocols: not comparable with anything above",
            sources.scores["other_protocols"],
            shown,
        ),
    ):
        chosen = [reference for reference in references if any(task in reference["scores"] for task in tasks)]
        if chosen:
            parts.append(_references(identifier, caption, chosen, tasks))
    return element("div", join(parts), class_="apart")


def _references(identifier: str, caption: str, references: list[dict[str, Any]], tasks: list[str]) -> Html:
    """A table of published scores, and below it each protocol and source that its rows point to."""
    sources = list(dict.fromkeys((reference["protocol"], reference["source"]) for reference in references))
    rows = [
        (
            reference["model"],
            *(f"{reference['scores'][task]:.2f}" if task in reference["scores"] else "–" for task in tasks),
            f"[{1 + sources.index((reference['protocol'], reference['source']))}]",
        )
        for reference in references
    ]
    notes = [
        element("li", f"[{place}] {protocol}. Source: {source}.")
        for place, (protocol, source) in enumerate(sources, 1)
    ]
    shown = table(identifier, caption, ("model", *tasks, "source"), rows)
    return join([shown, element("ul", join(notes), class_="sources", id=f"{identifier}-sources")])


def _comparable(sources: Sources, tasks: list[str]) -> str:
    """Whether the scores above may be held against the published ones."""
    if sources.synthetic:
        return (
            "For orientation only: these scores are not comparable with those above, "
            "which come from made-up files in the benchmarks' formats."
        )
    assert sources.scores is not None
    others = [
        task
        for task in tasks
        if not all(row["published_data"] for row in sources.scores["rows"] if row["task"] == task)
    ]
    if others:
        return (
            f"Not comparable with those above for {', '.join(others)}: the files here are not the published"
            " ones."
        )
    return "The files here are the published ones: their documents and annotations were counted and agree."
