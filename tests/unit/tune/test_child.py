from __future__ import annotations

import time
from pathlib import Path

import pytest

from biobert_scale.tune.child import run_for


@pytest.mark.slow
def test_a_process_that_takes_too_long_goes_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the GPU suite has started a training, which would keep the device; a
    launcher's ranks have sessions of their own."""
    pids = tmp_path / "pids"
    launcher = (
        f"setsid sleep 600 & rank=$!; echo $rank >> {pids}; trap 'kill $rank; exit' TERM; echo ready; wait"
    )
    assert run_for(["bash", "-c", launcher], seconds=3.0, log=tmp_path / "log") is None
    assert (tmp_path / "log").read_text() == "ready\n"
    monkeypatch.setattr("biobert_scale.tune.child._PATIENCE_SECONDS", 1.0)
    assert (
        run_for(
            ["bash", "-c", f"trap '' TERM; sleep 600 & echo $! >> {pids}; wait"],
            seconds=3.0,
            log=tmp_path / "log",
        )
        is None
    )
    for pid in map(int, pids.read_text().split()):
        while _alive(pid):
            time.sleep(0.05)
    assert run_for(["false"], seconds=60, log=tmp_path / "log") == 1


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
