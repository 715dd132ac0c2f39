"""The table of BLURB (Gu et al. 2021, "Domain-Specific Language Model Pretraining for Biomedical NLP"): a
model's scores on its tasks, averages by type of task, the average of these, and published scores beside
them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypedDict

from biobert_scale import display
from biobert_scale.evaluation.protocols import SCORES
from biobert_scale.evaluation.records import FinetunedMetrics
from biobert_scale.evaluation.tasks.spec import Task, known_tasks


class System(TypedDict):
    """A model: the one that was measured, or a published one."""

    name: str
    source: str
    """Empty of the one that was measured."""
    scores: dict[str, float]
    """Mean over seeds, by task."""
    averages: dict[str, float]
    """By type of task, where every task of the type has a score that compares."""
    total: float | None
    """The average of the types' averages; None where one is missing."""


class TaskScore(TypedDict):
    """What was measured of a task."""

    task: str
    group: str
    """The type of task."""
    score_name: str
    seeds: list[int]
    scores: list[float]
    """One for each seed."""
    sd: float | None
    published_seeds: int
    failed: list[str]
    """Runs without a result, and why."""
    problem: str
    """Why it has no score, or one that does not compare or is not whole; empty where it counts."""


class BlurbTable(TypedDict):
    """`blurb.json`; scores are in percent."""

    tasks: list[TaskScore]
    systems: list[System]
    """The measured one first."""
    withheld: str
    """Why there is no total; empty where there is one."""
    changed: list[str]
    """The options that were not as published."""


def blurb_tasks() -> dict[str, Task]:
    """The tasks by name, each type's together."""
    tasks = [task for task in known_tasks().values() if task.group]
    groups = list(dict.fromkeys(task.group for task in tasks))
    return {task.name: task for task in sorted(tasks, key=lambda task: groups.index(task.group))}


def blurb_table(
    model: str,
    runs: Sequence[FinetunedMetrics],
    problems: Mapping[str, str] = MappingProxyType({}),
    failed: Mapping[str, list[str]] = MappingProxyType({}),
    changed: Sequence[str] = (),
) -> BlurbTable:
    """Make the table of a model's runs.

    Args:
        problems: by task, why it has no score or one that does not compare.
        failed: by task, its runs without a result, and why.
        changed: options that are not as published.
    """
    by_task: dict[str, list[FinetunedMetrics]] = defaultdict(list)
    for run in runs:
        by_task[run["task"]].append(run)
    rows, means = list[TaskScore](), dict[str, float]()
    for name, task in blurb_tasks().items():
        scores = [run["score"] for run in by_task[name]]
        lost = failed.get(name, [])
        of_failures = (
            f"{len(lost)} of {len(lost) + len(scores)} runs failed ({'; '.join(lost)})" if lost else ""
        )
        problem = ", ".join(filter(None, (of_failures, problems.get(name, ""))))
        if scores:
            means[name] = statistics.fmean(scores)
        rows.append(
            TaskScore(
                task=name,
                group=task.group,
                score_name=SCORES[task.metric].name,
                seeds=[run["seed"] for run in by_task[name] if run["seed"] is not None],
                scores=scores,
                sd=statistics.stdev(scores) if len(scores) > 1 else None,
                published_seeds=task.seeds,
                failed=lost,
                problem=problem or ("" if scores else "no run"),
            )
        )
    withheld = "; ".join(f"{row['task']}: {row['problem']}" for row in rows if row["problem"])
    counted = {row["task"]: means[row["task"]] for row in rows if not row["problem"]}
    averages, total = average(counted)
    measured = System(name=model, source="", scores=means, averages=averages, total=total)
    return {
        "tasks": rows,
        "systems": [measured, *published_systems()],
        "withheld": withheld,
        "changed": [*changed],
    }


def average(scores: Mapping[str, float]) -> tuple[dict[str, float], float | None]:
    """BLURB's averages: of the tasks of each type, and of the types.

    Returns:
        The averages of the types whose tasks all have a score, and theirs if no type is missing.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name, task in blurb_tasks().items():
        groups[task.group].append(name)
    averages = {
        group: statistics.fmean(scores[name] for name in names)
        for group, names in groups.items()
        if scores.keys() >= set(names)
    }
    return averages, statistics.fmean(averages.values()) if len(averages) == len(groups) else None


def published_systems() -> list[System]:
    """The models that have a published score of every task."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for name, task in blurb_tasks().items():
        for each in task.scores:
            if not each.protocol:
                found[each.model, each.source][name] = each.score
    return [
        System(
            name=model, source=source, scores=scores, averages=average(scores)[0], total=average(scores)[1]
        )
        for (model, source), scores in found.items()
        if scores.keys() == blurb_tasks().keys()
    ]


def render(table: BlurbTable) -> str:
    """As aligned text, with notes below."""
    header, rows = _cells(table)
    return "\n".join([display.text(display.table(rows, header=header)), "", *_notes(table)])


def render_markdown(table: BlurbTable) -> str:
    """The same as Markdown."""
    header, rows = _cells(table)
    ruler = ["---"] * 3 + ["---:"] * (len(header) - 3)
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows)]
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(table))]) + "\n"


def _cells(table: BlurbTable) -> tuple[list[str], list[list[str]]]:
    measured, *published = table["systems"]
    header = ["type", "task", "measure", measured["name"], "runs", *(each["name"] for each in published)]
    rows: list[list[str]] = []
    for place, row in enumerate(table["tasks"]):
        rows.append(
            [
                row["group"],
                row["task"],
                row["score_name"],
                _score(measured["scores"].get(row["task"]), row),
                f"{len(row['scores'])} of {row['published_seeds']}",
                *(_number(each["scores"].get(row["task"])) for each in published),
            ]
        )
        group = [other["group"] for other in table["tasks"][place + 1 :]]
        if row["group"] not in group and sum(r["group"] == row["group"] for r in table["tasks"]) > 1:
            rows.append(_average(row["group"], [each["averages"] for each in table["systems"]]))
    totals = [{"BLURB": each["total"]} if each["total"] is not None else {} for each in table["systems"]]
    return header, [*rows, _average("BLURB", totals)]


def _average(name: str, averages: Sequence[Mapping[str, float]]) -> list[str]:
    mine, *published = [_number(each.get(name)) for each in averages]
    return [name, "average", "", mine, "", *published]


def _score(mean: float | None, row: TaskScore) -> str:
    spread = f" ± {row['sd']:.2f}" if row["sd"] is not None else ""
    return _number(mean) + spread + (" *" if row["problem"] and mean is not None else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _notes(table: BlurbTable) -> list[str]:
    notes = ["BLURB: the average of the types' averages, not of the tasks."]
    if table["withheld"]:
        notes.append(f"BLURB score withheld: {table['withheld']}.")
    if any(row["problem"] and row["scores"] for row in table["tasks"]):
        notes.append("* counts in no average, and compares with no published score.")
    if table["changed"]:
        notes.append(f"Not as published: {', '.join(table['changed'])}.")
    fewer: dict[str, list[str]] = defaultdict(list)
    for row in table["tasks"]:
        if 0 < len(row["scores"]) < row["published_seeds"]:
            fewer[f"{len(row['scores'])} of {row['published_seeds']}"].append(row["task"])
    for number, names in fewer.items():
        notes.append(f"Fewer runs than the published means have, {number}: {', '.join(names)}.")
    sources: dict[str, list[str]] = defaultdict(list)
    for system in table["systems"][1:]:
        sources[system["source"]].append(system["name"])
    return [*notes, *(f"{', '.join(names)}: {source}." for source, names in sources.items())]
