"""Every measure's intervals, and its documents' statistics on the way through a file."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from biobert_scale.evaluation.metrics.bootstrap import (
    bootstrap_interval,
    paired_bootstrap,
    read_statistics,
    score_of,
)
from biobert_scale.evaluation.scores import Answers, Counts, Measure, Statistics, TypeCounts, Values

RNG = np.random.default_rng(5)
RUNS: dict[Measure, list[Statistics]] = {
    "micro": [Counts(int(n), 2, 1) for n in RNG.integers(0, 6, 40)],
    "example": [Counts(int(n), 2, 1) for n in RNG.integers(0, 6, 40)],
    "accuracy": [Answers(int(n), 3) for n in RNG.integers(0, 4, 40)],
    "pearson": [Values([float(x)], [float(x + e)]) for x, e in RNG.normal(size=(40, 2))],
    "macro": [TypeCounts({"A": [int(n), 1, 2], "B": [2, int(n), 0]}) for n in RNG.integers(0, 6, 40)],
}


@pytest.mark.parametrize("measure", RUNS)
def test_an_interval_holds_the_score_and_narrows_with_more_documents(measure: Measure) -> None:
    run = RUNS[measure]
    low, high = bootstrap_interval(run, measure=measure)
    assert low < score_of(run, measure) < high
    narrow = bootstrap_interval(run * 16, measure=measure)
    assert low < narrow[0] < narrow[1] < high
    assert paired_bootstrap([run], [run], measure=measure)["p_not_better"] == 1.0


@pytest.mark.parametrize("measure", RUNS)
def test_what_was_counted_of_a_document_is_read_as_it_was_written(measure: Measure) -> None:
    for found in RUNS[measure]:
        assert read_statistics(json.loads(json.dumps(asdict(found))), measure) == found


def test_a_resample_of_one_pair_alone_has_no_correlation() -> None:
    run: list[Statistics] = [Values([1.0], [2.0]), Values([3.0], [5.0])]
    assert score_of(run, "pearson") == pytest.approx(100.0)
    assert bootstrap_interval(run, measure="pearson") == pytest.approx((0.0, 100.0))
