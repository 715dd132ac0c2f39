"""A page of what `evaluate prepare` counted, task by task, to look at before anything is trained."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from biobert_scale.display import quantity, words
from biobert_scale.evaluation.prepared import (
    SPLITS,
    STAGE,
    is_published,
    prepared_tasks,
    task_of,
    why_not_comparable,
)
from biobert_scale.evaluation.protocols import SCORES
from biobert_scale.files import read_manifest, write_atomically
from biobert_scale.report.templates import Cell, percent, render_page

PAGE = "counts.html"
_DISTRIBUTED = {"mentions of ": "mentions", "rows of ": "rows"}
"""How the names of counts by type and by label begin, and what they are parts of."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What the template `prepared.html` shows of a task."""

    name: str
    about: str
    rows: list[tuple[Cell | str, ...]]
    warnings: list[str]


def write_prepared_page(prepared: Path) -> Path:
    """Write `counts.html` into a directory that `prepare` wrote; returns its path.

    Raises:
        UserError: `prepare` did not finish there.
    """
    counts = read_manifest(prepared, STAGE).counts
    title = f"{prepared.resolve().name}: tasks for evaluation"
    page = render_page(
        "prepared.html",
        date=datetime.date.today(),
        title=title,
        name=title,
        description="What was counted in each split when the tasks were prepared",
        splits=SPLITS,
        tasks=[_task(prepared, name, counts[name]) for name in prepared_tasks(prepared)],
    )
    write_atomically(prepared / PAGE, page)
    return prepared / PAGE


def _task(prepared: Path, name: str, counts: Mapping[str, Mapping[str, int]]) -> _Task:
    task, splits = task_of(prepared, name), [counts[split] for split in SPLITS]
    names = dict.fromkeys(key for split in splits for key in split)
    published = "the published set" if is_published(prepared, name) else why_not_comparable(prepared, name)
    return _Task(
        name=name,
        about=f"{words(task.kind)}, scored by {SCORES[task.metric].name}; {published}",
        rows=[(words(key), *(_cell(key, split) for split in splits)) for key in names],
        warnings=_warnings(splits),
    )


def _cell(key: str, split: Mapping[str, int]) -> Cell | str:
    number = split.get(key)
    for beginning, whole in _DISTRIBUTED.items():
        if number is not None and key.startswith(beginning) and split.get(whole):
            return Cell(quantity(number), percent(number, split[whole]))
    return quantity(number)


def _warnings(splits: list[Mapping[str, int]]) -> list[str]:
    """What makes scores better or worse than they should be."""
    found = []
    for name, split in zip(SPLITS, splits, strict=True):
        if number := split.get("texts_in_train"):
            found.append(f"{number:,} different texts of {name} are in train too: its scores are too good.")
        if number := split.get("repeated_texts"):
            found.append(f"{number:,} texts of {name} repeat an earlier one of it.")
        if number := split.get("dropped_characters"):
            found.append(f"{number:,} characters of {name} are such that BERT's tokenizers drop them.")
        if number := split.get("mentions_lost_by_tagging"):
            found.append(f"{number:,} mentions of {name} cannot be given back by tags: they count as missed.")
    return found
