"""Packages of every kind are streamed; damaged, encrypted and hostile ones are one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus import extract, packages
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.errors import UserError
from tests.factories import article, prose

CONFIG = CorpusConfig(minimum_words=5, near_duplicate_similarity=2)


def write_package(path: Path, members: list[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as package:
        for member in members:
            package.addfile(member, io.BytesIO(b" " * member.size) if member.isreg() else None)
    return path


def zipped(*members: tuple[str, bytes], link: bool = False) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members:
            header = zipfile.ZipInfo(name)
            header.compress_type = zipfile.ZIP_DEFLATED
            header.external_attr = (0o120777 if link else 0o100644) << 16
            package.writestr(header, content)
    return stream.getvalue()


def changed(content: bytes, signature: bytes, offset: int, form: str, value: int) -> bytes:
    """With another number in every record of a zip file that begins with `signature`."""
    changed, at = bytearray(content), content.find(signature)
    while at >= 0:
        struct.pack_into(form, changed, at + offset, value)
        at = content.find(signature, at + 1)
    return bytes(changed)


def tar(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as package:
        for number, name in enumerate(names, start=1):
            content, header = article(number, prose(number)), tarfile.TarInfo(name)
            header.size = len(content)
            package.addfile(header, io.BytesIO(content))
    return stream.getvalue()


ONE = ("PMC1.xml", article(1, prose(1)))
TWO = ("PMC2.xml", article(2, prose(2)))
LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"
SOUND = zipped(ONE, TWO)
ENCRYPTED = changed(changed(SOUND, LOCAL, 6, "<H", 1), CENTRAL, 8, "<H", 1)
OVERLAPPING = changed(SOUND, CENTRAL, 42, "<L", 0)
UNKNOWN_METHOD = changed(changed(SOUND, LOCAL, 8, "<H", 97), CENTRAL, 10, "<H", 97)
WRONG_CHECKSUM = changed(SOUND, CENTRAL, 16, "<L", 1)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.zip", SOUND[: len(SOUND) // 2], "the zip package is damaged"),
        ("a.zip", WRONG_CHECKSUM, "the zip package is damaged"),
        ("a.zip", OVERLAPPING, "its members overlap"),
        ("a.zip", UNKNOWN_METHOD, "the zip package is damaged or of an unknown kind"),
        ("a.zip", ENCRYPTED, "the zip package is encrypted"),
        ("a.zip", zipped(("../PMC1.xml", b"")), "leads out of it"),
        ("a.zip", zipped(("/PMC1.xml", b"")), "leads out of it"),
        ("a.zip", zipped((r"..\PMC1.xml", b"")), "leads out of it"),
        ("a.zip", zipped((r"C:\PMC1.xml", b"")), "leads out of it"),
        ("a.zip", zipped(("PMC1.xml", b"/etc/passwd"), link=True), "leads out of it"),
        ("a.zip", b"", "the file is empty"),
        ("a.tar", b"", "the file is empty"),
        ("a.tgz", b"", "the file is empty"),
        ("a.xml", b"", "the file is empty"),
        ("a.nxml", b" \n", "the XML is damaged"),
        ("a.tar", tar("PMC1.xml", "PMC2.xml")[:1500], "the tar package is damaged or breaks off"),
        ("a.tar", b"no package at all", "the tar package is damaged"),
        ("a.tar", tar("../PMC1.xml"), "leads out of it"),
        ("a.tgz", gzip.compress(tar("PMC1.xml"))[:-9], "the compressed file breaks off"),
        ("a.tar.bz2", bz2.compress(tar("PMC1.xml"))[:-9], "the compressed file breaks off"),
        ("a.tar.bz2", b"BZh9" + bytes(40), "the bzip2 or Zstandard file is damaged"),
        ("a.tar.xz", lzma.compress(tar("PMC1.xml"))[:-9], "the compressed file breaks off"),
        ("a.tar.xz", b"\xfd7zXZ\0" + bytes(40), "the xz file is damaged"),
        ("PMC1.xml.gz", gzip.compress(article(1, prose(1)))[:-9], "the compressed file breaks off"),
        ("PMC1.nxml", article(1, prose(1))[:-9], "the XML is damaged or breaks off"),
    ],
)
@pytest.mark.fault(
    "a package or file that is damaged, encrypted, empty or leads out of itself", "named in one line"
)
def test_a_damaged_or_hostile_file_is_one_line_and_the_others_are_read(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / name).write_bytes(content)
    (raw / "PMC3.xml").write_bytes(article(3, prose(3)))
    with pytest.raises(UserError, match=what) as failure:
        build_corpus(raw, tmp_path / "out", CONFIG)
    assert failure.value.where.startswith(str(raw / name)) and "\n" not in str(failure.value)
    manifest = build_corpus(raw, tmp_path / "out", CONFIG, max_bad_files=1)
    assert manifest.counts["bad_files"] == 1
    assert [row["id"] for row in documents(tmp_path / "out")] == ["pmcid:PMC3"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_of_which_there_are_two_is_two_states_of_one_article(tmp_path: Path, kind: str) -> None:
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / f"a.{kind}"
    if kind == "zip":
        with pytest.warns(UserWarning, match="Duplicate name"):
            path.write_bytes(zipped(("PMC1.xml", article(1, prose(8))), ONE))
    else:
        path.write_bytes(
            tar("PMC1.xml", "PMC1.xml").replace(b"Full 2", b"Full 1").replace(b'pmc">2', b'pmc">1')
        )
    manifest = build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert manifest.rejects == {"superseded": 1} and manifest.counts["documents"] == 1


@pytest.mark.parametrize("layout", ["a.zip", "a.tar.gz", "PMC1.xml", "PMC1.xml.gz", "set.xml.gz"])
@pytest.mark.fault("an article that expands without end", "refused by name, in bounded memory")
def test_an_article_that_swells_is_refused_by_name(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("extract", "readers.article_sets"):
        monkeypatch.setattr(f"biobert_scale.corpus.{module}.MAXIMUM_MEMBER_BYTES", 100_000)
    monkeypatch.setattr("biobert_scale.corpus.readers.article_sets._READ_BYTES", 10_000)
    bomb = b"<article><body><p>" + b" " * 1_000_000 + b"</p></body></article>"
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / layout
    match layout:
        case "a.zip":
            path.write_bytes(zipped(("PMC1.xml", bomb)))
        case "a.tar.gz":
            with tarfile.open(path, "w:gz") as package:
                header = tarfile.TarInfo("PMC1.xml")
                header.size = len(bomb)
                package.addfile(header, io.BytesIO(bomb))
        case "PMC1.xml":
            path.write_bytes(bomb)
        case "PMC1.xml.gz":
            path.write_bytes(gzip.compress(bomb))
        case _:
            path.write_bytes(gzip.compress(b"<articles>" + bomb + b"</articles>"))
    with pytest.raises(UserError, match="larger than 100,000 bytes") as failure:
        build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert failure.value.where.startswith(str(path))


def test_what_is_not_read_of_a_package_may_have_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "MAXIMUM_MEMBER_BYTES", 100_000)
    member = tarfile.TarInfo("PMC/figure.tiff")
    member.size = 100_001
    assert list(package_members(write_package(tmp_path / "a.tar.gz", [member]))) == []
    header = tarfile.TarInfo("PMC/PMC1.xml")
    header.pax_headers = {"comment": "x" * 1_000_000}
    with pytest.raises(UserError, match="header in the tar package is larger"):
        list(package_members(write_package(tmp_path / "a.tar.gz", [header])))


def test_devices_are_passed_over(tmp_path: Path) -> None:
    device = tarfile.TarInfo("PMC/PMC1.xml")
    device.type = tarfile.CHRTYPE
    assert list(package_members(write_package(tmp_path / "a.tar.gz", [device]))) == []


def test_a_citation_file_of_any_size_is_streamed_out_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "MAXIMUM_MEMBER_BYTES", 1000)
    records = b"".join(
        b"<PubmedArticle><MedlineCitation><PMID>%d</PMID><Article><Abstract><AbstractText>%s</AbstractText>"
        b"</Abstract></Article></MedlineCitation></PubmedArticle>" % (number, prose(number).encode())
        for number in range(1, 30)
    )
    content = b"<PubmedArticleSet>" + records + b"</PubmedArticleSet>"
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.zip").write_bytes(zipped(("x/n0001.xml", content), ("n0002.xml", content[:-30])))
    assert [file.source for file in find_raw_files(tmp_path / "raw")] == ["medline"]
    with pytest.raises(UserError, match=r"breaks off.*a\.zip:n0002\.xml"):
        build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG)
    (tmp_path / "raw" / "a.zip").write_bytes(zipped(("x/n0001.xml", content)))
    assert build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG).counts["documents_medline"] == 29
