"""Whatever is sent becomes documents, or is refused in one line; bombs end at the limits."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pytest

from biobert_scale.serve.limits import MAXIMUM_CHARACTERS, Limits
from biobert_scale.serve.refused import Refused
from biobert_scale.serve.uploads import read_file, read_texts
from tests.factories import abstract, article, prose, tarred

LIMITS = Limits(request_bytes=1_000_000)
PUBMED = f"<PubmedArticleSet>{abstract(7, prose(7))}</PubmedArticleSet>".encode()
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPE = f'<!DOCTYPE PubmedArticleSet [<!ENTITY l0 "ha">{LAUGHS}<!ENTITY f SYSTEM "file:///etc/passwd">]>'


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("a.xml", content)
    return stream.getvalue()


def zstandard(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard])
def test_a_file_is_read_as_tag_reads_it(compress: object) -> None:
    assert callable(compress)
    upload = read_file(compress(PUBMED), "pubmed.xml", "auto", LIMITS)
    assert [document.id for document in upload.documents] == ["7"] and not upload.passed_over
    assert "iron of group 7" in upload.documents[0].text
    full = read_file(compress(article(12, prose(1))), "", "auto", LIMITS)
    assert [document.id for document in full.documents] == ["PMC12"]


def test_what_is_not_read_is_said() -> None:
    deleted = b"<DeleteCitation><PMID>3</PMID></DeleteCitation></PubmedArticleSet>"
    upload = read_file(PUBMED.replace(b"</PubmedArticleSet>", deleted), "", "auto", LIMITS)
    assert upload.passed_over == "1 PMIDs that the file withdraws (such as 3)"


@pytest.mark.parametrize(
    ("body", "name", "status", "says"),
    [
        (PUBMED[:100], "a.xml", 400, "the XML is damaged or breaks off at line 1"),
        (gzip.compress(PUBMED)[:60], "a.xml.gz", 400, "breaks off"),
        (b"\x1f\x8b" + bytes(range(200)), "a.gz", 400, "damaged"),
        (b"%PDF-1.4", "a.pdf", 400, "a PDF"),
        ("Müdigkeit".encode("latin-1"), "../../note\n.txt", 400, "not UTF-8 text: note .txt:1;"),
        (b'{"a": 1}', "", 400, "JSON, which `tag` does not read: the request;"),
        (b"<html><p>x</p></html>", "", 400, "HTML"),
        (b"<article>" * 2000, "", 400, "XML"),
        (tarred({"a.xml": PUBMED}), "a.tar", 415, "package, which is not opened"),
        (gzip.compress(tarred({"a.xml": PUBMED})), "", 415, "package, which is not opened"),
        (zipped(PUBMED), "a.zip", 415, "package, which is not opened"),
        (gzip.compress(bytes(20_000_000)), "a.gz", 413, "more than 8,000,000 bytes, decompressed"),
        (bz2.compress(b"x" * 20_000_000), "", 413, "more than 8,000,000 bytes, decompressed"),
        (zstandard(PUBMED[:-20] + b" " * 9_000_000), "", 413, "more than 8,000,000 bytes"),
        (gzip.compress(b"some words " * 100_000), "", 413, f"more than {MAXIMUM_CHARACTERS:,} characters"),
        (b"a\n" * 20_000, "", 413, "more than 10,000 documents"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else str(value)[:20],
)
def test_a_bad_file_is_refused_in_one_line(body: bytes, name: str, status: int, says: str) -> None:
    with pytest.raises(Refused) as refused:
        read_file(body, name, "auto", LIMITS)
    assert refused.value.status == status and says in str(refused.value)
    assert "\n" not in str(refused.value) and "directory" not in str(refused.value)


@pytest.mark.parametrize("entity", ["&l9;", "&f;"])
def test_entities_of_a_document_are_not_expanded(entity: str) -> None:
    body = (DOCTYPE + PUBMED.decode().replace("The iron", f"The {entity} iron")).encode()
    try:
        (document,) = read_file(body, "", "auto", LIMITS).documents
    except Refused as refused:
        assert refused.status == 400
    else:
        assert "root:" not in document.text and len(document.text) < 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON that is damaged"),
        (b"\xff\xfe", "JSON that is damaged"),
        (b"[" * 100_000, "JSON that is nested too deeply"),
        (b"[]", "no object with a list of strings"),
        (b'{"texts": "one"}', "no object with a list of strings"),
        (b'{"texts": ["a", 1]}', "no object with a list of strings"),
        (b'{"texts": ["a"], "format": "bioc"}', "no object with a list of strings"),
        (b'{"texts": ["a", "\\ud800"]}', "half of a surrogate pair, at character 0: text 2"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_json_is_refused_in_one_line(body: bytes, says: str) -> None:
    with pytest.raises(Refused, match=r"^[^\n]+; [^\n]+$") as refused:
        read_texts(body)
    assert refused.value.status == 400 and says in str(refused.value)


def test_texts_are_named_by_their_numbers() -> None:
    texts = ["Leaf palsy.", "", "ﬁ \0 𝒳"]
    upload = read_texts(json.dumps({"texts": texts}).encode())
    assert [(document.id, document.text) for document in upload.documents] == [
        ("1", texts[0]),
        ("2", ""),
        ("3", texts[2]),
    ]


def test_half_a_surrogate_pair_in_bioc_is_refused() -> None:
    passage = '{"offset": 0, "infons": {}, "text": "\\ud800 x"}'
    body = f'{{"documents": [{{"id": "1", "passages": [{passage}]}}]}}'.encode()
    with pytest.raises(Refused, match="surrogate"):
        read_file(body, "", "auto", LIMITS)
