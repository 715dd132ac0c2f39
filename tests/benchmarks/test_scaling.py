from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from tests.factories import TINY_TOML


@pytest.mark.slow
def test_every_engine_sends_what_its_stage_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = (
        "[training]\nglobal_batch_size = 8\nmicro_batch_size = 2\n[training.precision]\ndtype ="
        ' "fp32"\n[training.engine]'
    )
    (tmp_path / "tiny.toml").write_text(TINY_TOML.replace("[training.engine]", batch))
    assert (
        main(
            [
                "scaling",
                "--config",
                str(tmp_path / "tiny.toml"),
                "--output",
                str(tmp_path / "out"),
                "--ranks",
                "1",
                "2",
                "--steps",
                "2",
            ]
        )
        == 0
    )
    (page,) = (tmp_path / "out").glob("scaling-*.md")
    ranks = json.loads(page.with_suffix(".json").read_text())["ranks"]
    assert all(len(cost["seconds"]) == 2 for engines in ranks.values() for cost in engines.values())
    sent = {engine: cost["ring_bytes"] for engine, cost in ranks["2"].items()}
    # Two micro-steps each: stage 2 reduces in both; stage 3 gathers besides.
    assert sent["zero2"] > 1.3 * sent["zero1"] > 1.3 * sent["ddp"] * 0.99
    assert "| 2 | zero3 |" in page.read_text()


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scaling", "--output", str(tmp_path / "out"), "--ranks", "3"]) == 2
    assert "does not divide" in capsys.readouterr().err
