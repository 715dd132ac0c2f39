from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.train_step.contestants import ABLATION, CONTESTANTS
from benchmarks.train_step.load import load_of
from benchmarks.train_step.table import contest
from biobert_scale.config import ComputeConfig
from biobert_scale.recipes import load_config
from tests.factories import TINY_TOML, write_tokens


def command(directory: Path, sequences: int, options: str) -> list[str]:
    (directory / "tiny.toml").write_text(TINY_TOML)
    words = ["train-step", "--config", str(directory / "tiny.toml"), "--output", str(directory / "out")]
    words += ["--dtype", "fp32", "--sequences", str(sequences), "--micro-batch-size", "4"]
    return [*words, "--lengths", "abstracts", *options.split()]


@pytest.mark.slow
def test_every_contestant_takes_the_same_steps_and_has_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, 8, "--steps 2 --repeats 2 --contestants oab --name tiny --profile")) == 0
    (page,) = (tmp_path / "out").glob("train-step-tiny-*.md")
    result = json.loads(page.with_suffix(".json").read_text())
    assert page.read_text().strip() in capsys.readouterr().out
    assert (
        result["command"] in page.read_text()
        and "--dtype fp32 --lengths abstracts --sequences 8 --micro-batch-size 4 --steps 2"
        " --repeats 2 --contestants oab"
        in result["command"]
    )
    shares = [row["share"] for row in result["profile"]]
    assert (
        shares == sorted(shares, reverse=True)
        and sum(shares) <= 1.0001
        and any(f"| `{row['name']}` |" in page.read_text() for row in result["profile"])
    )
    assert [name[:3] for name in result["seconds"]] == ["thi", "(a)", "(b)"] and all(
        len(taken) == 2 and min(taken) > 0 for taken in result["seconds"].values()
    )
    assert (
        result["sequences"] == 16
        and result["tokens"] < 16 * 64
        and all(name in page.read_text() for name in result["seconds"])
    )


@pytest.mark.slow
def test_training_itself_takes_part(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path, documents=100)
    options = f"--tokens {tokens} --steps 2 --repeats 2 --contestants otb --name tiny"
    assert main(command(tmp_path, 8, options)) == 0
    (path,) = (tmp_path / "out").glob("train-step-tiny-*.json")
    result = json.loads(path.read_text())
    assert list(result["seconds"]) == [CONTESTANTS[letter][0] for letter in "otb"]
    assert all(len(taken) == 2 and min(taken) > 0 for taken in result["seconds"].values())
    assert min(result["peak_memory_bytes"].values()) > 1e8


@pytest.mark.parametrize(("letters", "remedy"), [("to", "give --tokens"), ("ox", "or ablation")])
def test_contestants_that_cannot_be_compared_are_refused(
    letters: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, 4, f"--contestants {letters}")) == 2
    assert remedy in capsys.readouterr().err


@pytest.mark.slow
def test_an_ablation_changes_one_switch_after_another(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY_TOML)
    config = load_config(tmp_path / "tiny.toml")
    precision, training = replace(config.training.precision, dtype="fp32"), config.training
    config = replace(
        config, training=replace(training, precision=precision, global_batch_size=8, micro_batch_size=4)
    )
    load = load_of(config, None, 1, "abstracts", torch.device("cpu"))
    makers = {title: make for title, make in ABLATION.items() if title != "compiled"}
    result = contest(load, makers, repeats=1)
    assert list(result["seconds"]) == list(makers) and min(result["peak_memory_bytes"].values()) > 1e8
    changed = [make.keywords for make in makers.values() if isinstance(make, partial)]
    assert {name for one in changed for name in one} == {field.name for field in fields(ComputeConfig)}, (
        "a switch has no row"
    )
    assert all(
        any(value != getattr(ComputeConfig(), name) for name, value in one.items()) for one in changed
    ), "a row changes nothing"


@pytest.mark.slow
def test_who_cannot_take_part_is_named_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    assert main(command(tmp_path, 4, "--steps 1 --repeats 1 --contestants po --name tiny")) == 0
    (page,) = (tmp_path / "out").glob("train-step-tiny-*.md")
    result = json.loads(page.with_suffix(".json").read_text())
    assert list(result["seconds"]) == ["this project"] and list(result["failed"]) == [
        "this project, compiled"
    ]
    assert (
        "no-such-compiler" in result["failed"]["this project, compiled"]
        and "| this project, compiled | InductorError" in page.read_text()
    )
    capsys.readouterr()
    assert main(command(tmp_path, 4, "--steps 1 --repeats 1 --contestants p --name tiny")) == 1
    assert "no-such-compiler" in capsys.readouterr().err.splitlines()[-1]
