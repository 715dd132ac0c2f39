from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tag
from benchmarks.__main__ import main
from tests.factories import write_model


@pytest.mark.slow
def test_all_tag_the_same_sentences_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tag, "SHAPES", {"mini": ("tiny", 1, 64, 1)})
    text = tmp_path / "text.txt"
    text.write_text("Colorectal cancer in familial cases. Ovarian cancer was treated.\n")
    vocabulary = write_model(tmp_path / "model")
    command = [
        "tag",
        "--vocabulary",
        str(vocabulary),
        "--input",
        str(text),
        "--sentences",
        "16",
        "--shapes",
        "mini",
    ]
    assert main([*command, "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| tiny |")]
    assert len(rows) >= 8 and all(float(row[2].split()[0].replace(",", "")) > 0 for row in rows)
    in_fp32 = [row[4] for row in rows if "fp32" in row[1] and not row[4].startswith("not made")]
    assert len(in_fp32) == 4 and {each.split()[0] for each in in_fp32} == {"0"}, "other entities"
    assert any("2 sentences of 4.5 words" in line for line in lines)


def test_a_file_without_a_sentence_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n")
    command = ["tag", "--vocabulary", str(write_model(tmp_path / "model")), "--input", str(text)]
    assert main(command) == 2 and "no sentence" in capsys.readouterr().err
