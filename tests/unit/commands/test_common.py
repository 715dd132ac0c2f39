"""What a stage counted, left out and wrote is printed as tables, never as Python's dictionaries."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.commands.common import report_stage
from biobert_scale.commands.corpus import _by_source
from biobert_scale.files import Manifest


def test_a_stage_says_what_it_left_out_and_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shard").write_bytes(bytes(2_000_000))
    rejects = {"deleted": 7, "no_abstract": 1246}
    manifest = Manifest(stage="s", key="k", inputs=[], config={}, counts={"words": 12345}, rejects=rejects)
    report_stage(manifest, tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "words  12,345",
        "",
        "left out, by reason",
        "  no_abstract        1,246",
        "  deleted                7",
        "",
        f"written: {tmp_path} (1 file, 2.000 MB)",
    ]


def test_counts_of_a_corpus_are_grouped_by_source() -> None:
    counts = {"files": 3, "files_medline": 2, "files_pmc": 1, "words_pmc": 5, "bad_files": 0}
    assert _by_source(counts) == {
        "files": 3,
        "medline": {"files": 2},
        "pmc": {"files": 1},
        "words_pmc": 5,
        "bad_files": 0,
    }


def test_prepare_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "dev", "test"):
        path = tmp_path / "in" / "NCBI-disease" / f"{split}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("leaf\tB\npalsy\tI\n")
    arguments = ["--benchmarks", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["evaluate", "prepare", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "{" not in printed and f"written: {tmp_path / 'out'} (" in printed
    assert ["mentions", "1", "1", "1"] in [line.split() for line in printed.splitlines()]
