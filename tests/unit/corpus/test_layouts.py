"""Whatever layout people have their files in, the same articles and citations are the same documents."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus import raw as raw_module
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.not_read import MEMBER_PACKAGE
from biobert_scale.corpus.pipeline import CorpusRow
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest
from tests.factories import abstract, article, prose, tarred, write_medline, write_package

CONFIG = CorpusConfig(minimum_words=5, near_duplicate_similarity=2)
NUMBERS = range(1, 6)
ARTICLES = {f"PMC{n}.xml": article(n, prose(n), pmid=str(n + 100)) for n in NUMBERS}
CITATIONS = {f"{n}.xml": abstract(n, prose(n)).encode() for n in NUMBERS}
DECLARED = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE article PUBLIC "-//x" "x.dtd">\n'


def zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members.items():
            package.writestr(name, content)
    return stream.getvalue()


def oai(members: Mapping[str, bytes], verb: str = "ListRecords") -> bytes:
    """Answers name the namespace of articles at the article, or at the root with a prefix."""
    records = b"".join(
        b"<record><header><identifier>oai:%d</identifier></header><metadata>%s</metadata></record>"
        % (
            number,
            content.replace(b"<article>", b'<article xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/">'),
        )
        for number, content in enumerate(members.values())
    )
    return (
        b'<?xml version="1.0"?>\n<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
        b"<responseDate>2026-11-29</responseDate><%s>%s</%s></OAI-PMH>"
        % (verb.encode(), records, verb.encode())
    )


def prefixed(members: Mapping[str, bytes]) -> bytes:
    elements = (
        b"".join(members.values()).replace(b"</", b"</j:").replace(b"<", b"<j:").replace(b"<j:/j:", b"</j:")
    )
    return b'<pmc-articleset xmlns:j="http://jats.nlm.nih.gov">' + elements + b"</pmc-articleset>"


def wrapped(root: bytes, members: Mapping[str, bytes]) -> bytes:
    return b"<%s>%s</%s>" % (root, b"\n".join(members.values()), root)


def build(raw: Path, files: Mapping[str, bytes], **options: Any) -> tuple[list[CorpusRow], Manifest]:
    for name, content in files.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(content)
    manifest = build_corpus(raw, raw.parent / "out", CONFIG, **options)
    return list(documents(raw.parent / "out")), manifest


def texts(rows: list[CorpusRow]) -> dict[str, tuple[str, str, str]]:
    return {row["id"]: (row["text"], row["pmid"], row["pmcid"]) for row in rows}


LAYOUTS: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "loose": lambda files: files,
    "loose, declared": lambda files: {name: DECLARED + content for name, content in files.items()},
    "loose, UTF-16": lambda files: {
        name: content.decode().encode("utf-16") for name, content in files.items()
    },
    "loose, gzip": lambda files: {f"{name}.gz": gzip.compress(content) for name, content in files.items()},
    "loose, upper case": lambda files: {
        f"{name[:-4]}.XML.GZ": gzip.compress(content) for name, content in files.items()
    },
    "loose, nxml": lambda files: {f"{name[:-4]}.nxml": content for name, content in files.items()},
    "a directory each": lambda files: {f"{name[:-4]}.1/{name}": content for name, content in files.items()},
    "tar": lambda files: {"a.tar": tarred(files)},
    "tgz": lambda files: {"a.tgz": gzip.compress(tarred(files))},
    "TAR.GZ": lambda files: {"A.TAR.GZ": gzip.compress(tarred(files))},
    "tar under a compressed name": lambda files: {"a.tar.gz": tarred(files)},
    "tar.bz2": lambda files: {"a.tar.bz2": bz2.compress(tarred(files))},
    "tar.xz": lambda files: {"a.tar.xz": lzma.compress(tarred(files))},
    "zip": lambda files: {"a.ZIP": zipped(files)},
    "gzip in tar": lambda files: {
        "a.tar": tarred({f"{name}.gz": gzip.compress(content) for name, content in files.items()})
    },
    "several directories in zip": lambda files: {
        "a.zip": zipped({f"PMC00{number}/{name}": files[name] for number, name in enumerate(files)})
    },
}
SETS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "articles": lambda files: wrapped(b"articles", files),
    "pmc-articleset": lambda files: DECLARED + wrapped(b"pmc-articleset", files),
    "a prefix": prefixed,
    "ListRecords": oai,
    "GetRecord": lambda files: oai(files, "GetRecord"),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, str]]:
    """The documents of NCBI's own layout."""
    directory = tmp_path_factory.mktemp("expected")
    write_package(directory / "raw" / "oa_comm_xml.PMC000xxxxxx.tar.gz", ARTICLES)
    rows, _ = build(directory / "raw", {})
    assert [row["id"] for row in rows] == [f"pmcid:PMC{n}" for n in NUMBERS]
    return texts(rows)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_articles_in_every_layout_are_the_same_documents(
    tmp_path: Path, layout: str, expected: dict[str, tuple[str, str, str]]
) -> None:
    rows, manifest = build(tmp_path / "raw", LAYOUTS[layout](ARTICLES))
    assert texts(rows) == expected and [row["id"] for row in rows] == list(expected)
    assert manifest.counts["not_read"] == {} and manifest.rejects == {}


