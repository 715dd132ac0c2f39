from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.config import history
from biobert_scale.config.history import Added
from biobert_scale.recipes import load_config

SAVED = Path(__file__).parents[2] / "saved-by-0.1.0" / "run"


def test_jobs_that_resume_a_run_keep_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(history.ADDED, "training.log_every_steps", Added(since="9", before=1))
    monkeypatch.setattr("biobert_scale.commands.launch.check_scripts", lambda paths: [])
    recipe, site, work = tmp_path / "recipe.toml", tmp_path / "site.toml", tmp_path / "work"
    recipe.write_text('name = "old"')
    assert main(["launch", "site", "--output", str(site)]) == 0
    words = ["launch", "slurm", "--site", str(site), "--work", str(work), "--config", str(recipe), "--quiet"]
    assert main(words) == 0
    assert load_config(work / "jobs" / "recipe.json").training.log_every_steps == 10
    shutil.copytree(SAVED, work / "pretraining")
    assert main(words) == 0
    assert load_config(work / "jobs" / "recipe.json").training.log_every_steps == 1
    assert main([*words, "--settings", "training.log-every-steps=5"]) == 0
    assert load_config(work / "jobs" / "recipe.json").training.log_every_steps == 5
