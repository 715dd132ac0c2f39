from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from biobert_scale.corpus.opening import open_decompressed
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.corpus.readers.medline import MedlineRecord, read_medline
from biobert_scale.errors import UserError


def citation(article: str, *, head: str = '<PMID Version="2">77</PMID>', data: str = "") -> str:
    return (
        f"<PubmedArticle><MedlineCitation>{head}<Article>{article}</Article></MedlineCitation>"
        f"<PubmedData>{data}</PubmedData></PubmedArticle>"
    )


def read(*parts: str, prolog: str = "") -> list[MedlineRecord]:
    return list(
        read_medline(io.BytesIO(f"{prolog}<PubmedArticleSet>{''.join(parts)}</PubmedArticleSet>".encode()))
    )


def title_of(text: str) -> str:
    return read(citation(f"<ArticleTitle>{text}</ArticleTitle>"))[0].title


def abstract_of(inner: str) -> tuple[str, ...]:
    return read(citation(f"<ArticleTitle>T.</ArticleTitle><Abstract>{inner}</Abstract>"))[0].abstract


def test_identity_version_date_languages_are_read() -> None:
    head = (
        "<PMID"
        ' Version="2">77</PMID><DateRevised><Year>2019</Year><Month>02</Month><Day>08</Day></DateRevised>'
    )
    record = read(
        citation(
            "<ArticleTitle>Iron in rats.</ArticleTitle><Language>ENG</Language><Language>fre</Language>",
            head=head,
        )
    )[0]
    assert (record.pmid, record.version, record.date_revised, record.languages) == (
        "77",
        2,
        20190208,
        ("eng", "fre"),
    )


def test_pmcid_is_the_records_own_and_not_a_references() -> None:
    identifier = "<ArticleIdList><ArticleId IdType='pmc'>PMC9</ArticleId></ArticleIdList>"
    reference = f"<ReferenceList><Reference>{identifier}</Reference></ReferenceList>"
    own = (
        "<ArticleIdList><ArticleId IdType='doi'>10.1/x</ArticleId><ArticleId"
        " IdType='pmc'>PMC12</ArticleId></ArticleIdList>"
    )
    assert read(citation("", data=reference + own))[0].pmcid == "PMC12"
    assert read(citation("", data=reference))[0].pmcid == ""


def test_labels_stand_before_their_paragraphs_and_unassigned_ones_do_not() -> None:
    inner = (
        '<AbstractText Label="AIMS" NlmCategory="OBJECTIVE">To look.</AbstractText><AbstractText'
        ' Label="UNLABELLED">More.</AbstractText><AbstractText>Bare.</AbstractText><AbstractText'
        " Label='EMPTY'/>"
    )
    assert abstract_of(inner) == ("AIMS: To look.", "More.", "Bare.")


def test_copyright_and_other_abstracts_are_left_out() -> None:
    text = (
        "<AbstractText>Mine. © 2010 Some Press.</AbstractText><CopyrightInformation>©"
        " Press</CopyrightInformation>"
    )
    article = f"<Abstract>{text}</Abstract>"
    other = "<OtherAbstract Language='spa'><AbstractText>Suyo.</AbstractText></OtherAbstract>"
    parts = citation(article).replace("</Article>", "</Article>" + other)
    assert read(parts)[0].abstract == ("Mine.",)


def test_other_abstracts_are_kept_by_language() -> None:
    other = (
        "<OtherAbstract Type='Publisher' Language='spa'><AbstractText"
        " Label='META'>Mirar.</AbstractText><AbstractText>Suyo.</AbstractText></OtherAbstract><OtherAbstract"
        " Type='AIDS'><AbstractText>Plain words.</AbstractText></OtherAbstract>"
    )
    record = read(
        citation("<Abstract><AbstractText>Mine.</AbstractText></Abstract>").replace(
            "</Article>", "</Article>" + other
        )
    )[0]
    assert record.other_abstracts == (("spa", "META: Mirar.\nSuyo."), ("eng", "Plain words."))


