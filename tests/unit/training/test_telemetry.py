"""`metrics.jsonl` with lines that are no records."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from biobert_scale.training.telemetry import METRICS, UNREADABLE, Telemetry, read_metrics

BAD = (b"{", b"\xff\xfe", b"3", b"[]", b"{}", b'{"global_step": "x"}', b"[" * 100_000, b"null")


def record(step: int, **values: object) -> bytes:
    return json.dumps({"global_step": step, "consumed_samples": 16 * step, **values}).encode()


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_nothing_behind_a_bad_line_is_lost(
    bad: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [record(1), bad, record(2), record(3), b'{"global_st']
    (tmp_path / METRICS).write_bytes(b"\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert [line["global_step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    assert "1 line(s) are no records" in caplog.text


def test_a_last_line_that_was_cut_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / METRICS).write_bytes(record(1) + b"\n" + record(2) + b'\n{"global_step": 3, "tr')
    assert [line["global_step"] for line in read_metrics(tmp_path)] == [1, 2] and not caplog.text
    (tmp_path / METRICS).write_bytes(record(1) + b"\n" + record(2))
    assert [line["global_step"] for line in read_metrics(tmp_path)] == [1, 2] and not caplog.text


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_run_that_resumes_keeps_its_records_and_the_bad_lines_aside(bad: bytes, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(b"\n".join([record(1), bad, record(2), record(3), b""]))
    telemetry = Telemetry.__new__(Telemetry)
    telemetry.path = tmp_path / METRICS
    telemetry.accelerator = type("Alone", (), {"is_main_process": True})()  # type: ignore[assignment]
    telemetry.bar = type("Bar", (), {})()  # type: ignore[assignment]
    state = type("State", (), {"global_step": 2, "consumed_samples": 32})()
    telemetry.rewind(state)  # type: ignore[arg-type]
    assert [line["global_step"] for line in read_metrics(tmp_path)] == [1, 2]
    assert (tmp_path / UNREADABLE).read_bytes() == bad + b"\n"
    telemetry.rewind(state)  # type: ignore[arg-type]
    assert (tmp_path / UNREADABLE).read_bytes() == bad + b"\n", "kept once"
