"""`corpus build` and `tag` read the same abstract of a record: NLM's, or an `OtherAbstract` in English."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.extract import extract
from biobert_scale.corpus.not_read import NotRead
from biobert_scale.corpus.raw import RawFile
from biobert_scale.tag.documents import read_documents

OWN = "<Abstract><AbstractText>Own words.</AbstractText></Abstract>"
SPANISH = "<OtherAbstract Language='spa'><AbstractText>Suyo.</AbstractText></OtherAbstract>"
ENGLISH = (
    "<OtherAbstract Type='Publisher' Language='{}'><AbstractText Label='AIM'>Mice slept.</AbstractText>"
    "<AbstractText>Goats ran.</AbstractText></OtherAbstract>"
)


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        ("", ENGLISH.format("eng"), "AIM: Mice slept. Goats ran."),
        ("", ENGLISH.format("ENG"), "AIM: Mice slept. Goats ran."),
        ("", ENGLISH.replace(" Language='{}'", ""), "AIM: Mice slept. Goats ran."),
        ("", SPANISH + ENGLISH.format("eng"), "AIM: Mice slept. Goats ran."),
        ("", SPANISH, ""),
        (OWN, ENGLISH.format("eng"), "Own words."),
        ("", "<OtherAbstract><AbstractText> </AbstractText></OtherAbstract>", ""),
    ],
)
def test_tag_and_the_corpus_read_the_same_abstract(
    own: str, others: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>1</PMID><Article><ArticleTitle>A title."
        f"</ArticleTitle>{own}<Language>spa</Language></Article>{others}</MedlineCitation></PubmedArticle>"
        "</PubmedArticleSet>"
    )
    (document,) = read_documents(path)
    assert document.abstract == expected
    raw = RawFile(path=path, source="medline")
    (extracted,) = extract(
        raw, captions=True, languages=CorpusConfig().languages, deleted={}, not_read=NotRead(), damaged=[]
    )
    read = " ".join(filter(None, (document.title, document.abstract)))
    assert extracted.document.text.replace("\n", " ") == read
