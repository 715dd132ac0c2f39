"""Two starts on one run directory, and several on one new directory of samples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.data.samples import open_index
from biobert_scale.lock import LOCK
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.launching import environment, start, wait_for_step


@pytest.mark.fault(
    "a second run is started in the directory of one that trains",
    "refused with host, process and directory; the first trains on",
)
@pytest.mark.fault(
    "SIGKILL of a run, which leaves its lock",
    "the next start takes over and resumes",
    lost="the steps since the last save",
)
def test_a_second_run_is_refused_and_a_killed_one_is_succeeded(tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options: dict[str, Any] = {"processes": 1, "steps": 100_000}
    first = start(tokens, run, **options)
    try:
        wait_for_step(first, run, 4)
        second = start(tokens, run, processes=2, steps=100_000)
        assert second.wait() == 2, second.stderr
        refused = [line for line in second.stderr.splitlines() if line.startswith("biobert-scale:")]
        assert len(refused) == 1 and f"'train' is at work here: process {first.pid(0)} on " in refused[0]
        assert str(run) in refused[0] and "wait for its end" in refused[0]
        assert first.returncode is None and json.loads((run / LOCK).read_text())["pid"] == first.pid(0)
    finally:
        first.kill()
    reached = read_metrics(run)[-1]["global_step"]
    third = start(tokens, run, **options)
    try:
        wait_for_step(third, run, reached + 3)
        (run / "STOP").touch()
        assert third.wait() == 75 and "taking over from 'train', which is gone" in third.stderr
    finally:
        third.kill()
    assert not list(run.glob(f"{LOCK}*"))
    steps = [record["global_step"] for record in read_metrics(run) if "train/loss" in record]
    assert steps == list(range(1, len(steps) + 1))


BUILD = """
import sys
from pathlib import Path
from typing import Any
from biobert_scale.config import DataConfig
from biobert_scale.data.samples import build_samples
sys.stdin.readline()
build_samples(Path(sys.argv[1]), Path(sys.argv[2]), DataConfig(max_seq_length=64), seed=1, workers=1)
"""


@pytest.mark.slow
@pytest.mark.fault(
    "three starts at once on one new directory of samples",
    "one makes them, the others wait and use them",
)
def test_of_several_starts_on_new_samples_one_makes_them_for_all(tokens: Path, tmp_path: Path) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(tokens), str(tmp_path / "samples")],
            env=environment(),
            text=True,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in starts:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=200)[1] for process in starts]
    assert [process.returncode for process in starts] == [0, 0, 0], said
    assert len(open_index(tmp_path / "samples", "train"))
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["manifest.json", "train.index", "validation.index"]
