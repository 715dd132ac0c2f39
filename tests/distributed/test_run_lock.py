"""Two starts on one run directory, and several on one new directory of samples."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biobert_scale.data.samples import open_index
from biobert_scale.lock import LOCK
from biobert_scale.training.telemetry import read_metrics
from tests.factories import write_tokens
from tests.launching import command, environment


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


def start(tokens: Path, run: Path, *overrides: str, processes: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(tokens, run, *overrides, processes=processes, steps=100_000),
        env=environment(),
        cwd=run.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    while not any(record["global_step"] >= step for record in read_metrics(run)):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def test_a_second_run_is_refused_and_a_killed_one_is_succeeded(tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = start(tokens, run)
    try:
        wait_for_step(first, run, 4)
        second = start(tokens, run, processes=2)
        complaint = second.communicate(timeout=200)[1]
        assert second.returncode, complaint
        refused = [line for line in complaint.splitlines() if line.startswith("biobert-scale:")]
        assert len(refused) == 1 and f"'train' is at work here: process {first.pid} on " in refused[0]
        assert str(run) in refused[0] and "wait for its end" in refused[0]
        assert first.poll() is None and json.loads((run / LOCK).read_text())["pid"] == first.pid
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    reached = read_metrics(run)[-1]["global_step"]
    third = start(tokens, run)
    try:
        wait_for_step(third, run, reached + 3)
        (run / "STOP").touch()
        complaint = third.communicate(timeout=100)[1]
    finally:
        third.kill()
    assert third.returncode == 75 and "taking over from 'train', which is gone" in complaint
    assert not list(run.glob(f"{LOCK}*"))
    steps = [record["global_step"] for record in read_metrics(run) if "train/loss" in record]
    assert steps == list(range(1, len(steps) + 1))


BUILD = """
import sys
from pathlib import Path
from biobert_scale.config import DataConfig
from biobert_scale.data.samples import build_samples
sys.stdin.readline()
build_samples(Path(sys.argv[1]), Path(sys.argv[2]), DataConfig(max_seq_length=64), seed=1, workers=1)
"""


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
