"""The published protocols: what is trained on, how it is chosen, what is measured."""

from __future__ import annotations

from dataclasses import dataclass

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import BLUE_HALLMARK_TASK, ENTITY_TASKS, HALLMARK_TASK
from biobert_scale.evaluation.scores import Measure


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a benchmark is run. Scores of two protocols are never comparable."""

    name: str
    tasks: tuple[str, ...]
    score_name: str
    selection: str
    """The rule, as `metrics.json` and the documents give it."""
    retrain: bool = False
    """Train again on train and dev for the number of epochs that dev chose."""
    measure: Measure = "micro"


_BEST_EPOCH = (
    "trained on train; settings and epoch with the best dev score, the first among equals; test predicted"
    " once"
)
PROTOCOLS = (
    Protocol(name="blurb", tasks=ENTITY_TASKS, score_name="entity F1", selection=_BEST_EPOCH),
    Protocol(
        name="biobert",
        tasks=ENTITY_TASKS,
        score_name="entity F1",
        selection=(
            "settings and number of epochs with the best dev score; then trained anew on train and dev for"
            " that many epochs; test predicted once"
        ),
        retrain=True,
    ),
    Protocol(name="hoc-blurb", tasks=(HALLMARK_TASK,), score_name="micro-F1", selection=_BEST_EPOCH),
    Protocol(
        name="hoc-blue",
        tasks=(BLUE_HALLMARK_TASK,),
        score_name="example-based F1",
        selection=_BEST_EPOCH,
        measure="example",
    ),
)
"""Gu et al. 2021 (BLURB); Lee et al. 2020 (BioBERT); Peng et al. 2019 (BLUE)."""


NOT_TOLD = "not told"
"""In the place of a protocol: of predictions from a file that nobody says more of."""


def protocol_of(task: str, name: str = "") -> Protocol:
    """A task's protocol: its first one where no name is given.

    Raises:
        UserError: an unknown protocol, or one of another task.
    """
    fitting = [protocol for protocol in PROTOCOLS if task in protocol.tasks]
    for protocol in fitting:
        if name in ("", protocol.name):
            return protocol
    known = ", ".join(protocol.name for protocol in fitting)
    raise UserError(f"no protocol '{name}' for {task}", where="--protocol", remedy=f"choose among: {known}")
