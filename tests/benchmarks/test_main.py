"""The list of tables, and how one is found and run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import TABLES, main

ROOT = Path(__file__).parents[2]


def test_the_list_has_every_table_with_what_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [name for name, _ in listed] == list(TABLES)
    assert all(summary.split()[0] in ("Measure", "Compare", "Count", "Go") for _, summary in listed)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_its_options(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main([table, "--help"])
    assert leave.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: python -m benchmarks {table}" in printed
    assert any(option in printed for option in ("--output", "--corpora", "--vocabulary"))


def test_the_readme_has_every_table_and_no_other() -> None:
    text = (ROOT / "benchmarks/README.md").read_text()
    named = {part.split()[0].rstrip("`") for part in text.split("`python -m benchmarks ")[1:]}
    assert named - {"TABLE"} == set(TABLES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["corpse"], "no table 'corpse': command line; the tables are: corpus,"),
        (["corpus", "--raw", "missing"], "command line; see `python -m benchmarks corpus --help`"),
        (["scaling", "--output", "out", "--steps", "0"], "--steps cannot be 0"),
        (["text-quality", "--raw", ".", "--corpora", "x"], "write it like new=corpus"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmarks: ") and says in line


def test_processes_of_a_table_find_the_benchmarks_from_any_directory(tmp_path: Path) -> None:
    code = (
        "from benchmarks.__main__ import main; main(['corpse']);"
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import benchmarks'], check=True)"
    )
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r});"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", path + code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
