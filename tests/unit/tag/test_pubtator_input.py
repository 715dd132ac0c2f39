"""PubTator as files in use have it: no text of a document is lost, and what is not understood is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import read_documents
from biobert_scale.tag.outputs import pubtator_block

ROW = "1\t4\t9\tnoxal\tDisease\tD1\n"


def texts(path: Path, content: str | bytes) -> list[tuple[str, str]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(document.id, document.text) for document in read_documents(path)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1|t|A.\n1|a|B.\n2|t|C.\n2|a|D.\n", [("1", "A. B."), ("2", "C. D.")]),
        (f"1|t|The noxal.\n1|a|B.\n{ROW}2|t|A.\n2|a|B.\n", [("1", "The noxal. B."), ("2", "A. B.")]),
        ("1|t|A.\n1|a|B\nc.\n\nx-2|t|C.\nx-2|a|D.", [("1", "A. B\nc."), ("x-2", "C. D.")]),
        ("1|t|A\nb.\n1|a|C.\n2|t|D\ne.\n2|a|F.\n", [("1", "A\nb. C."), ("2", "D\ne. F.")]),
        ("1|t|A.\n1|a|B.\n1|b|Body\nwrapped.\n1|c|C.\n", [("1", "A. B. Body\nwrapped. C.")]),
        ("1|t|A.\n1|a|One.\n1|a|Two.\n", [("1", "A. One. Two.")]),
        ("1|t|A.\r\n1|a|B\r\nc.\r\n2|t|D.\r\n2|a|E.\r\n", [("1", "A. B\nc."), ("2", "D. E.")]),
        ("\ufeff1|t|A.\n1|a|B.\n\ufeff2|t|C.\n2|a|D.\n", [("1", "A. B."), ("2", "C. D.")]),
        ("1|t|A.\n1|a|We took\nP(|t| > 2) here.\n", [("1", "A. We took\nP(|t| > 2) here.")]),
        ("a b|t|A.\na b|a|B.\nc d|t|C.\nc d|a|D.\n", [("a b", "A. B."), ("c d", "C. D.")]),
        ("1|t|A.\n1|a|\n2|t|\n2|a|B.\n", [("1", "A."), ("2", " B.")]),
    ],
)
def test_every_line_of_a_document_is_in_its_text(
    content: str, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert texts(tmp_path / "in", content) == expected


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("1|t|A.\n1|a|B.\n2|a|C.\n", 3),  # another document's abstract
        ("1|t|A.\n1|a|B.\n2\t0\t1\tA\tDisease\tD1\n", 3),  # another document's row
        (f"1|t|The noxal.\n1|a|B.\n{ROW}More text.\n", 4),  # text after the rows
        ("1|t|A.\n1|a|B.\n\nMore text.\n", 4),
        ("1|t|A.\n1|a|B\np|q|r.\n", 3),  # perhaps a section of a document `p`
        ("1|t|A.\n1|b|B.\n", 1),
        ("1|t|A.\n\n1|a|B.\n", 1),
        ("1|a|B.\n1|t|A.\n", 1),
    ],
)
def test_what_belongs_to_no_document_is_refused_with_its_line(
    content: str, line: int, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"in:{line}; "):
        texts(tmp_path / "in", content)


def test_rows_and_records_that_are_passed_over_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    texts(tmp_path / "a", f"1|t|The noxal.\n1|a|B.\n{ROW}1\tCID\tD1\tD2\n")
    citation = "<PubmedArticle><MedlineCitation><PMID>{}</PMID>{}</MedlineCitation></PubmedArticle>"
    title = "<Article><ArticleTitle>A title.</ArticleTitle></Article>"
    records = citation.format(1, title) + citation.format(2, "") + citation.format(3, "")
    texts(tmp_path / "b", f"<PubmedArticleSet>{records}</PubmedArticleSet>")
    assert "2 annotation rows" in caplog.text and "2 records without title and abstract" in caplog.text


def test_sections_come_back_as_they_were() -> None:
    document = TextDocument(id="7", title="A.", abstract="B.", sections=(("b", "Body\x0ctext."),))
    assert pubtator_block(document, []) == "7|t|A.\n7|a|B.\n7|b|Body text.\n\n"
    assert document.text == "A. B. Body\x0ctext." and document.parts()[2] == (6, "Body\x0ctext.")
