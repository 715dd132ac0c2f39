"""`metrics.jsonl` with lines that are no records."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from accelerate import Accelerator

from biobert_scale.recipes import load_config
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.monitor.telemetry import METRICS, UNREADABLE, Telemetry, read_metrics
from biobert_scale.training.monitor.trackers import Trackers

BAD = (b"{", b"\xff\xfe", b"3", b"[]", b"{}", b'{"global_step": "x"}', b"[" * 100_000, b"null")


def record(step: int, **values: object) -> bytes:
    return json.dumps({"global_step": step, "consumed_samples": 16 * step, **values}).encode()


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.fault(
    "a line that is no record in the middle of `metrics.jsonl`",
    "the records behind it are read; a warning",
)
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
@pytest.mark.fault(
    "the same, and the run resumes",
    "every record stays, the bad line is kept in a file of its own",
)
def test_a_run_that_resumes_keeps_its_records_and_the_bad_lines_aside(bad: bytes, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(b"\n".join([record(1), bad, record(2), record(3), b""]))
    telemetry = Telemetry.__new__(Telemetry)
    telemetry.path = tmp_path / METRICS
    telemetry.accelerator = type("Alone", (), {"is_main_process": True})()  # type: ignore[assignment]
    telemetry.bar = type("Bar", (), {})()  # type: ignore[assignment]
    telemetry.trackers = Trackers((), tmp_path, global_step=0, records=())
    state = type("State", (), {"global_step": 2, "consumed_samples": 32})()
    telemetry.rewind(state)  # type: ignore[arg-type]
    assert [line["global_step"] for line in read_metrics(tmp_path)] == [1, 2]
    assert (tmp_path / UNREADABLE).read_bytes() == bad + b"\n"
    telemetry.rewind(state)  # type: ignore[arg-type]
    assert (tmp_path / UNREADABLE).read_bytes() == bad + b"\n", "kept once"


@pytest.mark.fault("the last line of `metrics.jsonl` cut by a crash", "left out", lost="one record")
def test_a_line_cut_by_a_crash_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"global_step": 1}\n{"global_step": 2}\n{"global_st')
    assert [record["global_step"] for record in read_metrics(tmp_path)] == [1, 2]


def test_records_beyond_a_checkpoint_go_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"global_step": step, "consumed_samples": seen}) + "\n"
            for step, seen in ((0, 0), (1, 16), (2, 32), (2, 48), (3, 64))
        )
    )
    state = TrainerState(global_step=2, consumed_samples=32)
    telemetry = Telemetry(Accelerator(cpu=True), tmp_path, state, config=load_config("demo"))
    telemetry.log(3, {"consumed_samples": 48, "optim/grad_norm": float("inf"), "optim/loss_scale": 2.0})
    telemetry.close(patience=30.0)
    assert [(record["global_step"], record["consumed_samples"]) for record in read_metrics(tmp_path)] == [
        (0, 0),
        (1, 16),
        (2, 32),
        (3, 48),
    ]
    assert (
        "Infinity" not in (tmp_path / "metrics.jsonl").read_text()
        and read_metrics(tmp_path)[-1]["optim/grad_norm"] is None
    )
