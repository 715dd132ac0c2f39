"""The published protocols: what is trained on and how it is chosen; and what each metric is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from biobert_scale.errors import UserError
from biobert_scale.evaluation.scores import Measure
from biobert_scale.evaluation.tasks.spec import Metric, Task


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a task is run. Scores of two protocols are never comparable."""

    name: str
    selection: str
    """The rule, as `metrics.json` and the documents give it."""
    retrain: bool = False
    """Train again on train and dev for the number of epochs that dev chose."""


_BEST_EPOCH = (
    "trained on train; settings and epoch with the best dev score, the first among equals; test predicted"
    " once"
)
PROTOCOLS = (
    Protocol(name="best-epoch", selection=_BEST_EPOCH),
    Protocol(name="blurb", selection=_BEST_EPOCH),
    Protocol(
        name="biobert",
        selection=(
            "settings and number of epochs with the best dev score; then trained anew on train and dev for"
            " that many epochs; test predicted once"
        ),
        retrain=True,
    ),
    Protocol(name="hoc-blurb", selection=_BEST_EPOCH),
    Protocol(name="hoc-blue", selection=_BEST_EPOCH),
)
"""No published one; Gu et al. 2021 (BLURB); Lee et al. 2020 (BioBERT); BLURB's and BLUE's (Peng et al. 2019)
of the hallmarks."""


NOT_TOLD = "not told"
"""In the place of a protocol: of predictions from a file that nobody says more of."""


class Score(NamedTuple):
    """What a metric is called."""

    measure: Measure
    name: str


SCORES: dict[Metric, Score] = {
    "entity_f1": Score("micro", "entity F1"),
    "word_macro_f1": Score("macro", "word macro-F1"),
    "micro_f1": Score("micro", "micro-F1"),
    "example_f1": Score("example", "example-based F1"),
    "accuracy": Score("accuracy", "accuracy"),
    "pearson": Score("pearson", "Pearson correlation"),
}


def protocol_of(task: Task, name: str = "") -> Protocol:
    """A task's protocol: its first one where no name is given.

    Raises:
        UserError: an unknown protocol, or one of another task.
    """
    fitting = {protocol.name: protocol for protocol in PROTOCOLS if protocol.name in task.protocols}
    chosen = name or task.protocols[0]
    if chosen not in fitting:
        known = ", ".join(name for name in task.protocols if name in fitting) or "best-epoch"
        remedy = f"choose among: {known}"
        raise UserError(f"no protocol '{chosen}' for {task.name}", where="--protocol", remedy=remedy)
    return fitting[chosen]
