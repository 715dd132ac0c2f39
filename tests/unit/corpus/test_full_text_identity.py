"""Which full texts are kept: those with a PMID alone, and those whose language is what they declare."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.cleaning.clean import reject_reason
from biobert_scale.corpus.document import Document

PROSE = "The iron of the liver was measured in all of the rats that were fed with salt for {} weeks and rose."


def write_package(path: Path, *articles: tuple[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as package:
        for number, (identifiers, text) in enumerate(articles):
            content = (
                f"<article><front><article-meta>{identifiers}</article-meta></front>"
                f"<body><p>{text}</p></body></article>"
            ).encode()
            member = tarfile.TarInfo(f"x/{number}.xml")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))


def test_full_texts_with_a_pmid_alone_are_kept_in_their_last_state(tmp_path: Path) -> None:
    pmid = '<article-id pub-id-type="pmid">{}</article-id>'
    both = pmid.format(9) + '<article-id pub-id-type="pmc">4</article-id>'
    raw = tmp_path / "raw"
    older = ((pmid.format(7), PROSE.format("ten long")), ("", PROSE.format("no")))
    newer = ((pmid.format(7), PROSE.format("two and a half")), (both, PROSE.format("nine or so")))
    write_package(raw / "oa_comm_xml.PMC000xxxxxx.baseline.2024-01-01.tar.gz", *older)
    write_package(raw / "oa_comm_xml.incr.2024-02-01.tar.gz", *newer)
    abstract = (
        "<PubmedArticleSet><MedlineCitation><PMID>7</PMID><Article><Abstract><AbstractText>"
        f"{PROSE.format('very many other')}</AbstractText></Abstract></Article></MedlineCitation>"
        "</PubmedArticleSet>"
    )
    (raw / "a.xml.gz").write_bytes(gzip.compress(abstract.encode()))
    config = CorpusConfig(minimum_words=5, near_duplicate_similarity=2.0)
    manifest = build_corpus(raw, tmp_path / "out", config)
    kept = [(row["id"], row["source"]) for row in documents(tmp_path / "out")]
    assert sorted(kept) == [("pmcid:PMC4", "pmc"), ("pmid:7", "pmc")]
    assert manifest.rejects == {"no_identifier": 1, "superseded": 1, "full_text_present": 1}


# One English function word in twelve, as in a Danish text after an English abstract.
MIXED = " ".join(["jernet i leveren blev maalt hos alle rotter der fik salt det for"] * 20)


@pytest.mark.parametrize(
    ("source", "declared", "text", "reason"),
    [
        ("pmc", "dan", MIXED, "language"),
        ("pmc", "nor", MIXED, "language"),
        ("pmc", "und", MIXED, "language"),
        ("pmc", "dan", " ".join([PROSE] * 20), None),
        ("pmc", "", MIXED, None),
        ("medline", "dan", MIXED, None),
    ],
)
def test_a_few_words_spelled_alike_do_not_make_a_full_text_english(
    source: str, declared: str, text: str, reason: str | None
) -> None:
    document = Document(id="pmid:1", source=source, text=text, language=declared)
    assert reject_reason(document, CorpusConfig()) == reason
