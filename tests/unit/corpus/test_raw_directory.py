"""A raw directory as people have it: strange names, broken links, files of other kinds; nothing is lost."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.corpus.build import documents
from biobert_scale.corpus.not_read import NOTHING_INSIDE
from biobert_scale.corpus.pipeline import CorpusRow
from biobert_scale.files import read_manifest
from tests.factories import tarred

OTHER_NAME = "files not named *.xml, *.nxml, *.tar, *.zip or as one of these compressed"
LATIN_1, PRINTED = os.fsdecode(b"caf\xe9"), r"caf\xe9"
COLUMNS = "Article File,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License"
PACKAGE = "oa_noncomm_xml.PMC000xxxxxx.baseline.2024-12-18.tar.gz"


def prose(number: int) -> str:
    return f"Hen {number} was fed with grain and the eggs of it were of the size that most of the hens lay."


def citations(*numbers: int) -> bytes:
    records = "".join(
        f"<MedlineCitation><PMID>{number}</PMID><Article><Abstract><AbstractText>{prose(number)}</AbstractText>"
        "</Abstract></Article></MedlineCitation>"
        for number in numbers
    )
    return f"<MedlineCitationSet>{records}</MedlineCitationSet>".encode()


def article(number: int) -> bytes:
    named = f'<article-id pub-id-type="pmcid">PMC{number}</article-id>'
    front = f"<front><article-meta>{named}</article-meta></front>"
    return f"<article>{front}<body><p>{prose(number)}</p></body></article>".encode()


def package(members: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tarred(members))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """One sound file of one citation; the tests add what is strange."""
    directory = tmp_path / "raw"
    directory.mkdir()
    (directory / "a.xml.gz").write_bytes(gzip.compress(citations(1), mtime=0))
    return directory


def build(raw: Path, *options: str) -> int:
    output = raw.parent / "out"
    config = ("--minimum-words=5", "--near-duplicate-similarity=2")
    return main(["corpus", "build", "--raw", str(raw), "--output", str(output), *config, *options])


def rows(raw: Path) -> list[CorpusRow]:
    return list(documents(raw.parent / "out"))


def ids(raw: Path) -> list[str]:
    return [row["id"] for row in rows(raw)]


# --- names


def test_names_that_are_not_utf_8_are_read(raw: Path) -> None:
    (raw / f"{LATIN_1}.xml.gz").write_bytes(gzip.compress(citations(2), mtime=0))
    (raw / LATIN_1).mkdir()
    (raw / LATIN_1 / "b.xml").write_bytes(citations(3))
    (raw / f"{LATIN_1}.tar.gz").write_bytes(package({f"{LATIN_1}/PMC4.xml": article(4)}))
    assert build(raw) == 0
    assert {row["id"]: row["origin"] for row in rows(raw)} == {
        "pmid:1": "a.xml.gz",
        "pmid:2": r"caf\xe9.xml.gz",
        "pmid:3": "b.xml",
        "pmcid:PMC4": r"caf\xe9.tar.gz:caf\xe9/PMC4.xml",
    }


def test_a_damaged_file_of_such_a_name_is_one_line(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / f"{LATIN_1}.xml.gz").write_bytes(gzip.compress(citations(2), mtime=0)[:-20])
    assert build(raw) == 2
    assert r"caf\xe9.xml.gz" in capsys.readouterr().err.splitlines()[-1]
    assert build(raw, "--max-bad-files=1") == 0


def test_the_longest_name_is_read(raw: Path) -> None:
    (raw / f"{'ä' * 120}.xml.gz").write_bytes(gzip.compress(citations(2), mtime=0))
    assert build(raw) == 0 and len(ids(raw)) == 2


# --- the output


@pytest.mark.parametrize("kind", ["file", "below a file", "link to a file", "not UTF-8"])
def test_an_output_that_cannot_be_is_one_line(
    raw: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    names = {"file": "file", "below a file": "file/x", "link to a file": "link", "not UTF-8": LATIN_1}
    assert main(["corpus", "build", "--raw", str(raw), "--output", str(tmp_path / names[kind])]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--output" in said
    assert (tmp_path / "file").read_text() == "mine"


# --- what cannot be opened


@pytest.mark.parametrize("kind", ["file", "package", "package list", "directory", "circle"])
@pytest.mark.fault("a link among the raw files that leads nowhere: {kind}", "named as a damaged file")
def test_a_broken_link_counts_as_a_damaged_file(
    raw: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"file": "b.xml.gz", "package": PACKAGE, "directory": "updatefiles", "circle": "c.xml.gz"}
    link = raw / names.get(kind, PACKAGE.replace(".tar.gz", ".filelist.csv"))
    if kind == "package list":
        (raw / PACKAGE).write_bytes(package({"PMC4.xml": article(4)}))
    link.symlink_to(link if kind == "circle" else raw / "gone")
    assert build(raw) == 2
    assert "the link leads to no file" in (said := capsys.readouterr().err) and str(link) in said
    assert build(raw, "--max-bad-files=1") == 0
    assert read_manifest(raw.parent / "out").counts["bad_files"] == 1 and ids(raw) == ["pmid:1"]


@pytest.mark.fault("a raw file without permission", "named as a damaged file")
def test_a_file_without_permission_counts_as_a_damaged_file(
    raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / "b.xml.gz").write_bytes(b"")
    opened = open

    def refuse(path: object, *arguments: object, **options: object) -> object:
        if str(path).endswith("b.xml.gz"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("biobert_scale.corpus.opening.open", refuse, raising=False)
    assert build(raw) == 2
    assert "Permission denied" in capsys.readouterr().err
    assert build(raw, "--max-bad-files=1") == 0 and ids(raw) == ["pmid:1"]


def test_nothing_but_broken_links_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.xml.gz").symlink_to("gone")
    assert build(tmp_path / "raw") == 2
    assert "the link leads to no file" in capsys.readouterr().err.splitlines()[-1]
    assert build(tmp_path / "raw", "--max-bad-files=1") == 2
    assert "no document is left" in capsys.readouterr().err.splitlines()[-1]


# --- what is not read


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("b.xml.zst", b"\x28\xb5\x2f\xfd", OTHER_NAME),
        ("sub dir/README.txt", b"Read me.", OTHER_NAME),
        (f"{LATIN_1}.txt", b"", OTHER_NAME),
        ("PMC4.xml", b"<svg><article/></svg>", "XML files of other kinds"),
        ("b.xml.gz", gzip.compress(b"<articles/>", mtime=0), NOTHING_INSIDE),
        ("b.XML", b"<OAI-PMH><error code='noRecordsMatch'/></OAI-PMH>", NOTHING_INSIDE),
        ("b.xml", b"<book><book-meta/><toc><p>Hens, 4</p></toc></book>", NOTHING_INSIDE),
        ("b.nxml", b"<html><body>404</body></html>", "HTML pages"),
        ("b.zip", b"PK\5\6" + bytes(18), "packages without XML"),
        ("._b.xml.gz", b"\0\5\x16\7", "hidden files"),
        (".b.xml.gz.part", b"half", "hidden files"),
        ("b.xml.gz", gzip.compress(b"<!DOCTYPE html><html><body>404</body></html>", mtime=0), "HTML pages"),
        ("b.xml.gz", gzip.compress(b"\n<!doctype HTML>\n<html><p>404<br></html>", mtime=0), "HTML pages"),
        ("b.xml", b"\xef\xbb\xbf<HTML><p>404<br></HTML>", "HTML pages"),
        ("b.tar.gz", gzip.compress(b"<html><p>404<br></html>", mtime=0), "HTML pages"),
        ("b.tar.gz", package({"weights.bin": b"1"}), "packages without XML"),
    ],
)
def test_a_file_that_is_not_read_is_counted_in_the_last_line(
    raw: Path, name: str, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / name).parent.mkdir(exist_ok=True)
    (raw / name).write_bytes(content)
    for _ in range(2):  # also when there is nothing left to do
        assert build(raw) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(f"1 not read: {reason}")
        assert last.endswith(f": 1, such as {name.replace(LATIN_1, PRINTED)}")
    assert ids(raw) == ["pmid:1"]


def test_pipes_are_not_waited_for(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(raw / "b.xml.gz")
    assert build(raw) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "1 not read: pipes, sockets and devices: 1, such as b.xml.gz"
    )


def test_members_that_are_not_read_are_counted_over_all_packages(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / "b.tar.gz").write_bytes(
        package(
            {"README": b"", "PMC4/PMC4.nxml": article(4), "PMC4/fig1.jpg": b"1", "PMC4/._PMC4.nxml": b"\0\5"}
        )
    )
    (raw / "c.tar.gz").write_bytes(package({"PMC5.xml": article(5), "b.csv": b"1"}))
    (raw / "notes.txt").write_text("mine")
    for _ in range(2):
        assert build(raw) == 0
        assert capsys.readouterr().out.splitlines()[-1] == (
            f"5 not read: {OTHER_NAME}: 1, such as notes.txt; package members"
            " not named *.xml or *.nxml: 3, such as b.tar.gz:README; hidden package members: 1, such as"
            " b.tar.gz:PMC4/._PMC4.nxml"
        )
    assert ids(raw) == ["pmid:1", "pmcid:PMC4", "pmcid:PMC5"]


def test_nothing_is_said_where_all_is_read(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The checksum and the file list beside a file belong to it."""
    (raw / PACKAGE).write_bytes(package({"PMC4.xml": article(4)}))
    listed = PACKAGE.replace(".tar.gz", ".filelist.csv")
    (raw / listed).write_text(f"{COLUMNS}\nPMC4.xml,PMC4,,,CC0\n")
    for beside in ("a.xml.gz.md5", f"{listed}.md5", listed.replace("csv", "txt")):
        (raw / beside).write_text("")
    assert build(raw) == 0
    assert "not read" not in capsys.readouterr().out


