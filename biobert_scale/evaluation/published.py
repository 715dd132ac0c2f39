"""Published test scores, as a reference beside one's own: each with the protocol it was obtained under, and
its source. They are in the tasks' files."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from biobert_scale.evaluation.tasks.spec import known_tasks

REFERENCE_PROTOCOLS = ("blurb", "hoc-blurb")
"""What `references` are comparable with."""
_BLURB = "BLURB: trained on train, chosen on dev, mean of 5 or 10 seeds; HoC micro-F1"


@dataclass(frozen=True, kw_only=True)
class PublishedScores:
    """Test scores in percent by task, in the task's own measure or the one that `protocol` names."""

    model: str
    scores: dict[str, float]
    protocol: str
    source: str


@cache
def references() -> tuple[PublishedScores, ...]:
    """Those that compare with a task's first protocol."""
    return tuple(each for each in _gathered() if each.protocol == _BLURB)


@cache
def other_protocols() -> tuple[PublishedScores, ...]:
    """Those that compare with no protocol here: never to be put in one column with them."""
    return tuple(each for each in _gathered() if each.protocol != _BLURB)


def _gathered() -> list[PublishedScores]:
    scores: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for task in known_tasks().values():
        for each in task.scores:
            scores[each.model, each.protocol or _BLURB, each.source][task.name] = each.score
    return [
        PublishedScores(model=model, scores=found, protocol=protocol, source=source)
        for (model, protocol, source), found in scores.items()
    ]
