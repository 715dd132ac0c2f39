"""What commands print: aligned, whole in pipes, and plain wherever nobody wants colours."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from biobert_scale.display import counts, findings, quantity, size, table, text, written


def test_numbers_are_to_the_right_and_words_to_the_left() -> None:
    rows = [("one", "1,000", "+1.5", "a word"), ("[UNK] more", "1", "-12.25", "")]
    assert text(table(rows, header=("name", "n", "difference", "remark"))).split("\n") == [
        "name            n  difference  remark",
        "one         1,000        +1.5  a word",
        "[UNK] more      1      -12.25",
    ]


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (("1", "22"), True),
        (("1", "", "22"), True),
        (("-", "2.5e+03"), True),
        (("1.0%", "100.0%"), True),
        (("1.25 GB", "10.5 MB"), True),
        ((">= 5", "400"), True),
        (("1:05:00", "0:30"), True),
        (("1 to 2", "3"), False),
        (("v1", "2"), False),
        (("", ""), False),
    ],
)
def test_a_column_is_of_numbers_where_every_cell_is_one(cells: tuple[str, ...], right: bool) -> None:
    lines = text(table([(cell, "|") for cell in ("123456789", *cells)][1:], header=("123456789", "|")))
    assert all(line.startswith(" ") == (right and len(cell) < 9) for line, cell in
               zip(lines.splitlines()[1:], cells, strict=True) if cell)  # fmt: skip


def test_a_row_of_one_cell_is_a_heading() -> None:
    assert text(table([("memory",), ("  weights", "1.000 GB")])).split("\n") == [
        "memory",
        "  weights  1.000 GB",
    ]


def test_long_lines_are_neither_cut_nor_folded() -> None:
    long = "word " * 300 + "end"
    assert text(long) == long and text(table([(long, "1")])) == f"{long}  1"


def test_groups_are_columns_and_groups_of_groups_have_a_heading() -> None:
    counted = {
        "HoC": {"train": {"bad_files": 1200, "labels": 7}, "test": {"bad_files": 3}, "published": False},
        "score": 61.25,
        "steps": 150_000,
        "dev": {"documents": 4},
    }
    assert text(counts(counted)).split("\n") == [
        "score    61.25",
        "steps  150,000",
        "",
        "           dev",
        "documents    4",
        "",
        "HoC",
        "published  no",
        "",
        "           train  test",
        "bad files  1,200     3",
        "labels         7",
    ]
    assert text(counts({"tokens": 5})) == "tokens  5" and text(counts({})) == ""


def test_a_finding_has_its_remedy_below() -> None:
    found = [("OK", "ranks", "2 met", ""), ("FAIL", "disk", "slow", "take another")]
    assert text(findings(found)).split("\n") == [
        "OK    ranks  2 met",
        "FAIL  disk   slow",
        "             -> take another",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (True, "yes"), (False, "no"), (1234567, "1,234,567"), (0.000012345678, "1.23457e-05")],
)
def test_quantities(value: object, shown: str) -> None:
    assert quantity(value) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0.000 kB"),
        (2_500, "2.500 kB"),
        (100_000, "0.100 MB"),
        (10**8, "0.100 GB"),
        (10**11, "100.000 GB"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    assert size(count) == shown


def test_what_was_written_leaves_hidden_files_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1_500_000))
    (tmp_path / ".work").mkdir()
    for hidden in (".lock", ".work/part"):
        (tmp_path / hidden).write_bytes(bytes(10))
    assert written(tmp_path) == f"written: {tmp_path} (1 file, 1.500 MB)"


SHOWN = """
import numpy as np
from biobert_scale.display import findings, show
from biobert_scale.histograms import text_bars
show(findings([("OK", "a", "b", "")]), *text_bars(np.array([1, 2]), (0, 10)))
"""


def printed(*, terminal: bool, **environment: str) -> str:
    """What a program shows, on a terminal or in a pipe."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    surroundings |= {"TERM": "xterm", **environment}
    if not terminal:
        return subprocess.run(
            [sys.executable, "-c", SHOWN], env=surroundings, capture_output=True, text=True, check=True
        ).stdout
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", SHOWN], env=surroundings, stdout=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    return shown


def test_a_terminal_has_colours_and_bars() -> None:
    shown = printed(terminal=True)
    assert "\x1b[32mOK" in shown and "█" in shown


@pytest.mark.parametrize(
    ("terminal", "environment"),
    [(False, {}), (True, {"NO_COLOR": "1"}), (True, {"TERM": "dumb"}), (False, {"FORCE_COLOR": "1"})],
)
def test_elsewhere_is_plain_text(terminal: bool, environment: dict[str, str]) -> None:
    shown = printed(terminal=terminal, **environment)
    assert shown.isascii() and "\x1b" not in shown and "OK  a  b" in shown
