"""Does a training curve show where the run was stopped and resumed?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biobert_scale.report.sources import Interruption

WINDOW = 10
"""Records on each side whose mean losses are compared."""
LIMIT = 3.0
"""A jump of so many standard deviations of the step-to-step noise counts as a seam."""
_NOISE_WINDOW = 50
_LEAST = 3
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Seam:
    """The place where a run was resumed, measured on the training MLM loss."""

    interruption: Interruption
    last_step: int | None
    """The last recorded step before, and the first one after."""
    first_step: int | None
    missing: int
    """Steps that no record covers."""
    repeated: int
    """Steps that were computed twice."""
    samples_consistent: bool | None
    """Whether the count of samples goes on exactly; None where the batch size is unknown."""
    records: tuple[int, int]
    """How many records the means come from."""
    loss_before: float
    loss_after: float
    trend: float
    """The change of loss that the slope around the place explains."""
    noise: float
    """Standard deviation of a single step's loss around the smooth curve."""

    @property
    def jump(self) -> float:
        """The change of loss that the trend does not explain."""
        return self.loss_after - self.loss_before - self.trend

    @property
    def jump_in_noise(self) -> float:
        """The jump in standard deviations of the step-to-step noise."""
        if self.noise < _ROUNDING:  # a curve without noise
            return 0.0 if abs(self.jump) < _ROUNDING else math.copysign(math.inf, self.jump)
        return self.jump / self.noise

    @property
    def faults(self) -> list[str]:
        """What shows that the run was stopped, as parts of a sentence."""
        found = []
        if self.missing:
            found.append(f"{_steps(self.missing)} missing")
        if self.repeated:
            found.append(f"{_steps(self.repeated)} computed twice")
        if self.samples_consistent is False:
            found.append("the count of samples does not go on where it was")
        if math.isfinite(self.loss_before) and not abs(self.jump_in_noise) < LIMIT:
            found.append(f"the loss jumps by {self.jump_in_noise:+.1f} sd of its step-to-step noise")
        return found

    @property
    def verdict(self) -> str:
        """The finding, as a sentence."""
        if self.first_step is None or self.last_step is None:
            return "Not judged: no step is recorded on one of its sides."
        if self.faults:
            return "Seam: " + ", ".join(self.faults) + "."
        if math.isnan(self.loss_before):
            return f"Not judged: fewer than {_LEAST} records on one of its sides."
        return (
            f"No seam: step {self.first_step:,} follows step {self.last_step:,}, none is missing or repeated,"
            f" and the loss moves by {self.jump_in_noise:+.1f} sd of its step-to-step noise (limit"
            f" {LIMIT:g})."
        )


def _steps(number: int) -> str:
    return "1 step is" if number == 1 else f"{number:,} steps are"


def measure_seam(
    training: Sequence[dict[str, Any]],
    interruption: Interruption,
    *,
    log_every_steps: int = 1,
    global_batch_size: int | None = None,
) -> Seam:
    """Compare the training MLM loss before and after an interruption.

    The means of up to 10 records on each side differ by the trend (a common slope, by least squares within
    the sides) and by the jump. The noise is the standard deviation of the differences between neighbouring
    records, over up to 50 on each side, divided by the square root of 2 (von Neumann 1941), so a slow trend
    does not enter it. With 10 records on each side and independent noise the jump's own standard error is 0.9
    of it: a limit of 3 is about three standard errors.

    Args:
        training: the records of training steps.
        log_every_steps: steps from one record to the next.
        global_batch_size: where given, `consumed_samples` must be this times the steps taken and skipped.
    """
    at = interruption.last_kept_step
    before = [record for record in training if record["global_step"] <= at]
    after = [record for record in training if record["global_step"] > at]
    near = [*before[-WINDOW:], *after[:WINDOW]]
    missing, repeated = _gaps(near, log_every_steps)
    loss_before, loss_after, trend, noise = _losses(before, after)
    consistent = None
    if global_batch_size and near:
        consistent = all(
            record["consumed_samples"] == global_batch_size * _attempts(record) for record in near
        )
    return Seam(
        interruption=interruption,
        last_step=before[-1]["global_step"] if before else None,
        first_step=after[0]["global_step"] if after else None,
        missing=missing,
        repeated=repeated + interruption.global_step - at,
        samples_consistent=consistent,
        records=(min(len(before), WINDOW), min(len(after), WINDOW)),
        loss_before=loss_before,
        loss_after=loss_after,
        trend=trend,
        noise=noise,
    )


def _attempts(record: dict[str, Any]) -> int:
    """Steps taken and skipped: a step skipped for an overflow keeps `global_step` but has used its
    samples."""
    return int(record["global_step"] + record.get("optim/skipped_steps", 0))


def _gaps(records: Sequence[dict[str, Any]], log_every_steps: int) -> tuple[int, int]:
    missing = repeated = 0
    for first, second in itertools.pairwise(records):
        missing += max(0, second["global_step"] - first["global_step"] - log_every_steps)
        repeated += _attempts(second) <= _attempts(first)
    return missing, repeated


def _losses(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> tuple[float, float, float, float]:
    """Mean losses before and after, the change that the trend explains, and the noise; NaN where there are
    too few records."""
    sides = [_points(before[-WINDOW:]), _points(after[:WINDOW])]
    if min(len(steps) for steps, _ in sides) < _LEAST:
        return math.nan, math.nan, math.nan, math.nan
    centred = [(steps - steps.mean(), losses - losses.mean()) for steps, losses in sides]
    spread = sum(float(steps @ steps) for steps, _ in centred)
    slope = sum(float(steps @ losses) for steps, losses in centred) / spread if spread else 0.0
    means = [float(losses.mean()) for _, losses in sides]
    distance = float(sides[1][0].mean() - sides[0][0].mean())
    wide = [_points(before[-_NOISE_WINDOW:])[1], _points(after[:_NOISE_WINDOW])[1]]
    differences = np.concatenate([np.diff(losses) for losses in wide])
    return means[0], means[1], slope * distance, float(differences.std(ddof=1) / math.sqrt(2))


def _points(records: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and finite MLM losses."""
    pairs = [
        (_attempts(record), record["train/mlm_loss"])
        for record in records
        if math.isfinite(record["train/mlm_loss"])
    ]
    points = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return points[:, 0], points[:, 1]
