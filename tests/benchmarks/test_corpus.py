from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from tests.factories import abstract, article, prose, write_medline, write_package


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for file in range(2):
        numbers = range(file * 100 + 1, file * 100 + 61)
        records = (abstract(n, f"{prose(n)} {prose(n * 3)} {prose(n * 5)} {prose(n * 7)}") for n in numbers)
        write_medline(tmp_path / "raw" / f"pubmed25n000{file}.xml.gz", *records)
    write_package(
        tmp_path / "raw" / "oa_comm_xml.x.tar.gz",
        {f"PMC{n}.xml": article(n, prose(n) * 30) for n in range(1, 17)},
    )
    return tmp_path / "raw"


@pytest.mark.slow
def test_the_result_holds_every_contestant_and_what_it_read(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    command = [
        "corpus",
        "--raw",
        str(raw),
        "--output",
        str(out),
        "--repeats",
        "2",
        "--memory-gigabytes",
        "0.001",
        "--copies",
        "2",
    ]
    assert main(command) == 0
    (page,) = out.glob("corpus-*.md")
    result = json.loads(page.with_suffix(".json").read_text())
    assert capsys.readouterr().out.strip() == page.read_text().strip()
    assert [
        race["documents"]
        for race in result["races"]
        if "all files" in race["title"] or race["title"] == "JATS"
    ] == [120, 16]
    for race in result["races"]:
        assert {"lxml alone", "this reader"} <= {speed["name"] for speed in race["speeds"]}
        assert all(
            len(speed["megabytes_per_second"]) == 2 and min(speed["megabytes_per_second"]) > 0
            for speed in race["speeds"]
        )
    builds = ["1 worker, no near-duplicate search", "1 worker", "2 workers", "2 builds side by side"]
    assert {name: len(seconds) for name, seconds in result["stage"]["seconds"].items()} == dict.fromkeys(
        builds, 2
    )
    assert all(cpu > 0 for name in builds[:2] for cpu in result["stage"]["cpu_seconds"][name])
    assert result["stage"]["documents"] == 2 * 136, "a copy counts as a duplicate"
    small, large = result["memory"]
    assert small["records"] == 60 and large["expanded_megabytes"] >= 1 and large["records"] > 1000
    assert str(tmp_path) not in page.read_text()


def test_files_of_one_kind_alone_are_refused(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(raw.glob("*.tar.gz")).unlink()
    assert main(["corpus", "--raw", str(raw), "--output", str(tmp_path / "results")]) == 2
    assert "no PMC package" in capsys.readouterr().err
