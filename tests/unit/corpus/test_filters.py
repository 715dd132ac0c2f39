"""Filters by licence, retraction, publication type and year: each has its own reason to reject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.corpus.readers.bits import read_book
from biobert_scale.corpus.readers.jats import read_jats
from biobert_scale.corpus.readers.medline import MedlineRecord, read_medline
from tests.factories import abstract, prose, write_medline, write_package

CORRECTION = '<CommentsCorrectionsList><CommentsCorrections RefType="{}"/></CommentsCorrectionsList>'
BY, BY_NC = (f"https://creativecommons.org/licenses/{name}/4.0/" for name in ("by", "by-nc"))
META = '<article-meta><article-id pub-id-type="pmc">7</article-id>{}</article-meta>'


def citation(path: Path, *, inside: str = "", beside: str = "") -> MedlineRecord:
    """A record with more elements in its article and beside it."""
    record = abstract(5, prose(5)).replace("<Language>", f"{inside}<Language>")
    write_medline(path / "a.xml.gz", record.replace("</Article><", f"</Article>{beside}<"))
    (found,) = read_medline(path / "a.xml.gz")
    return found


def types(*names: str) -> str:
    listed = "".join(f'<PublicationType UI="D1">{name}</PublicationType>' for name in names)
    return f"<PublicationTypeList>{listed}</PublicationTypeList>"


def jats(meta: str = "", kind: str = "research-article") -> bytes:
    text = f"<body><p>{prose(7)}</p></body>"
    return f'<article article-type="{kind}"><front>{META.format(meta)}</front>{text}</article>'.encode()


def terms(address: str) -> str:
    link = f'<ext-link xmlns:x="http://www.w3.org/1999/xlink" x:href="{address}">here</ext-link>'
    return f"<permissions><license><license-p>See {link}.</license-p></license></permissions>"


@pytest.mark.parametrize(
    ("inside", "beside", "retracted"),
    [
        (types("Journal Article", "Retracted Publication"), "", True),
        (types("Retraction of Publication"), "", True),
        (types("Retraction Notice"), "", True),
        (
            "",
            CORRECTION.format("RetractionIn"),
            True,
        ),
        (
            "",
            CORRECTION.format("CommentIn"),
            False,
        ),
        (types("Journal Article"), "", False),
    ],
)
def test_retraction_in_medline(tmp_path: Path, inside: str, beside: str, retracted: bool) -> None:
    assert citation(tmp_path, inside=inside, beside=beside).retracted is retracted


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("<PubDate><Year>1998</Year><Month>Mar</Month></PubDate>", 1998),
        ("<PubDate><MedlineDate>1998 Dec-1999 Jan</MedlineDate></PubDate>", 1998),
        ("<PubDate><MedlineDate>Winter</MedlineDate></PubDate>", 0),
        ("", 0),
    ],
)
def test_year_in_medline(tmp_path: Path, date: str, year: int) -> None:
    journal = f"<Journal><JournalIssue>{date}</JournalIssue></Journal>"
    assert citation(tmp_path, inside=journal).year == year
    online = "<ArticleDate><Year>1997</Year></ArticleDate>"
    assert citation(tmp_path, inside=journal + online).year == 1997


@pytest.mark.parametrize(
    ("kind", "meta", "retracted"),
    [
        ("retraction", "", True),
        ("retracted-article", "", True),
        ("research-article", '<related-article related-article-type="retraction-forward"/>', True),
        ("research-article", '<related-article related-article-type="corrected-article"/>', False),
    ],
)
def test_retraction_in_jats(kind: str, meta: str, retracted: bool) -> None:
    assert read_jats(jats(meta, kind)).retracted is retracted


@pytest.mark.parametrize(
    ("address", "license_name"),
    [
        ("http://creativecommons.org/licenses/by/4.0/", "CC BY"),
        ("https://creativecommons.org/licenses/by-nc-sa/3.0/igo/", "CC BY-NC-SA"),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0", "CC BY-NC-ND"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0"),
        ("https://creativecommons.org/licenses/by-nd-nc/1.0/", ""),
        ("https://example.org/terms", ""),
    ],
)
def test_licence_in_jats(address: str, license_name: str) -> None:
    assert read_jats(jats(terms(address))).license == license_name


def test_year_in_jats_is_the_earliest() -> None:
    dates = "".join(f"<pub-date><year>{year}</year></pub-date>" for year in ("2012", "2011", "x"))
    assert read_jats(jats(dates)).year == 2011


@pytest.mark.parametrize(
    ("of_book", "of_part", "expected"),
    [
        (terms(BY_NC), "", ("CC BY-NC", 2011)),
        (terms(BY_NC), terms(BY) + "<pub-date><year>2015</year></pub-date>", ("CC BY", 2015)),
    ],
)
def test_a_part_of_a_book_has_the_book_s_terms_unless_it_states_its_own(
    of_book: str, of_part: str, expected: tuple[str, int]
) -> None:
    part = f"<book-part><book-part-meta>{of_part}</book-part-meta><body><p>Hens.</p></body></book-part>"
    date = "<pub-date><year>2011</year></pub-date>"
    book = f"<book><book-meta>{date}{of_book}</book-meta><book-body>{part}</book-body></book>"
    ((_, text),) = read_book(book.encode())
    assert (text.license, text.year) == expected


def build(tmp_path: Path, **settings: Any) -> tuple[dict[str, int], dict[str, Any]]:
    articles = {
        "PMC1.xml": jats(terms("http://creativecommons.org/licenses/by-nc/4.0/")).replace(b">7<", b">1<"),
        "PMC2.xml": jats(terms("http://creativecommons.org/licenses/by/4.0/")).replace(b">7<", b">2<"),
        "PMC3.xml": jats(kind="retraction").replace(b">7<", b">3<"),
        "PMC4.xml": jats(kind="editorial").replace(b">7<", b">4<"),
    }
    members = {name: text.replace(b"group 7", f"group {name}".encode()) for name, text in articles.items()}
    write_package(tmp_path / "raw" / "mine.tar.gz", members)
    editorial = abstract(5, prose(5)).replace("<Language>", types("Editorial") + "<Language>")
    dated = "<Journal><JournalIssue><PubDate><Year>1998</Year></PubDate></JournalIssue></Journal><Language>"
    write_medline(
        tmp_path / "raw" / "a.xml.gz", editorial, abstract(6, prose(6)).replace("<Language>", dated)
    )
    config = CorpusConfig(near_duplicate_similarity=2, **settings)
    manifest = build_corpus(tmp_path / "raw", tmp_path / "corpus", config)
    return manifest.rejects, manifest.counts["rejects_by_source"]


@pytest.mark.parametrize(
    ("settings", "by_source"),
    [
        ({}, {"pmc": {"retracted": 1}}),
        ({"retracted": True}, {}),
        ({"retracted": True, "licenses": ("cc-by",)}, {"pmc": {"license": 3}}),
        (
            {"retracted": True, "excluded_publication_types": ("editorial",)},
            {"medline": {"publication_type": 1}, "pmc": {"publication_type": 1}},
        ),
        ({"retracted": True, "last_year": 2000, "licenses": ("CC BY",)}, {"medline": {"year": 1}}),
        (
            {"retracted": True, "first_year": 1998, "last_year": 1998},
            {"medline": {"year": 1}, "pmc": {"year": 4}},
        ),
    ],
)
def test_each_filter_counts_for_itself(
    tmp_path: Path, settings: dict[str, Any], by_source: dict[str, dict[str, int]]
) -> None:
    rejects, found = build(tmp_path, **settings)
    if "licenses" in settings and "last_year" in settings:  # the licence is asked first
        assert found == {"medline": {"year": 1}, "pmc": {"license": 3, "year": 1}}
    else:
        assert found == by_source
    assert rejects == {
        reason: sum(own.get(reason, 0) for own in found.values()) for own in found.values() for reason in own
    }


def test_a_retracted_last_state_brings_no_older_one_back(tmp_path: Path) -> None:
    last = abstract(5, prose(5), year=2020).replace(
        "<Language>", types("Retracted Publication") + "<Language>"
    )
    write_medline(
        tmp_path / "raw" / "a.xml.gz", abstract(5, prose(5), year=2010), last, abstract(6, prose(6))
    )
    manifest = build_corpus(tmp_path / "raw", tmp_path / "corpus", CorpusConfig())
    assert manifest.rejects == {"retracted": 1, "superseded": 1} and manifest.counts["documents"] == 1


def test_the_file_list_of_a_package_says_what_is_retracted(tmp_path: Path) -> None:
    members = {f"PMC{number}.1.xml": jats().replace(b"7", str(number).encode()) for number in (1, 2)}
    write_package(tmp_path / "raw" / "pmc-cloud-00001.tar.gz", members)
    lines = ["Article File,AccessionID,PMID,License,Retracted"]
    lines += ["PMC1.1.xml,PMC1,,CC BY,yes", "PMC2.1.xml,PMC2,,CC BY,no"]
    (tmp_path / "raw" / "pmc-cloud-00001.filelist.csv").write_text("\n".join(lines))
    manifest = build_corpus(tmp_path / "raw", tmp_path / "corpus", CorpusConfig())
    assert manifest.rejects == {"retracted": 1}
    assert manifest.counts["licenses_by_source"] == {"pmc": {"comm": 1}}
