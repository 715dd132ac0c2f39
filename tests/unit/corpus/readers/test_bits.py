"""Books: each part that has a text of its own is a document with a name that stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.readers.bits import read_book
from tests.factories import abstract, prose, write_medline


def chapter(name: str, text: str, *, identifier: str = "", inner: str = "") -> str:
    title = f"<title-group><label>1</label><title>{name}</title></title-group>"
    meta = f"<book-part-meta>{identifier}{title}</book-part-meta>"
    body = f"<body><sec><title>Findings</title><p>{text}</p></sec>{inner}</body>"
    return f'<book-part book-part-type="chapter" id="{name}">{meta}{body}</book-part>'


BOOK_ID = '<book-id book-id-type="pmcid">henbook</book-id>'
BOOK_META = (
    f"<book-meta>{BOOK_ID}<book-title-group><book-title>Hens</book-title></book-title-group></book-meta>"
)
OF_PMID = '<book-part-id book-part-id-type="pmid">77</book-part-id>'
OLD_ID = '<book-part-id pub-id-type="doi">10.1/ch2</book-part-id>'
NAMESPACE = 'xmlns="https://jats.nlm.nih.gov/ns/extensions/bits/2.0/"'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            f"<book-part-wrapper>{BOOK_META}{chapter('ch1', 'They eat.')}</book-part-wrapper>",
            [("henbook/ch1", "ch1", ("Findings", "They eat."))],
        ),
        (
            f"<book-part-wrapper {NAMESPACE}>{BOOK_META}{chapter('ch1', 'They eat.')}</book-part-wrapper>",
            [("henbook/ch1", "ch1", ("Findings", "They eat."))],
        ),
        (
            chapter("ch1", "They eat.", identifier=OLD_ID),
            [("file/10.1/ch2", "ch1", ("Findings", "They eat."))],
        ),
        (
            f"<book>{BOOK_META}<front-matter><preface><p>Thanks.</p></preface></front-matter><book-body>"
            f"<book-part id='p1'><book-part-meta/><body>{chapter('a', 'One.')}{chapter('b', 'Two.')}</body>"
            "</book-part></book-body><book-back><index><p>Hens, 4</p></index></book-back></book>",
            [("henbook/a", "a", ("Findings", "One.")), ("henbook/b", "b", ("Findings", "Two."))],
        ),
        (
            f"<book>{BOOK_META}<body>{chapter('a', 'One.', inner=chapter('a1', 'Inside.'))}</body></book>",
            [("henbook/a", "a", ("Findings", "One.")), ("henbook/a1", "a1", ("Findings", "Inside."))],
        ),
        (
            f"<book>{BOOK_META}<body><sec><title>All</title><p>Of one piece.</p></sec></body></book>",
            [("henbook/henbook", "Hens", ("All", "Of one piece."))],
        ),
        (f"<book>{BOOK_META}<toc><p>Hens, 4</p></toc></book>", []),
    ],
    ids=["wrapper", "namespace", "chapter alone", "parts", "nested", "one piece", "contents alone"],
)
def test_each_part_with_a_text_is_a_document(
    content: str, expected: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    found = [(name, text.title, text.body) for name, text in read_book(content.encode(), file_name="file")]
    assert found == expected


@pytest.mark.parametrize("place", ["henbook/TOC.nxml", "answer.xml"])
def test_chapters_reach_the_corpus_and_replace_their_abstracts(tmp_path: Path, place: str) -> None:
    chapters = chapter("ch1", prose(1), identifier=OF_PMID) + chapter("ch2", prose(2))
    content = f"<book-part-wrapper>{BOOK_META}{chapters}</book-part-wrapper>"
    if place == "answer.xml":
        content = f"<OAI-PMH><GetRecord><record><metadata>{content}</metadata></record></GetRecord></OAI-PMH>"
    path = tmp_path / "raw" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    write_medline(tmp_path / "raw" / "a.xml.gz", abstract(77, prose(3)))
    manifest = build_corpus(tmp_path / "raw", tmp_path / "out", CorpusConfig(minimum_words=5))
    rows = list(documents(tmp_path / "out"))
    assert [(row["id"], row["source"]) for row in rows] == [("pmid:77", "pmc"), ("book:henbook/ch2", "pmc")]
    assert [row["text"] for row in rows] == [f"ch{n}\nFindings\n{prose(n)}" for n in (1, 2)]
    assert manifest.rejects == {"full_text_present": 1}
