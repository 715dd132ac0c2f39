from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.report.sources import read_sources

SAVED = Path(__file__).parents[2] / "saved-by-0.1.0" / "run"


def test_a_page_shows_an_older_run_s_settings_in_today_s_terms(tmp_path: Path) -> None:
    shutil.copy(SAVED / "metrics.jsonl", tmp_path)
    shutil.copy(SAVED / "checkpoints" / "step-00000004" / "config.json", tmp_path)
    config = read_sources(tmp_path).config
    assert config["loader"] == {"workers": 1, "prefetch_steps": 2, "pad_to_multiple_of": 0}
    (tmp_path / "config.json").write_text('{"name": "newer", "loader": {"threads": 2}}')
    with pytest.raises(UserError, match=r"unknown configuration key: .*config\.json: loader\.threads"):
        read_sources(tmp_path)
