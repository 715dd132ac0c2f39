from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tag
from benchmarks.__main__ import main
from tests.factories import write_model


def test_both_tag_the_same_sentences_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tag, "SHAPES", {"tiny": (1, 64)})
    text = tmp_path / "text.txt"
    text.write_text("Colorectal cancer in familial cases. Ovarian cancer was treated.\n")
    vocabulary = write_model(tmp_path / "model")
    command = ["tag", "--vocabulary", str(vocabulary), "--input", str(text), "--sentences", "2"]
    assert main([*command, "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| tiny |")]
    assert len(rows) == 3 and all(float(row[2].split()[0]) > 0 for row in rows)
    assert {row[3].split()[0] for row in rows} == {"0"}, "other entities"
    assert any("2 sentences of 4.5 words" in line for line in lines)


def test_a_file_without_a_sentence_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n")
    command = ["tag", "--vocabulary", str(write_model(tmp_path / "model")), "--input", str(text)]
    assert main(command) == 2 and "no sentence" in capsys.readouterr().err
