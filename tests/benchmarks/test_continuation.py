from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.continuation import continuation, runs_of
from biobert_scale.files import write_json
from tests.factories import TINY, write_tokens


def test_every_continued_run_has_one_beside_it_that_was_so_from_the_start() -> None:
    runs = {run.name: run for run in runs_of(200)}
    continued = [run for run in runs.values() if run.parent]
    assert [(run.step, run.total, run.cooldown) for run in continued] == [
        *[(150, 200, 50)] * 2,
        *[(150, 200, 0)] * 2,
        (100, 150, 50),
    ]
    for run in continued:
        beside, parent = runs[run.beside], runs[run.parent]
        assert (beside.decay, beside.total, beside.cooldown) == (run.decay, run.total, run.cooldown)
        assert beside.grown == run.grown and not beside.parent and not parent.grown
        assert list(runs).index(parent.name) < list(runs).index(run.name)


@pytest.mark.slow
def test_the_table_is_of_real_runs(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", documents=120)
    grown = write_tokens(tmp_path / "grown", documents=150, vocabulary=tokens.parent / "vocabulary")
    write_json(tmp_path / "tiny.json", TINY)
    continuation(
        tokens=tokens, grown=grown, output=tmp_path / "out", config=str(tmp_path / "tiny.json"), steps=12
    )
    (page,) = (tmp_path / "out").glob("continuation-*.md")
    (found,) = (tmp_path / "out").glob("continuation-*.json")
    curves = {curve["run"]["name"]: curve for curve in json.loads(found.read_text())["curves"]}
    extended, whole = curves["WSD, extended"], curves["WSD, longer from the start"]
    assert extended["held_out"][-1] == whole["held_out"][-1], "a constant rate extended is the longer run"
    assert extended["training"] == whole["training"][9:]
    assert "+0.00%" in page.read_text() and page.with_suffix(".png").stat().st_size > 10_000
