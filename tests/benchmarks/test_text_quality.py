from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.__main__ import main

RECORD = (
    "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>7</PMID><Article>"
    "<ArticleTitle>Cells (of mice) that divided, and 3 × 10<sup>6</sup> others.</ArticleTitle></Article>"
    "</MedlineCitation></PubmedArticle></PubmedArticleSet>"
)


def write_corpus(directory: Path, text: str) -> None:
    directory.mkdir()
    row = {"source": ["medline"], "pmid": ["7"], "origin": ["a.xml.gz"], "text": [text]}
    pq.write_table(pa.table(row), directory / "part.parquet")


def test_what_reading_lost_is_counted_for_each_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").mkdir()
    with gzip.open(tmp_path / "raw" / "a.xml.gz", "wt", encoding="utf-8") as stream:
        stream.write(RECORD)
    write_corpus(tmp_path / "good", "Cells (of mice) that divided, and 3 × 10^6 others.")
    write_corpus(tmp_path / "bad", "Cells (of mice that divided, and 3 × 106 others.")
    corpora = [f"{name}={tmp_path / name}" for name in ("good", "bad")]
    assert main(["text-quality", "--raw", str(tmp_path / "raw"), "--corpora", *corpora]) == 0
    printed = capsys.readouterr().out
    assert "## Abstracts: 1 documents" in printed and "| per 1,000 documents | good | bad |" in printed
    for row in ("documents that lost a bracket of ()", "exponents fused"):
        assert f"| {row} | 0.0 (0 in 1) | 1000.0 (1 in 1) |" in printed
