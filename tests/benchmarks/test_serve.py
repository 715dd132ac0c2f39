from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import serve
from benchmarks.__main__ import main
from tests.factories import abstract, prose, write_medline, write_model


@pytest.mark.slow
def test_every_client_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "LAYERS", 1)
    monkeypatch.setattr(serve, "HIDDEN", 64)
    source = write_medline(tmp_path / "in.xml.gz", *(abstract(n, prose(n)) for n in range(9)))
    command = ["serve", "--vocabulary", str(write_model(tmp_path / "model")), "--input", str(source)]
    command += [
        "--output",
        str(tmp_path / "out"),
        "--clients",
        "3",
        "--seconds",
        "3",
        "--warmup-seconds",
        "1",
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| malformed XML | 400: " in printed and "| 20 MB | 413: " in printed
    assert "| abstract | 200: " in printed and "MB at the end" in printed
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_file_without_an_abstract_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_medline(tmp_path / "in.xml.gz")
    command = ["serve", "--vocabulary", str(tmp_path), "--input", str(source), "--output", str(tmp_path)]
    assert main(command) == 2 and "no abstract" in capsys.readouterr().err
