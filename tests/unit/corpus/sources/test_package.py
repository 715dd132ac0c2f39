"""Packages and their records survive any end of the process that writes them."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.sources import package as module
from biobert_scale.corpus.sources import record
from biobert_scale.corpus.sources.facts import LICENSE, SAME, STATES, TAKEN, WITHDRAWN
from biobert_scale.corpus.sources.package import Packages, member_name, package_path, packed
from biobert_scale.corpus.sources.record import Row, load

TEXTS = {number: f"<article>{'x' * 100 * number}</article>".encode() for number in range(1, 8)}


def row(number: int, state: str = TAKEN, **fields: int | str) -> Row:
    return Row(number, 1, state, 20260601010000, updated=1_700_000_000, bytes=99)._replace(**fields)  # type: ignore[arg-type]


def append(packages: Packages, *numbers: int) -> None:
    for number in numbers:
        packages.append(row(number), packed(member_name(number, 1), TEXTS[number], 1_700_000_000))


def contents(directory: Path) -> dict[str, bytes]:
    return {
        member.name: member.stream.read()
        for path in sorted(directory.glob("*.tar.gz"))
        for member in package_members(path)
    }


def whole(directory: Path) -> dict[str, bytes]:
    """The files that an undisturbed run leaves."""
    packages = Packages(directory, package_bytes=10_000)
    append(packages, *TEXTS)
    packages.finish()
    return held(directory)


def held(directory: Path) -> dict[str, bytes]:
    """The files of a mirror, but for checksums: two packages of the same may be compressed differently."""
    files = {path.name: path.read_bytes() for path in directory.glob("*.*") if path.suffix in (".gz", ".csv")}
    return {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in files.items()}


def test_a_package_is_a_tar_that_everybody_reads(tmp_path: Path) -> None:
    whole(tmp_path)
    assert contents(tmp_path) == {member_name(number, 1): text for number, text in TEXTS.items()}
    with tarfile.open(package_path(tmp_path, 1)) as package:
        first = package.getmembers()[0]
    assert (first.name, first.mtime) == ("PMC1.1.xml", 1_700_000_000)


@pytest.mark.fault(
    "the power fails while a package is written",
    "resumes behind the last article that is on the disk; the package has the same bytes",
    lost="the articles of a few seconds",
)
@pytest.mark.parametrize("damage", ["none", "bytes beyond", "half a line", "end of the archive"])
def test_a_package_that_was_left_is_continued(tmp_path: Path, damage: str) -> None:
    expected = whole(tmp_path / "whole")
    directory = tmp_path / "left"
    packages = Packages(directory, package_bytes=10_000)
    append(packages, 1, 2, 3)
    packages.commit()
    append(packages, 4)
    part, lines = packages.part, record.record_path(directory, 1)
    content = part.read_bytes() + b"not yet named"
    match damage:
        case "bytes beyond":
            part.write_bytes(content)
        case "half a line":
            lines.write_bytes(lines.read_bytes() + b"4,1,tak")
        case "end of the archive":
            part.write_bytes(content + bytes(1024))
    again = Packages(directory, package_bytes=10_000)
    assert load(directory, frozenset()).known.pmcid.tolist() == [1, 2, 3]
    append(again, 4, 5, 6, 7)
    again.finish()
    assert held(directory) == expected


def test_a_part_that_lost_bytes_is_not_believed(tmp_path: Path) -> None:
    packages = Packages(tmp_path, package_bytes=10_000)
    append(packages, 1, 2, 3)
    packages.close()
    packages.part.write_bytes(packages.part.read_bytes()[:-1])
    again = Packages(tmp_path, package_bytes=10_000)
    assert again.number == 2
    assert not load(tmp_path, frozenset({1})).known.package.any()


def test_a_full_package_is_finished_and_the_next_one_begun(tmp_path: Path) -> None:
    packages = Packages(tmp_path, package_bytes=150)
    append(packages, *TEXTS)
    packages.finish()
    assert len(list(tmp_path.glob("*.tar.gz"))) > 2
    assert list(contents(tmp_path)) == [member_name(number, 1) for number in TEXTS]


def test_the_compressor_does_not_decide_where_a_package_ends(tmp_path: Path) -> None:
    """ISA-L may make some bytes more or less of the same article."""
    for name, more in (("a", b""), ("b", gzip.compress(b"", mtime=0) * 9)):
        packages = Packages(tmp_path / name, package_bytes=400)
        for number, text in TEXTS.items():
            member = packed(member_name(number, 1), text, 1_700_000_000)
            packages.append(row(number), member + more)
        packages.finish()
    assert held(tmp_path / "a") == held(tmp_path / "b") and len(held(tmp_path / "a")) > 2


def test_a_run_that_ends_between_two_packages_makes_the_same_ones(tmp_path: Path) -> None:
    packages = Packages(tmp_path / "a", package_bytes=150)
    append(packages, *TEXTS)
    packages.finish()
    for number in TEXTS:
        packages = Packages(tmp_path / "b", package_bytes=150)
        append(packages, number)
        packages.close()
    packages = Packages(tmp_path / "b", package_bytes=150)
    packages.finish()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    names = [sorted(path.name for path in (tmp_path / name).glob("*.*")) for name in "ab"]
    assert names[0] == names[1]


def test_without_articles_there_is_a_record_and_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", 2)
    packages = Packages(tmp_path, package_bytes=150)
    for number in range(1, 6):
        packages.append(row(number, LICENSE, license="TDM"))
    packages.finish()
    assert not list(tmp_path.glob("*.tar.gz")) and record.numbers(tmp_path) == [1, 2, 3]
    assert load(tmp_path, frozenset()).known.pmcid.tolist() == [1, 2, 3, 4, 5]
    Packages(tmp_path, package_bytes=150).finish()
    assert record.numbers(tmp_path) == [1, 2, 3], "an empty run leaves nothing"


def test_the_last_line_is_an_articles_state_and_the_last_text_its_package(tmp_path: Path) -> None:
    for lines in ([1, 2, 3], [2], [], [3]):
        packages = Packages(tmp_path, package_bytes=10_000)
        append(packages, *lines)
        if not lines:
            packages.append(row(1, SAME, etag="a" * 32))
            packages.append(row(3, WITHDRAWN))
            packages.append(row(4, LICENSE, license='TDM, "mining"', pmid=7))
        packages.finish()
    records = load(tmp_path, frozenset())
    known = records.known
    assert known.pmcid.tolist() == [1, 2, 3, 4]
    assert [STATES[state] for state in known.state] == [SAME, TAKEN, TAKEN, LICENSE]
    assert known.package.tolist() == [1, 2, 4, 0]
    assert records.row(3) == row(4, LICENSE, license='TDM, "mining"', pmid=7, updated=0)
    assert records.row(0).etag == "a" * 32
    assert load(tmp_path, frozenset({2, 4})).known.package.tolist() == [1, 0, 0, 0]


def test_no_record_is_no_article(tmp_path: Path) -> None:
    assert all(len(column) == 0 for column in load(tmp_path, frozenset()).known)
    assert load(tmp_path, frozenset()).known.state.dtype == np.uint8


def test_a_list_of_what_is_in_a_package_is_written_once_more_after_a_kill(tmp_path: Path) -> None:
    """Killed between the list and the name of the package."""
    expected = whole(tmp_path / "whole")
    directory = tmp_path / "left"
    packages = Packages(directory, package_bytes=10_000)
    append(packages, *TEXTS)
    packages.close()
    shutil.copy(tmp_path / "whole" / "pmc-cloud-00001.filelist.csv", directory)
    Packages(directory, package_bytes=10_000).finish()
    assert held(directory) == expected
