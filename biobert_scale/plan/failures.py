"""A run whose nodes fail: how often to save, and how long it takes.

Failures come at any moment alike (exponential), also while a run starts again. A failed run starts again from
the newest complete save. All times are in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_RUNS = 1000
_MOST_FAILURES = 2000


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What may happen to a run, and what it costs."""

    mtbf: float
    """Mean time between failures of all its nodes together; infinite where none fails."""
    restart: float
    """From a failure until the first step."""
    save: float
    """That a save keeps the loop waiting for."""
    write: float = 0.0
    """After which a save is complete, behind the steps that follow it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What many simulated runs came to."""

    seconds: float
    """Of a run from its first step to its last save, on average."""
    seconds_95: float
    """Exceeded by one run of twenty."""
    restarts: float
    lost: float
    """Share of the seconds in which steps were taken that a failure undid."""
    restarting: float
    """Share of the seconds between a failure and the first step after it."""
    saving: float
    """Share of the seconds that the loop waited for saves."""


def young_interval(failures: Failures) -> float:
    """Seconds of steps between two saves, to first order: sqrt(2 save mtbf) (Young 1974)."""
    return math.sqrt(2 * failures.save * failures.mtbf)


def daly_interval(failures: Failures) -> float:
    """Seconds of steps between two saves, to higher order (Daly 2006)."""
    if failures.save >= 2 * failures.mtbf:
        return failures.mtbf
    if math.isinf(failures.mtbf):
        return math.inf
    part = failures.save / (2 * failures.mtbf)
    return young_interval(failures) * (1 + math.sqrt(part) / 3 + part / 9) - failures.save


def expected_seconds(work: float, interval: float, failures: Failures) -> float:
    """Mean length of a run with so many seconds of steps, each save complete at once (Daly 2006).

    Infinite where it is too long to be counted.
    """
    interval = min(interval, work)
    if math.isinf(failures.mtbf):
        return work * (1 + failures.save / interval)
    segment = (interval + failures.save) / failures.mtbf
    if segment + failures.restart / failures.mtbf > 500:
        return math.inf
    return failures.mtbf * math.exp(failures.restart / failures.mtbf) * math.expm1(segment) * work / interval


def simulate(
    work: float, interval: float, failures: Failures, *, seed: int, runs: int = _RUNS
) -> Outcome | None:
    """Let many runs go from failure to failure.

    Args:
        work: seconds of steps in a run that nothing happens to.
        interval: seconds of steps between two saves; another save ends the run.

    Returns:
        None where a run is expected to fail more than 2,000 times.
    """
    whole = Failures(
        mtbf=failures.mtbf, restart=failures.restart, save=failures.save + failures.write, write=0.0
    )
    if expected_seconds(work, interval, whole) > _MOST_FAILURES * failures.mtbf:
        return None
    random = np.random.default_rng(seed)
    # A save waits until the one before it is complete.
    period = max(interval + failures.save, failures.write)
    left = np.full(runs, float(work))
    starting, seconds, restarts, lost, restarting, saving = (np.zeros(runs) for _ in range(6))
    going = np.arange(runs)
    while going.size:
        life = random.exponential(size=going.size) * failures.mtbf
        begin, rest = starting[going], left[going]
        saves = np.ceil(rest / interval)
        last = rest - (saves - 1) * interval
        needed = begin + (saves - 1) * period + last + failures.save + failures.write
        done = life >= needed
        took = np.where(done, needed, life)
        steps = np.maximum(took - begin, 0.0)
        first = interval + failures.save + failures.write
        complete = np.where(done, saves, np.clip(np.floor((steps - first) / period) + 1, 0, saves - 1))
        passes = np.floor(steps / period)
        taken = np.minimum(passes * interval + np.minimum(steps - passes * period, interval), rest)
        kept = np.where(done, rest, complete * interval)
        seconds[going] += took
        restarting[going] += np.minimum(took, begin)
        lost[going] += np.where(done, 0.0, taken - kept)
        saving[going] += steps - taken
        left[going] -= kept
        restarts[going] += ~done
        starting[going] = failures.restart
        going = going[~done]
    return Outcome(
        seconds=float(seconds.mean()),
        seconds_95=float(np.quantile(seconds, 0.95)),
        restarts=float(restarts.mean()),
        lost=float(lost.sum() / seconds.sum()),
        restarting=float(restarting.sum() / seconds.sum()),
        saving=float(saving.sum() / seconds.sum()),
    )
