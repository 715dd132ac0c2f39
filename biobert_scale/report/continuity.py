"""Whether a training curve misses or repeats steps where its run was stopped and resumed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from biobert_scale.config import BatchSizes
from biobert_scale.report.sources import Interruption, Record, attempts

WINDOW = 10
"""Records on each side that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Continuity:
    """Both sides of an interruption in the records of training steps."""

    interruption: Interruption
    last_step: int | None
    """The last recorded step before, and the first one after."""
    first_step: int | None
    missing: int
    """Steps that no record covers."""
    repeated: int
    """Steps that were computed twice."""
    samples_consistent: bool | None
    """Whether `consumed_samples` is what the steps' batches come to; None where they are unknown."""

    @property
    def faults(self) -> list[str]:
        """What shows that the run was stopped, as parts of a sentence."""
        found = []
        if self.missing:
            found.append(f"{_steps(self.missing)} missing")
        if self.repeated:
            found.append(f"{_steps(self.repeated)} computed twice")
        if self.samples_consistent is False:
            found.append("the count of samples does not continue where it was")
        return found

    @property
    def verdict(self) -> str:
        """The finding, as a sentence."""
        if self.first_step is None or self.last_step is None:
            return "Not judged: no step is recorded on one of its sides."
        if self.faults:
            return f"Not continuous: {', '.join(self.faults)}."
        steps = f"step {self.first_step:,} follows step {self.last_step:,}"
        return f"Continuous: {steps}, none is missing or repeated."


def _steps(number: int) -> str:
    return "1 step is" if number == 1 else f"{number:,} steps are"


def check_continuity(
    training: Sequence[Record],
    interruption: Interruption,
    *,
    log_every_steps: int = 1,
    batch_sizes: BatchSizes | None = None,
) -> Continuity:
    """Look for missing and repeated steps in the ten records before and after an interruption.

    Args:
        training: the records of training steps.
        log_every_steps: steps from one record to the next.
        batch_sizes: where given, `consumed_samples` must be theirs after the steps taken and skipped.
    """
    at = interruption.last_kept_step
    before = [record for record in training if record["global_step"] <= at][-WINDOW:]
    after = [record for record in training if record["global_step"] > at][:WINDOW]
    near = [*before, *after]
    missing, repeated = 0, interruption.global_step - at
    for first, second in itertools.pairwise(near):
        missing += max(0, second["global_step"] - first["global_step"] - log_every_steps)
        repeated += attempts(second) <= attempts(first)
    consistent = None
    if batch_sizes and near:
        samples = batch_sizes.samples_before
        consistent = all(each["consumed_samples"] == samples(attempts(each)) for each in near)
    return Continuity(
        interruption=interruption,
        last_step=before[-1]["global_step"] if before else None,
        first_step=after[0]["global_step"] if after else None,
        missing=missing,
        repeated=repeated,
        samples_consistent=consistent,
    )