@pytest.mark.parametrize("place", ["a.xml", "a.XML.gz", "a.zip"])
@pytest.mark.parametrize("layout", SETS)
def test_articles_in_every_wrapper_are_the_same_documents(
    tmp_path: Path, layout: str, place: str, expected: dict[str, tuple[str, str, str]]
) -> None:
    content = SETS[layout](ARTICLES)
    held = {"a.xml": content, "a.XML.gz": gzip.compress(content), "a.zip": zipped({"answer.xml": content})}
    rows, manifest = build(tmp_path / "raw", {place: held[place]})
    assert texts(rows) == expected
    assert manifest.counts["not_read"] == {} and manifest.rejects == {}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_single_citations_in_every_layout_are_the_same_documents(tmp_path: Path, layout: str) -> None:
    write_medline(tmp_path / "set" / "a.xml.gz", *(abstract(n, prose(n)) for n in NUMBERS))
    expected, _ = build(tmp_path / "set", {})
    rows, manifest = build(tmp_path / "other" / "raw", LAYOUTS[layout](CITATIONS))
    assert texts(rows) == texts(expected) and len(rows) == len(NUMBERS)
    assert manifest.counts["not_read"] == {} and manifest.counts["records_medline"] == len(NUMBERS)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "loose" not in name])
def test_files_of_citations_in_packages_are_read_and_withdraw_what_came_before(
    tmp_path: Path, layout: str
) -> None:
    def file(*records: int, deleted: int) -> bytes:
        path = tmp_path / "made.xml.gz"
        write_medline(path, *(abstract(n, prose(n)) for n in records), deleted=(deleted,))
        return gzip.decompress(path.read_bytes())

    files = {
        "n0001.xml": file(1, 2, 3, deleted=9),
        "n0002.xml": file(4, deleted=1),
        "n0003.xml": file(1, deleted=8),
    }
    rows, manifest = build(tmp_path / "raw", LAYOUTS[layout](files))
    assert sorted(row["id"] for row in rows) == [f"pmid:{n}" for n in (1, 2, 3, 4)]
    assert manifest.rejects == {"superseded": 1}
    (tmp_path / "second").mkdir()
    files["n0002.xml"] = file(4, deleted=3)
    rows, manifest = build(tmp_path / "second" / "raw", LAYOUTS[layout](files))
    assert sorted(row["id"] for row in rows) == [f"pmid:{n}" for n in (1, 2, 4)]
    assert manifest.rejects == {"superseded": 1, "deleted": 1}


def test_roots_decide_and_not_names(tmp_path: Path) -> None:
    files = {
        "pubmed25n0001.xml": ARTICLES["PMC1.xml"],
        "PMC2.nxml": CITATIONS["2.xml"],
        "oa_comm_xml.tgz": gzip.compress(
            tarred({"PMC3.xml": CITATIONS["3.xml"], "4.xml": ARTICLES["PMC4.xml"]})
        ),
        "plain.tar.gz": zipped({"5.xml": ARTICLES["PMC5.xml"]}),
    }
    rows, manifest = build(tmp_path / "raw", files)
    assert sorted(row["id"] for row in rows) == sorted(
        ["pmcid:PMC1", "pmcid:PMC4", "pmcid:PMC5", "pmid:2", "pmid:3"]
    )
    assert manifest.counts["not_read"] == {}


