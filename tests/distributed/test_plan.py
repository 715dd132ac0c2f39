"""What `plan` says, beside engines and runs that were really started. (Two ranks under every file:
`test_offload.py`.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.files import write_json
from tests.distributed.engine_ranks import RECIPE, check_plan, run_of, start_engines
from tests.factories import write_tokens
from tests.launching import train

pytestmark = pytest.mark.slow  # four engines on four ranks, and two runs

CASES = ["zero0:bf16", "zero1:bf16", "zero2:bf16", "zero3:bf16"]


def test_four_ranks_hold_what_the_plan_says(tmp_path: Path) -> None:
    write_json(tmp_path / "recipe.json", RECIPE)
    told = start_engines(tmp_path, CASES, ranks=4)
    for case in CASES:
        check_plan(run_of(case), case.split(":")[0], [one[case] for one in told])


def test_measured_runs_are_compared_with_their_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = write_tokens(tmp_path / "tokens", documents=200)
    runs = [tmp_path / "two", tmp_path / "one"]
    for run, processes in zip(runs, (2, 1), strict=True):
        train(tokens, run, "--training.engine.deepspeed-config", "zero1", processes=processes)
    options = [
        "--config",
        str(runs[0] / "config.json"),
        "--devices",
        "2",
        "--tokens",
        str(tokens),
        "--json",
        str(tmp_path / "plan.json"),
    ]
    assert main(["plan", *options, "--run", *map(str, runs)]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    own, other = plan["measured"]
    assert (own["own_rates"], other["own_rates"]) == (True, False)
    for one in (own, other):
        assert one["measured_step_seconds"] > 0 and one["step_seconds_error"] > -1
        # A process of so small a model is its libraries, which are measured and not predicted; the buckets'
        # memory is reserved, and hardly touched.
        assert abs(one["peak_memory_error"]) < 0.5, one
    assert plan["vocabulary_size"] == 300 and "by its own first half" in capsys.readouterr().out
