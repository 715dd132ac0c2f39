from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.config import DataConfig
from biobert_scale.data.stream import stream_fingerprint
from biobert_scale.files import read_json

SAVED = Path(__file__).parents[2] / "saved-by-0.1.0"


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "1.0"])
def test_the_samples_of_a_run_are_the_same_in_every_version(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biobert_scale.files.__version__", version)
    (manifest,) = SAVED.glob("run/checkpoints/*/manifest.json")
    found = stream_fingerprint(SAVED / "tokens", DataConfig(max_seq_length=32), seed=1)
    assert found == read_json(manifest)["samples_fingerprint"]
