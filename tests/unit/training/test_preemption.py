from __future__ import annotations

import signal
from pathlib import Path

from biobert_scale.training.preemption import StopRequest


def test_a_stop_is_heard_from_a_signal_and_from_a_file(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        request = StopRequest(tmp_path)
        assert not request.heard()
        signal.raise_signal(signal.SIGUSR1)
        assert request.heard() and request.reason == "SIGUSR1"
        by_file = StopRequest(tmp_path)
        (tmp_path / "STOP").touch()
        assert by_file.heard() and "STOP" in by_file.reason
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
