"""What a stage counted is printed as a table, never as Python's dictionaries."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.commands.common import render_counts


def test_groups_are_columns_and_groups_of_groups_have_a_heading() -> None:
    counts = {
        "HoC": {"train": {"documents": 1200, "labels": 7}, "test": {"documents": 3}, "published": False},
        "score": 61.25,
        "dev": {"documents": 4},
    }
    assert render_counts(counts).split("\n") == [
        "score: 61.25",
        "           dev",
        "documents    4",
        "",
        "HoC",
        "published: no",
        "           train  test",
        "documents  1,200     3",
        "labels         7",
    ]
    assert render_counts({"tokens": 5}) == "tokens: 5" and render_counts({}) == ""


def test_prepare_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "dev", "test"):
        path = tmp_path / "in" / "NCBI-disease" / f"{split}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("leaf\tB\npalsy\tI\n")
    arguments = ["--benchmarks", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["evaluate", "prepare", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "{" not in printed
    assert ["mentions", "1", "1", "1"] in [line.split() for line in printed.splitlines()]
