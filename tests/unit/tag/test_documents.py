"""What `tag` reads besides text and PubMed XML: full texts, books, BioC, packages, directories, patterns."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from biobert_scale.corpus.not_read import NotRead
from biobert_scale.errors import UserError
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import find_inputs, read_documents, read_inputs
from tests.factories import abstract, write_medline, write_package

ARTICLE = """<article><front><article-meta><article-id pub-id-type="pmc">PMC{0}</article-id>
<title-group><article-title>Leaf <italic>palsy</italic>.</article-title></title-group>
<abstract><p>We saw it.</p><p>It passed.</p></abstract></article-meta></front>
<body><sec><title>Methods</title><p>Mice of both kinds.</p></sec><p>They slept.</p></body></article>"""
BODY = ("Methods", "Mice of both kinds.", "They slept.")
BOOK = """<book-part-wrapper><book-meta><book-id>NBK7</book-id></book-meta><book-part id="ch1">
<book-part-meta><title-group><title>Noxal rot</title></title-group></book-part-meta>
<body><p>It is rare.</p></body></book-part>
</book-part-wrapper>"""
BIOC = """<collection><source>x</source><document><id>7</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Leaf palsy.</text></passage>
<passage><infon key="type">abstract</infon><offset>14</offset><text>We saw it.</text>
<annotation id="1"><infon key="type">Disease</infon><location offset="14" length="2"/>
<text>We</text></annotation>
</passage><passage><infon key="type">ref</infon><offset>30</offset><text>They slept.</text></passage>
</document></collection>"""


def read(path: Path, content: str | bytes) -> list[TextDocument]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_documents(path))


@pytest.mark.parametrize(
    "wrapped",
    ["{}", "<pmc-articleset>{}</pmc-articleset>", "<?xml version='1.0'?>\n<articles>\n{}\n</articles>\n"],
)
def test_a_full_text_is_title_abstract_and_each_line_of_the_body(wrapped: str, tmp_path: Path) -> None:
    (document,) = read(tmp_path / "a.xml", wrapped.format(ARTICLE.format(3)))
    assert (document.id, document.title, document.abstract) == (
        "PMC3",
        "Leaf palsy.",
        "We saw it. It passed.",
    )
    assert tuple(text for _, text in document.sections) == BODY
    for section in document.stretches():
        assert document.text[section.start :].startswith(section.text)
    assert [text for _, text in document.parts()] == ["Leaf palsy.", "We saw it. It passed.", *BODY]


def test_a_book_is_its_parts(tmp_path: Path) -> None:
    (part,) = read(tmp_path / "NBK7.nxml", BOOK)
    assert (part.id, part.title, part.text) == ("NBK7/ch1", "Noxal rot", "Noxal rot  It is rare.")


def test_bioc_keeps_the_offsets_of_its_passages(tmp_path: Path) -> None:
    (document,) = read(tmp_path / "in", BIOC)
    assert document.text == "Leaf palsy.   We saw it.      They slept."
    assert [(name, start) for name, start, _ in document.stretches()] == [
        ("title", 0),
        ("abstract", 14),
        ("ref", 30),
    ]
    with pytest.raises(UserError, match="the passage at 3 begins inside the one before it"):
        read(tmp_path / "in", BIOC.replace(">14<", ">3<"))


PASSAGES = [
    {"offset": 0, "infons": {"type": "title"}, "text": "Leaf palsy."},
    {"offset": 12, "text": "Rare."},
]


@pytest.mark.parametrize(
    "content",
    [
        {"source": "x", "documents": [{"id": "7", "passages": PASSAGES}]},
        [{"bioctype": "BioCCollection", "documents": [{"id": "7", "passages": PASSAGES}]}],
        {"PubTator3": [{"_id": "7|None", "id": "7", "passages": PASSAGES}]},
        {"id": "7", "passages": PASSAGES},
    ],
)
def test_every_layout_of_bioc_json_is_read(content: object, tmp_path: Path) -> None:
    (document,) = read(tmp_path / "in", json.dumps(content))
    assert (document.id, document.text) == ("7", "Leaf palsy. Rare.")


def test_json_that_is_no_bioc_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not BioC JSON .*in"):
        read(tmp_path / "in", '{"documents": [{"id": "1"}]}')


@pytest.mark.parametrize(
    "compress", [bz2.compress, lzma.compress, lambda data: pa.compress(data, "zstd", True)]
)
def test_compressed_input_is_known_by_its_first_bytes(compress, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert [document.text for document in read(tmp_path / "in", compress(b"Leaf palsy.\n\nNoxal rot."))] == [
        "Leaf palsy.",
        "Noxal rot.",
    ]
    assert read(tmp_path / "in", compress(ARTICLE.format(3).encode()))[0].id == "PMC3"


def test_english_abstracts_of_other_kinds_are_read_too(tmp_path: Path) -> None:
    other = '<OtherAbstract Language="{}"><AbstractText>{}</AbstractText></OtherAbstract>'
    record = abstract(5, "We saw it.").replace(
        "</MedlineCitation>",
        other.format("eng", "It is rare.") + other.format("spa", "Es rara.") + "</MedlineCitation>",
    )
    not_read: NotRead = {}
    (document,) = read_documents(write_medline(tmp_path / "a.xml.gz", record), not_read=not_read)
    assert document.abstract == "We saw it." and document.sections == (("abstract", "It is rare."),)
    assert not_read == {"abstracts in other languages": {"count": 1, "example": "5"}}


def test_directories_packages_and_patterns_are_read_in_order(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_package(raw / "b" / "oa.tar.gz", {f"PMC{n}.xml": ARTICLE.format(n).encode() for n in (1, 2)})
    with zipfile.ZipFile(raw / "c.zip", "w") as package:
        package.writestr("PMC4.nxml", ARTICLE.format(4))
    (raw / "a.TXT").write_text("first\nsecond\n")
    (raw / "notes.docx").write_bytes(b"PK")
    (raw / ".hidden.txt").write_text("x")
    files, not_read = find_inputs([raw])
    names = [document.id for document in read_inputs(files, not_read=not_read, damaged=[])]
    assert names == ["a:1", "a:2", "PMC1", "PMC2", "PMC4"]
    assert [(unread["count"], unread["example"]) for unread in not_read.values()] == [(2, ".hidden.txt")]
    (raw / "b" / "a.txt.gz").write_bytes(gzip.compress(b"third\n", mtime=0))
    (raw / "b" / "v.1.txt").write_text("fourth\n")
    files, _ = find_inputs([raw])
    names = [document.id for document in read_inputs(files, not_read=not_read, damaged=[])]
    assert names[:2] == [f"{raw / 'a.TXT'}:1", f"{raw / 'a.TXT'}:2"]
    assert {f"{raw / 'b' / 'a.txt.gz'}:1", "v.1:1"} < {*names}
    assert find_inputs([raw / "*.zip", raw / "a.TXT", raw / "c.zip"])[0] == [raw / "c.zip", raw / "a.TXT"]
    for missing, says in ((raw / "x.xml", "no such file"), (raw / "*.xml", "no file of text")):
        with pytest.raises(UserError, match=says):
            find_inputs([missing])


def test_a_damaged_file_among_others_costs_the_others_nothing(tmp_path: Path) -> None:
    for name, content in (("a", "first\n"), ("b", ARTICLE.format(3)[:-30]), ("c", "third\n")):
        (tmp_path / f"{name}.txt").write_text(content)
    damaged: list[UserError] = []
    files, not_read = find_inputs([tmp_path])
    names = [document.id for document in read_inputs(files, not_read=not_read, damaged=damaged)]
    assert names == ["a:1", "c:1"]
    assert [Path(error.where).name for error in damaged] == ["b.txt"]
    with pytest.raises(UserError, match="the XML is damaged or breaks off"):
        list(read_inputs(files, not_read=not_read, damaged=None))
