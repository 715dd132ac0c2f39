"""The model beside published figures: what is fitted, what is predicted, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main


@pytest.mark.slow
def test_published_steps_are_predicted_within_a_few_percent(tmp_path: Path) -> None:
    ranks = Path(__file__).parents[2] / "benchmarks/results/scaling-2026-11-27.json"
    assert main(["published-scaling", "--output", str(tmp_path), "--ranks", str(ranks)]) == 0
    (page,) = tmp_path.glob("published-scaling-*.md")
    result = json.loads(page.with_suffix(".json").read_text())
    errors = {}
    for row in result["rows"]:
        error = row["predicted_seconds"] / row["measured_seconds"] - 1
        assert not row["fits"] or error == pytest.approx(0.0, abs=1e-9)
        errors[(row["series"], row["machine"], row["devices"])] = error
        assert f"| {row['devices']:,} |" in page.read_text()
    steps = [error for (series, *_), error in errors.items() if "whole job" not in series]
    assert len(errors) == 28 and max(map(abs, steps)) < 0.11
    assert sum(abs(error) < 0.05 for error in steps) >= len(steps) - 2
    assert all(0.03 < spread < 0.06 for spread in result["spreads"])
    for row in result["ranks"]:
        assert abs(row["predicted_seconds"] / row["measured_seconds"] - 1) < 0.21
