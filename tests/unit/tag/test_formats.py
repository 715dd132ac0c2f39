"""`auto`: the format of a file by its first bytes, or a refusal that names it; no other format's syntax is
tagged as text."""

from __future__ import annotations

import codecs
import gzip
import io
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.tag.documents import read_documents

RECORDS = (
    "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>11</PMID><Article><ArticleTitle>Leaf palsy."
    "</ArticleTitle></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"
)
DOCTYPE = '<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle//EN" "https://x.invalid/a.dtd">'
SUBSET = '<!DOCTYPE PubmedArticleSet [<!ENTITY leaf "x > y"> <!ELEMENT a (b)>]>'


@pytest.mark.parametrize(
    "prologue",
    [
        "",
        "<!-- made by a script -->\n",
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- <article> --> ',
        '\n\n  <?xml-stylesheet href="a.xsl"?>\n',
        f'<?xml version="1.0"?>\n{DOCTYPE}\n<!-- a\nb -->\n',
        SUBSET,
        f"<!-- {'long ' * 2000} -->",
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_pubmed_xml_is_recognised_whatever_comes_before_its_root(
    prologue: str, mark: str, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text(mark + prologue + RECORDS, encoding="utf-8")
    assert [document.text for document in read_documents(tmp_path / "in")] == ["Leaf palsy."]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"id": "1", "text": "Leaf palsy."}\n', "JSON"),
        ('[{"text": "Leaf palsy."}]', "JSON"),
        ('[\n  "Leaf palsy.",\n  "Noxal rot."\n]', "JSON"),
        ("{\n", "JSON"),
        ("%PDF-1.7\n%", "a PDF"),
        ('<?pi x?>\n<tei:TEI xmlns:tei="x">a</tei:TEI>', "its root is <TEI>"),
        ('<div class="x">Leaf palsy</div>', "its root is <div>"),
        (f"<!-- {'long ' * 2000} --><div/>", "its root is <div>"),
        ("PMID- 11\nTI  - Leaf palsy.\n", "citations"),
        ("TY  - JOUR\nTI  - Leaf palsy.\n", "citations"),
    ],
)
def test_other_formats_are_refused_by_their_names(content: str, says: str, tmp_path: Path) -> None:
    for data in (content.encode(), gzip.compress(content.encode())):
        (tmp_path / "in").write_bytes(data)
        with pytest.raises(UserError, match=says) as told:
            list(read_documents(tmp_path / "in"))
        assert told.value.where.endswith("in")
        assert ("pdftotext" if says == "a PDF" else "--input-format") in told.value.remedy


@pytest.mark.parametrize(
    "line",
    [
        "[18F]FDG in the heart.",
        "[Pain in childhood].",
        "{alpha} and {beta} chains.",
        "<i>Leaf</i> palsy in mice.",
        "<LOD values were left out.",
        "< 5 mg of noxal.",
        "@home with leaf palsy.",
        "The value |t| rose.",
    ],
)
def test_text_that_looks_like_markup_is_text(line: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text(f"{line}\nsecond\n")
    if "|t|" in line:  # a first line like a PubTator title is refused, not guessed at
        with pytest.raises(UserError, match="must begin with"):
            list(read_documents(tmp_path / "in"))
    else:
        assert [document.text for document in read_documents(tmp_path / "in")] == [line, "second"]


def test_an_explicit_format_that_is_another_is_refused_and_an_empty_set_is_not(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("<collection><document/></collection>")
    with pytest.raises(UserError, match="no PubMed record"):
        list(read_documents(tmp_path / "in", "pubmed"))
    (tmp_path / "in").write_text("<PubmedArticleSet></PubmedArticleSet>")
    assert list(read_documents(tmp_path / "in")) == []


def test_utf_16_is_read_as_xml_and_refused_as_text(tmp_path: Path) -> None:
    xml = f'<?xml version="1.0" encoding="UTF-16"?>{RECORDS}'
    (tmp_path / "in").write_bytes(codecs.BOM_UTF16_LE + xml.encode("utf-16-le"))
    assert [document.text for document in read_documents(tmp_path / "in")] == ["Leaf palsy."]
    (tmp_path / "in").write_bytes(codecs.BOM_UTF16_LE + "Leaf palsy.".encode("utf-16-le"))
    with pytest.raises(UserError, match="not UTF-8"):
        list(read_documents(tmp_path / "in"))


class Pipe(io.RawIOBase):
    def __init__(self, *pieces: str) -> None:
        self.pieces = [piece.encode() for piece in pieces]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("first", ["<Pubmed", "<!-- a", "<!-- a -->", "<?xml version='1.0'?>\n<Pub"])
def test_a_pipe_cut_anywhere_before_the_root_is_recognised(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = f"{'<?xml version=' + chr(39) + '1.0' + chr(39) + '?>' + chr(10) if '?' in first else ''}"
    whole += ("<!-- a -->" if "--" in first else "") + RECORDS
    rest = whole.removeprefix(first)
    assert rest != whole
    stream = io.TextIOWrapper(io.BufferedReader(Pipe(first, rest)))
    monkeypatch.setattr("sys.stdin", stream)
    assert [document.text for document in read_documents(Path("-"))] == ["Leaf palsy."]
