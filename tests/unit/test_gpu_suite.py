"""The GPU suite on a CPU, with its tiny model: every part runs, and the table says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biobert_scale.bench.gpu import PARTS, suite_page

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_part_runs_from_the_script(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["benchmarks/gpu/run.sh", str(tmp_path), "--tiny"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.glob("gpu-*.json")
    result = json.loads(path.read_text())
    assert result["left_out"] == {} and set(result["parts"]) == {name for name, *_ in PARTS}
    assert all(error["loss"] < 0.02 for error in result["parts"]["parity"]["errors"].values()) and result["parts"]["parity"]["leak"] == 0
    for name in ("trainer_fp16", "trainer_bf16_compiled"):
        assert "failed" not in result["parts"][name], result["parts"][name]
        assert result["parts"][name]["checkpoint_write_seconds"] and result["parts"][name]["losses"]
    assert path.with_suffix(".md").read_text() in done.stdout + "\n" and "hours" in done.stdout


def test_what_failed_or_found_no_time_is_told() -> None:
    page = suite_page({"date": "2026-11-23", "tiny": True, "parts": {}, "seconds": {}, "left_out": {"sweep": "no time was left", "full": "Traceback\nRuntimeError: no kernel"}})
    assert "left out: sweep: no time was left" in page and "left out: full: RuntimeError: no kernel" in page