def test_files_of_the_old_dtd_are_read_and_found(tmp_path: Path) -> None:
    old = (
        '<MedlineCitationSet><MedlineCitation Owner="NLM"'
        ' Status="MEDLINE"><PMID>11</PMID><DateCreated><Year>2005</Year></DateCreated>'
        "<DateRevised><Year>2006</Year><Month>11</Month><Day>15</Day></DateRevised><Article><Journal/><ArticleTitle>Iron.</ArticleTitle>"
        "<Abstract><AbstractText>It rose.(ABSTRACT TRUNCATED AT 250"
        " WORDS)</AbstractText><CopyrightInformation>© X</CopyrightInformation></Abstract>"
        '<Language>eng</Language></Article><OtherID Source="NLM">PMC77 [Available on'
        " 02/01/07]</OtherID></MedlineCitation>"
        "<MedlineCitation><PMID>12</PMID></MedlineCitation><DeleteDocument><PMID>9</PMID></DeleteDocument></MedlineCitationSet>"
    )
    path = tmp_path / "medline06n0001.xml"
    path.write_text(old)
    first, second, third = read_medline(path)
    assert (first.pmid, first.version, first.date_revised, first.title) == ("11", 1, 20061115, "Iron.")
    assert (first.abstract, first.languages, first.pmcid) == (("It rose.",), ("eng",), "PMC77")
    assert (second.pmid, third.deleted) == ("12", ("9",))
    assert [(file.path, file.source) for file in find_raw_files(tmp_path)] == [(path, "medline")]


def test_a_wrapped_citation_is_one_record() -> None:
    assert [record.pmid for record in read(citation(""), citation(""))] == ["77", "77"]


def test_unreadable_numbers_are_no_numbers() -> None:
    head = '<PMID Version="²">77</PMID><DateRevised><Year>２０１９</Year><Month>02</Month></DateRevised>'
    record = read(citation("", head=head))[0]
    assert (record.version, record.date_revised) == (1, 0)


def test_copyright_far_from_the_end_is_text() -> None:
    text = "Copyright 2010 was the law's year. " + "It was read again. " * 20
    assert abstract_of(f"<AbstractText>{text}</AbstractText>") == (text.strip(),)


def test_an_endless_record_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biobert_scale.corpus.readers.medline.MAXIMUM_RECORD_BYTES", 1_000_000)
    path = tmp_path / "bomb.xml.gz"
    path.write_bytes(gzip.compress(b"<PubmedArticleSet>" + b"<a/>" * 1_000_000))
    with pytest.raises(UserError, match="one record is larger than 1,000,000 bytes"):
        list(read_medline(path))
    path.write_bytes(gzip.compress(f"<PubmedArticleSet>{citation('') * 12_000}</PubmedArticleSet>".encode()))
    assert len(list(read_medline(path))) == 12_000  # a large file of small records is sound


@pytest.mark.parametrize("place", ["<PMID>1&e9;</PMID>", "<PMID x='&e9;'>1</PMID>"])
def test_entities_that_swell_are_refused(place: str) -> None:
    entities = '<!ENTITY e0 "iron">' + "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    with pytest.raises(UserError, match="line 1"):
        read(citation("", head=place), prolog=f"<!DOCTYPE PubmedArticleSet [{entities}]>")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(UserError, match="depth"):
        title_of("<i>" * 5000 + "</i>" * 5000)


