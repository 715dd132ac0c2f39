"""Which settings a run has, by its command line, its recipe, and the run that it resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.config import Config, history
from biobert_scale.config.history import Added, Renamed
from biobert_scale.files import read_json, sha256_file, write_json

SAVED = Path(__file__).parents[2] / "saved-by-0.1.0"


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The settings of every dry run."""
    found: list[Config] = []

    def describe_run(settings: Config, **_: Any) -> str:
        found.append(settings)
        return ""

    monkeypatch.setattr("biobert_scale.training.dry_run.describe_run", describe_run)
    return found


def dry_run(*words: str) -> int:
    return main(["train", "--dry-run", "--world-size", "1", *words])


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--loader.token-bucket", "8"], "pad_to_multiple_of", 8),
        (["--loader.token_bucket=8"], "pad_to_multiple_of", 8),
        (["--loader.pad-to-multiple-of", "8"], "pad_to_multiple_of", 8),
    ],
)
def test_an_option_s_former_name_still_works(
    words: list[str], key: str, value: int, described: list[Config]
) -> None:
    assert dry_run("--config", "demo", *words) == 0
    assert getattr(described[-1].loader, key) == value


@pytest.mark.parametrize(("option", "value"), [("--compute.merged", True), ("--compute.no-merged", False)])
def test_a_switch_s_former_name_still_works(
    option: str, value: bool, described: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(history.RENAMED, "compute.merged", Renamed(since="9", to="compute.fused_qkv"))
    assert dry_run("--config", "demo", option) == 0
    assert described[-1].compute.fused_qkv is value


def run_without(key: str, directory: Path) -> Path:
    """A run whose checkpoint was saved before the key existed."""
    run = shutil.copytree(SAVED / "run", directory)
    checkpoint = run / "checkpoints" / "step-00000004"
    config, manifest = read_json(checkpoint / "config.json"), read_json(checkpoint / "manifest.json")
    history.pop(config, key)
    write_json(checkpoint / "config.json", config)
    content = (checkpoint / "config.json").read_bytes()
    manifest["files"]["config.json"] = {
        "bytes": len(content),
        "sha256": sha256_file(checkpoint / "config.json"),
    }
    write_json(checkpoint / "manifest.json", manifest)
    return run


def test_a_run_that_began_before_a_setting_existed_keeps_what_it_began_with(
    tmp_path: Path, described: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_without("training.optimizer.weight_decay", tmp_path / "run")
    monkeypatch.setitem(history.ADDED, "training.optimizer.weight_decay", Added(since="9", before=0.5))
    decay = "training.optimizer.weight-decay"
    for words, expected in (
        (["--output", str(run)], 0.5),
        ([f"--output={run}"], 0.5),
        (["--output", str(run), f"--{decay}", "0.25"], 0.25),  # what is asked for
        (["--output", str(tmp_path / "new")], 0.01),
        ([], 0.01),
    ):
        assert dry_run("--config", "demo", *words) == 0
        assert described[-1].training.optimizer.weight_decay == expected


def test_a_checkpoint_with_a_damaged_configuration_is_passed_over(
    tmp_path: Path, described: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_without("training.optimizer.weight_decay", tmp_path / "run")
    monkeypatch.setitem(history.ADDED, "training.optimizer.weight_decay", Added(since="9", before=0.5))
    newer = shutil.copytree(run / "checkpoints" / "step-00000004", run / "checkpoints" / "step-00000008")
    (newer / "config.json").write_text("{")
    assert dry_run("--config", "demo", "--output", str(run)) == 0
    assert described[-1].training.optimizer.weight_decay == 0.5
