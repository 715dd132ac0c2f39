"""An article finds its row of the package's file list, however the list was saved and the package packed."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from biobert_scale.corpus.file_list import ListedArticle, read_file_list
from biobert_scale.errors import UserError

HEAD = "Article File,Article Citation,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License,Retracted\n"
ROW = "PMC000xxxxxx/PMC4.xml,J. Hén. 2000,PMC4,2020-02-03 04:05:06,77,CC BY-NC,no\n"
PLAIN = (HEAD + ROW).encode()
LISTED = ListedArticle(pmid="77", license="CC BY-NC", updated=20200203040506)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        codecs.BOM_UTF8 + PLAIN,
        (HEAD + ROW).encode("latin-1"),
        (HEAD + ROW).encode("utf-16"),
        codecs.BOM_UTF16_BE + (HEAD + ROW).encode("utf-16-be"),
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b",", b", "),
        PLAIN.replace(b"PMC000xxxxxx/", b"./PMC000xxxxxx/"),
        PLAIN + b"\n",
    ],
    ids=["plain", "mark", "latin-1", "utf-16", "utf-16-be", "crlf", "cr", "blanks", "dot", "empty line"],
)
@pytest.mark.parametrize(
    "member",
    [
        "PMC000xxxxxx/PMC4.xml",
        "./PMC000xxxxxx/PMC4.xml",
        "PMC4.xml",
        "packed/anew/PMC4.nxml",
        "x//./PMC4.xml",
    ],
)
def test_a_member_finds_its_row(tmp_path: Path, content: bytes, member: str) -> None:
    path = tmp_path / "x.filelist.csv"
    path.write_bytes(content)
    assert read_file_list(path).find(member) == LISTED
    assert read_file_list(path).find(member.replace("PMC4", "PMC5")) is None


def test_names_that_are_not_utf_8_agree(tmp_path: Path) -> None:
    path = tmp_path / "x.filelist.csv"
    path.write_bytes(PLAIN.replace(b"PMC000xxxxxx/PMC4.xml", b"caf\xe9/a.nxml"))
    assert read_file_list(path).find(os.fsdecode(b"caf\xe9/a.nxml")) == LISTED


@pytest.mark.parametrize("pmid", ["0", "", "n/a", "²", os.fsdecode(b"7\xe9")])
def test_what_is_no_pmid_is_none(tmp_path: Path, pmid: str) -> None:
    path = tmp_path / "x.filelist.csv"
    path.write_bytes(f"{HEAD}PMC4.xml,,PMC4,,{pmid},CC0\n".encode("utf-8", "surrogateescape"))
    assert read_file_list(path).find("PMC4.xml") == ListedArticle(license="CC0")


@pytest.mark.parametrize("content", [b"", b"File,PMID\n", b"\xff\xfeA", b"\xff\xfe\x00\xd8\x0a"])
def test_another_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.filelist.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="file list"):
        read_file_list(path)
