from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main


def test_export_says_what_it_wrote_and_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export_model(source: Path, tokens: Path, output: Path, **_: Any) -> None:
        output.mkdir()
        (output / "model.safetensors").write_bytes(bytes(1_500_000))
        (output / "config.json").write_bytes(bytes(500))

    monkeypatch.setattr("biobert_scale.release.export.export_model", export_model)
    out = tmp_path / "model"
    assert main(["export", str(tmp_path), "--tokens", str(tmp_path), "--output", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model for transformers, fp32",
        "  config.json                 0.500 kB",
        "  model.safetensors           1.500 MB",
        f"written: {out} (2 files, 1.500 MB)",
    ]
