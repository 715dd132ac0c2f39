"""Formulas of the best interval between saves, and simulated runs that confirm them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale.plan.failures import (
    Failures,
    Outcome,
    daly_interval,
    expected_seconds,
    simulate,
    young_interval,
)

HOUR, DAY = 3600.0, 86400.0
OFTEN = Failures(mtbf=6 * HOUR, restart=600.0, save=60.0)
NEVER = replace(OFTEN, mtbf=math.inf)


def simulated(work: float, interval: float, failures: Failures) -> Outcome:
    found = simulate(work, interval, failures, seed=1)
    assert found is not None
    return found


def test_the_intervals_by_hand() -> None:
    failures = Failures(mtbf=20_000.0, restart=0.0, save=100.0)
    assert young_interval(failures) == 2000.0
    part = 100 / 40_000
    assert daly_interval(failures) == pytest.approx(2000 * (1 + math.sqrt(part) / 3 + part / 9) - 100)
    assert daly_interval(replace(failures, save=50_000.0)) == 20_000.0
    assert young_interval(NEVER) == daly_interval(NEVER) == math.inf


def test_daly_s_interval_is_within_a_percent_of_the_exact_one() -> None:
    """The least expected time, on a grid: no more than 1% of the interval away, and 10^-5 of the time."""
    for save, mtbf in ((1.0, DAY), (60.0, 6 * HOUR), (300.0, HOUR)):
        failures = Failures(mtbf=mtbf, restart=600.0, save=save)
        intervals = daly_interval(failures) * np.linspace(0.5, 2, 1501)
        best = min(intervals, key=lambda interval: expected_seconds(DAY, interval, failures))
        assert daly_interval(failures) == pytest.approx(best, rel=0.01)
        least = expected_seconds(DAY, best, failures)
        assert expected_seconds(DAY, daly_interval(failures), failures) <= least * (1 + 1e-5)


@pytest.mark.parametrize("interval", [300.0, 1550.0, 2 * HOUR])
def test_simulated_runs_are_as_long_as_the_formula_says(interval: float) -> None:
    assert simulated(20 * DAY, interval, OFTEN).seconds == pytest.approx(
        expected_seconds(20 * DAY, interval, OFTEN), rel=0.005
    )


def test_the_simulation_s_best_interval_is_daly_s() -> None:
    """With the same seed neighbouring intervals fail at nearly the same moments."""
    best = daly_interval(OFTEN)
    factors = (0.25, 0.5, 1.0, 2.0, 4.0)
    found = {factor: simulated(40 * DAY, best * factor, OFTEN).seconds for factor in factors}
    assert min(found, key=found.__getitem__) == 1.0
    assert found[0.25] > found[0.5] and found[4.0] > found[2.0]


def test_without_failures_nothing_is_lost() -> None:
    found = simulated(DAY, HOUR, NEVER)
    assert (found.restarts, found.lost, found.restarting) == (0.0, 0.0, 0.0)
    assert found.seconds == found.seconds_95 == pytest.approx(DAY + 24 * 60)
    assert found.saving == pytest.approx(24 * 60 / found.seconds)
    assert found.seconds == expected_seconds(DAY, HOUR, NEVER)
    free = simulated(DAY, HOUR, replace(NEVER, save=0.0))
    assert free.seconds == DAY and free.saving == 0.0


def test_a_run_that_never_saves_begins_anew_until_nothing_fails() -> None:
    """Work of one mean time between failures in one piece takes e - 1 of them."""
    failures = Failures(mtbf=HOUR, restart=0.0, save=0.0)
    found = simulate(HOUR, DAY, failures, seed=1, runs=20_000)
    assert found is not None and found.seconds == pytest.approx((math.e - 1) * HOUR, rel=0.03)
    assert found.restarts == pytest.approx(math.e - 1, rel=0.03)


def test_a_save_counts_once_it_is_complete() -> None:
    """Writing behind the steps costs no time without failures but at the end, and lost steps with them."""
    slow = replace(OFTEN, write=300.0)
    assert simulated(DAY, HOUR, replace(slow, mtbf=math.inf)).seconds == pytest.approx(DAY + 24 * 60 + 300)
    at_once, behind = (simulated(20 * DAY, 1550.0, failures) for failures in (OFTEN, slow))
    assert behind.lost * behind.seconds - at_once.lost * at_once.seconds == pytest.approx(
        300 * at_once.restarts, rel=0.1
    )
    # A save waits for the one before: steps of 10 seconds take the 300 of writing.
    waits = simulated(100.0, 10.0, replace(slow, mtbf=math.inf))
    assert waits.seconds == pytest.approx(9 * 300 + 10 + 60 + 300)


def test_a_hopeless_run_is_not_simulated() -> None:
    hopeless = replace(OFTEN, mtbf=30.0)
    assert simulate(DAY, HOUR, hopeless, seed=1) is None
    assert expected_seconds(DAY, HOUR, replace(OFTEN, mtbf=1.0)) == math.inf
    assert simulate(DAY, HOUR, replace(OFTEN, mtbf=1.0), seed=1) is None


def test_a_seed_is_a_simulation() -> None:
    assert simulate(DAY, HOUR, OFTEN, seed=3) == simulate(DAY, HOUR, OFTEN, seed=3)
    assert simulate(DAY, HOUR, OFTEN, seed=3) != simulate(DAY, HOUR, OFTEN, seed=4)


@settings(max_examples=30, deadline=None)
@given(
    work=st.floats(HOUR, 10 * DAY),
    interval=st.floats(60, DAY),
    mtbf=st.floats(HOUR, 100 * DAY),
    save=st.floats(0, 100),
    more=st.floats(1, 10),
)
def test_time_is_made_of_its_parts_and_grows_with_the_rate_of_failures(
    work: float, interval: float, mtbf: float, save: float, more: float
) -> None:
    failures = Failures(mtbf=mtbf * more, restart=600.0, save=save)
    worse = replace(failures, mtbf=mtbf)
    few, many = (expected_seconds(work, interval, each) for each in (failures, worse))
    rounding = 1 + 1e-9
    assert work <= few * rounding and few <= many * rounding
    assert daly_interval(worse) <= daly_interval(failures) * rounding
    if (found := simulate(work, interval, failures, seed=1, runs=20)) is not None:
        assert found.seconds_95 * rounding >= work and found.restarts >= 0
        parts = found.lost + found.restarting + found.saving
        assert parts + work / found.seconds == pytest.approx(1.0)