def test_inline_markup_becomes_plain_text() -> None:
    math = (
        "<mml:math"
        " xmlns:mml='http://www.w3.org/1998/Math/MathML'><mml:mfrac><mml:mi>a</mml:mi><mml:mi>b</mml:mi></mml:mfrac>"
        "<mml:annotation>\\frac{a}{b}</mml:annotation></mml:math>"
    )
    text = (
        f"<AbstractText>Ca<sup>2+</sup> in <i>E.  coli</i>\n  was <b>{math}</b><!-- no -->"
        " here.</AbstractText>"
    )
    assert abstract_of(text) == ("Ca2+ in E. coli was a/b here.",)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("[Iron in the liver].", "Iron in the liver"),
        ("[Iron in the liver (author's transl)].", "Iron in the liver"),
        ("[Is iron [Fe] bad?].", "Is iron [Fe] bad?"),
        ("[18F]FDG in the heart.", "[18F]FDG in the heart."),
        ("[3H]iron and [14C]", "[3H]iron and [14C]"),
        ("[Not Available].", ""),
        ("[Unclosed title.", "[Unclosed title."),
    ],
)
def test_brackets_of_translated_titles_only(raw: str, clean: str) -> None:
    assert title_of(raw) == clean


def test_truncation_note_is_taken_off() -> None:
    assert abstract_of("<AbstractText>It ends.(ABSTRACT TRUNCATED AT 250 WORDS)</AbstractText>") == (
        "It ends.",
    )


def test_deleted_pmids_are_reported() -> None:
    records = read(
        citation(""), "<DeleteCitation><PMID Version='1'>5</PMID><PMID Version='1'>6</PMID></DeleteCitation>"
    )
    assert records[1].deleted == ("5", "6")


def test_book_articles_are_read() -> None:
    book = (
        "<PubmedBookArticle><BookDocument><PMID Version='1'>9</PMID><Book><BookTitle>The"
        " Book</BookTitle></Book>"
        "<Language>eng</Language><Abstract><AbstractText>Chapter.</AbstractText></Abstract></BookDocument></PubmedBookArticle>"
    )
    record = read(book)[0]
    assert (record.pmid, record.title, record.abstract) == ("9", "The Book", ("Chapter.",))


def test_entities_are_neither_expanded_nor_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    prolog = f'<!DOCTYPE PubmedArticleSet [<!ENTITY x SYSTEM "{secret.as_uri()}"><!ENTITY y "YY">]>'
    record = read(citation("<ArticleTitle>A&x;B&y;C &amp; D.</ArticleTitle>"), prolog=prolog)[0]
    assert record.title == "A B C & D."


@pytest.mark.parametrize("compressed", [True, False])
def test_file_cut_in_half_is_refused_by_name(tmp_path: Path, compressed: bool) -> None:
    content = (
        f"<PubmedArticleSet>{citation('<ArticleTitle>T.</ArticleTitle>') * 400}</PubmedArticleSet>".encode()
    )
    path = tmp_path / ("cut.xml.gz" if compressed else "cut.xml")
    data = gzip.compress(content) if compressed else content
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="breaks off") as failure:
        list(read_medline(path))
    assert failure.value.where == str(path) and "download it again" in failure.value.remedy


def test_malformed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.xml"
    path.write_text("<PubmedArticleSet>\n\n<PubmedArticle></Oops></PubmedArticleSet>")
    with pytest.raises(UserError, match="line 3"):
        list(read_medline(path))


def test_real_sample_gives_every_record(real_data: Path) -> None:
    records = list(read_medline(real_data / "pubmed" / "pubmed_sample_2031_records.xml.gz"))
    assert len(records) == 2031
    assert sum(bool(record.abstract) for record in records) == 1775
    assert all(record.pmid.isdigit() for record in records)
    assert not any("(author's transl)" in record.title for record in records)
    translated = [record.title for record in records if "eng" not in record.languages]
    assert len(translated) > 90 and not any(title.startswith("[") for title in translated)


def test_real_update_withdraws_seven(real_data: Path) -> None:
    records = list(read_medline(real_data / "pubmed" / "pubmedsample_2019.xml.gz"))
    assert sum(len(record.deleted) for record in records) == 7
    with open_decompressed(real_data / "pubmed" / "pubmedsample18n0001.xml.gz") as stream:
        before = {record.pmid for record in read_medline(stream)}
    assert {pmid for record in records for pmid in record.deleted} <= before
