"""Which settings a run has, by its command line, its recipe, and the run that it resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.config import Config, history, tree
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

    monkeypatch.setattr("biobert_scale.plan.dry_run.describe_run", describe_run)
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
    tree.pop(config, key)
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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "missing --tokens PATH, --output PATH"),
        (["--tokens", "t"], "missing --output PATH"),
        (["--tokens", "t", "--output", "o", "--world-size", "4"], "a dry run's: command line; add --dry-run"),
        (["--tokens", "t", "--output", "o", "--resume", "maybe"], "('auto', 'never', 'must')"),
        (["--tokens", "t", "--output", "o", "--loader.token-buckets", "8"], "Unrecognized options: --loader"),
        (["--dry-run", "--world-size", "-1"], "--world-size cannot be -1"),
    ],
)
def test_options_that_make_no_run_are_refused_in_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", "demo", *words]) == 2
    complaint = capsys.readouterr().err
    assert says in complaint and complaint.count("\n") == 1


def test_the_help_has_the_recipe_s_values_as_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--config", "demo", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for line in (
        "--output {None}|PATH Run directory",
        "--training.global-batch-size INT Sequences in one optimizer step, over all ranks. (default: 128)",
        "--world-size INT Of a dry run: ranks; 0 for as many as the launcher started",
    ):
        assert line in shown


def test_a_run_gets_what_the_command_line_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(
        "biobert_scale.training.run.train",
        lambda *places, **options: begun.append((places, options)) or True,  # type: ignore[func-returns-value]
    )
    words = ["--config", "demo", "--tokens", "t", "--output", str(tmp_path / "run"), "--profile", "2:3"]
    assert main(["train", *words, "--local_rank=1", "--seed", "7", "--training.trackers"]) == 0
    ((settings, tokens, output), options) = begun[0]
    assert (settings.seed, settings.training.trackers, settings.model.hidden_size) == (7, (), 128)
    assert (tokens, output) == (Path("t"), tmp_path / "run")
    own = {"samples": None, "profile": (2, 3), "deadline": None, "continue_from": "", "resume": "auto"}
    assert options == own


@pytest.mark.parametrize("source", ["old", "old@4", "at@7"])
def test_a_run_that_continues_another_has_its_settings(
    source: str, tmp_path: Path, described: list[Config]
) -> None:
    for name in ("old", "at@7"):  # of the latter, `@7` is no step
        shutil.copytree(SAVED / "run", tmp_path / name)
    words = ["--continue-from", str(tmp_path / source), "--training.schedule.total-steps", "77"]
    assert dry_run(*words, "--output", str(tmp_path / "new")) == 0
    saved = read_json(SAVED / "run" / "checkpoints" / "step-00000004" / "config.json")
    assert described[-1].model.hidden_size == saved["model"]["hidden_size"]
    assert described[-1].training.schedule.total_steps == 77
    assert dry_run(*words, "--config", "demo") == 0
    assert described[-1].model.hidden_size == 128, "the recipe's, where one is named"