def test_a_package_in_a_package_is_counted_and_named(tmp_path: Path) -> None:
    inner = gzip.compress(tarred({"PMC9.xml": ARTICLES["PMC1.xml"]}))
    files = {"a.tar": tarred({"PMC2.xml": ARTICLES["PMC2.xml"], "x/inner.TGZ": inner, "inner.zip": b""})}
    rows, manifest = build(tmp_path / "raw", files)
    assert [row["id"] for row in rows] == ["pmcid:PMC2"]
    assert manifest.counts["not_read"] == {MEMBER_PACKAGE: {"count": 2, "example": "a.tar:x/inner.TGZ"}}


# --- many small files


def test_small_files_share_tasks_and_a_damaged_one_is_left_out_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(raw_module, "_GROUP_FILES", 4)
    files = {f"{n % 3}/PMC{n}.xml": article(n, prose(n)) for n in range(1, 12)}
    expected, manifest = build(tmp_path / "sound" / "raw", files)
    assert len(expected) == manifest.counts["files"] == 11
    assert [(entry["name"], entry["files"]) for entry in manifest.inputs] == [
        ("PMC3.xml to PMC1.xml", 4),
        ("PMC4.xml to PMC2.xml", 4),
        ("PMC5.xml to PMC11.xml", 3),
    ]
    files["1/PMC4.xml"] = files["1/PMC4.xml"][:-20]
    files["2/PMC8.xml"] = b""
    with pytest.raises(UserError, match=r"2 of 11 files are damaged; .*2/PMC8\.xml.*--max-bad-files 2"):
        build(tmp_path / "raw", files, max_bad_files=1)
    rows, manifest = build(tmp_path / "raw", files, max_bad_files=2)
    assert rows == [row for row in expected if row["id"] not in ("pmcid:PMC4", "pmcid:PMC8")]
    assert manifest.counts["bad_files"] == 2 and "PMC8.xml" in caplog.text
    again, _ = build(tmp_path / "raw", {"1/PMC4.xml": article(4, prose(4))}, max_bad_files=1, overwrite=True)
    assert again == [row for row in expected if row["id"] != "pmcid:PMC8"]


def test_numbers_in_paths_count_by_value_and_the_later_state_stays(tmp_path: Path) -> None:
    files = {f"v{n}/PMC1.{n}.xml": article(1, prose(n)) for n in (10, 2, 9)}
    rows, _ = build(tmp_path / "raw", files)
    assert [(row["origin"], row["text"]) for row in rows] == [("PMC1.10.xml", f"Full 1\n{prose(10)}")]


def test_so_many_files_of_many_share_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_module, "_MOST_ALONE", 3)
    for n in range(1, 7):
        write_medline(tmp_path / "raw" / f"{n}.xml.gz", abstract(n, prose(n)), deleted=(n - 1, n + 1))
    rows, manifest = build(tmp_path / "raw", {})
    assert len(manifest.inputs) == 1 and manifest.counts["files_medline"] == 6
    assert [row["id"] for row in rows] == ["pmid:6"], "each withdraws the one before, and no later one"
    assert manifest.rejects == {"deleted": 5}


def test_of_a_damaged_file_among_several_nothing_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_module, "_MOST_ALONE", 1)
    for n in (1, 2):
        write_medline(tmp_path / "raw" / f"{n}.xml.gz", abstract(n, prose(n)))
    withdrawing = write_medline(tmp_path / "made.xml.gz", abstract(3, prose(3)), deleted=(1, 2)).read_bytes()
    broken = tarred({"a.xml.gz": withdrawing, "figure.jpg": b"1", "b.xml": CITATIONS["4.xml"]})
    broken = broken[: broken.index(CITATIONS["4.xml"]) + 20]
    rows, manifest = build(tmp_path / "raw", {"3.tar": broken}, max_bad_files=1)
    assert len(manifest.inputs) == 1, "all are read by one task"
    assert [row["id"] for row in rows] == ["pmid:1", "pmid:2"]
    assert manifest.counts["bad_files"] == 1 and manifest.counts["not_read"] == {}
