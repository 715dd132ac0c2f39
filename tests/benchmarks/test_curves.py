from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.curves import table as curves
from benchmarks.curves.table import compare, compare_random, curve, judged, judged_random
from benchmarks.train_step.contestants import SETTINGS
from benchmarks.train_step.load import Load, load_of
from biobert_scale.config import ComputeConfig
from biobert_scale.files import write_json
from biobert_scale.recipes import load_config
from tests.factories import ONE_MICRO_BATCH, write_tokens

STEPS = 12


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    path = tmp_path_factory.mktemp("curves") / "tiny.json"
    write_json(
        path,
        {
            **ONE_MICRO_BATCH,
            "vocabulary": {"size": 300},
            "training": {
                **ONE_MICRO_BATCH["training"],
                "micro_batch_size": 8,
                "schedule": {"warmup_steps": 3, "total_steps": STEPS},
            },
        },
    )
    return load_of(load_config(path), None, STEPS, "abstracts", torch.device("cpu"))


@pytest.mark.slow
def test_no_switch_changes_what_is_learned(load: Load) -> None:
    rows, found = compare(load)
    assert {name for row in rows for name in row.changes} == {
        field.name for field in fields(ComputeConfig)
    }, "a switch has no curve"
    assert [row.switch for row in rows if not row.within] == []
    assert found["as shipped"][-1] < found["as shipped"][0] - 0.05, (
        "nothing was learned, so that nothing was compared"
    )
    assert max(row.largest for row in rows) > 0, "no switch was put the other way"


@pytest.mark.parametrize("wrong", [{"weight_decay": 0.5}, {"betas": (0.9, 0.99)}])
def test_other_mathematics_is_out_of_tolerance(load: Load, wrong: dict[str, Any]) -> None:
    config = load.config
    other = replace(
        load,
        config=replace(
            config, training=replace(config.training, optimizer=replace(config.training.optimizer, **wrong))
        ),
    )
    assert not judged("wrong", {}, curve(load, {}), curve(other, {})).within


@pytest.mark.slow
def test_dropout_is_compared_by_its_means_over_seeds(load: Load) -> None:
    row, found = compare_random(load, seeds=2)
    assert (
        row.tolerance is None
        and row.end_tolerance > 0
        and row.changes == SETTINGS["attention and dropout as PyTorch has them"]
    )
    shipped, other = found.values()
    assert shipped[0] != shipped[1] and shipped[0] != other[0], "the same random numbers were drawn"
    again = judged_random("", {}, [[1.0] * 8, [1.2] * 8], [[1.1] * 8, [1.3] * 8])
    assert again.within and again.end == pytest.approx(1.2 / 1.1 - 1)
    assert not judged_random("", {}, [[1.0] * 8, [1.01] * 8], [[1.1] * 8, [1.11] * 8]).within


def test_every_switch_has_a_row_and_one_out_of_tolerance_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = write_tokens(tmp_path / "made-up", documents=100)
    write_json(tmp_path / "tiny.json", ONE_MICRO_BATCH)
    command = [
        "curves",
        "--tokens",
        str(tokens),
        "--output",
        str(tmp_path / "out"),
        "--config",
        str(tmp_path / "tiny.json"),
        "--steps",
        "4",
        "--seeds",
        "2",
    ]
    monkeypatch.setattr(curves, "_STANDARD_ERRORS", 1e6)  # four steps say nothing about dropout
    assert main(command) == 0
    (page,), (picture,) = (tmp_path / "out").glob("curves-*.md"), (tmp_path / "out").glob("curves-*.png")
    result = json.loads(page.with_suffix(".json").read_text())
    assert [row["switch"] for row in result["rows"]][:-1] == [
        switch
        for switch in SETTINGS
        if switch not in ("compiled", "attention and dropout as PyTorch has them")
    ]
    assert result["rows"][-1]["switch"] == "attention and dropout as PyTorch has them, with dropout"
    assert f"({picture.name})" in page.read_text() and picture.read_bytes().startswith(b"\x89PNG")
    assert page.read_text().strip() in capsys.readouterr().out and str(tmp_path) not in page.read_text()
    monkeypatch.setattr(curves, "STEP_TOLERANCE", 0.0)
    assert main(command) == 1 and "| **out** |" in page.read_text()


def test_too_few_steps_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curves", "--tokens", str(tmp_path), "--output", str(tmp_path / "out"), "--steps", "3"]) == 2
    assert "--steps cannot be 3" in capsys.readouterr().err