def test_plain_xml_under_a_compressed_name_is_read(raw: Path) -> None:
    (raw / "b.xml.gz").write_bytes(citations(2))
    assert build(raw) == 0 and ids(raw) == ["pmid:1", "pmid:2"]


# --- file lists


def test_the_date_of_the_list_decides_for_a_member_with_a_dot_before_it(raw: Path) -> None:
    for year, listed in ((2021, "2021-02-03"), (2020, "2020-02-03")):
        name = f"oa_comm_xml.{year}.tar.gz"
        text = article(4).replace(b"Hen 4", f"Year {year}".encode())
        (raw / name).write_bytes(package({"./PMC000xxxxxx/PMC4.xml": text}))
        (raw / name.replace(".tar.gz", ".filelist.csv")).write_text(
            f"{COLUMNS}\nPMC000xxxxxx/PMC4.xml,PMC4,{listed} 00:00:00,,CC BY\n"
        )
    (raw / "oa_comm_xml.2021.tar.gz").rename(raw / "oa_comm_xml.0001.tar.gz")
    (raw / "oa_comm_xml.2021.filelist.csv").rename(raw / "oa_comm_xml.0001.filelist.csv")
    assert build(raw) == 0
    assert [row["text"].split(" was")[0] for row in rows(raw)] == ["Hen 1", "Year 2021"]


def test_articles_that_the_list_lacks_are_warned_of(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / PACKAGE).write_bytes(package({"PMC4.xml": article(4), "PMC5.xml": article(5)}))
    (raw / PACKAGE.replace(".tar.gz", ".filelist.csv")).write_text(f"{COLUMNS}\nPMC4.xml,PMC4,,,CC0\n")
    assert build(raw) == 0
    assert "its file list lacks 1 of 2 articles, such as PMC5.xml" in capsys.readouterr().err
