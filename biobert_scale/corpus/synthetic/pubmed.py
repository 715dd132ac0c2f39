"""PubMed's XML: a baseline file and an update file, element by element as NLM writes them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import NamedTuple
from xml.sax.saxutils import escape

from biobert_scale.corpus.synthetic.documents import SECTION_LABELS, Paper
from biobert_scale.corpus.synthetic.grammar import plain_text, xml_text
from biobert_scale.corpus.synthetic.tables import table, template

LANGUAGES = ("ger", "fre", "spa", "jpn")
_HEADER = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2026//EN" "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_260101.dtd">
<PubmedArticleSet>
"""
_AUTHOR = """\
          <Author ValidYN="Y">
            <LastName>{surname}</LastName>
            <ForeName>{initial}</ForeName>
            <Initials>{initial}</Initials>
          </Author>
"""
_HEADING = """\
        <MeshHeading>
          <DescriptorName UI="{identifier}" MajorTopicYN="{major}">{text}</DescriptorName>
        </MeshHeading>
"""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One PubMed record."""

    pmid: int
    paper: Paper
    pmcid: int | None = None
    has_abstract: bool = True
    structured: bool = False
    language: str = "eng"
    revised: bool = False


def draw_record(pmid: int, paper: Paper, rng: random.Random, *, pmcid: int | None = None) -> Record:
    """A record of the usual mix; those with a full text are English and have an abstract."""
    if pmcid is not None:
        return Record(pmid=pmid, paper=paper, pmcid=pmcid, structured=rng.random() < 0.3)
    return Record(
        pmid=pmid,
        paper=paper,
        has_abstract=rng.random() >= 0.04,
        structured=rng.random() < 0.3,
        language=rng.choice(LANGUAGES) if rng.random() < 0.03 else "eng",
    )


def revise(record: Record, paper: Paper) -> Record:
    """The same record with a new text, as an update file brings it."""
    return replace(record, paper=paper, revised=True, has_abstract=True)


def pubmed_xml(records: list[Record], deleted: list[int], seed: int) -> str:
    """A PubmedArticleSet, with a DeleteCitation block where PMIDs are deleted."""
    articles = [
        _article(record, random.Random(f"record/{record.pmid}/{record.revised}/{seed}")) for record in records
    ]
    withdrawn = "".join(f'    <PMID Version="1">{pmid}</PMID>\n' for pmid in deleted)
    deletion = f"  <DeleteCitation>\n{withdrawn}  </DeleteCitation>\n" if deleted else ""
    return "".join([_HEADER, *articles, deletion, "</PubmedArticleSet>\n"])


class Journal(NamedTuple):
    name: str
    abbreviation: str
    identifier: str


def journal_of(pmid: int) -> Journal:
    journals = table("words")["journals"]
    return Journal(**journals[pmid % len(journals)], identifier=f"9999{pmid % len(journals):03}")


class Author(NamedTuple):
    surname: str
    initial: str


def authors(rng: random.Random) -> list[Author]:
    """Two to four invented authors."""
    surnames = rng.sample(table("words")["surnames"], rng.randint(2, 4))
    return [Author(surname, rng.choice("ABCDEGHJKLMNPRST")) for surname in surnames]


def _article(record: Record, rng: random.Random) -> str:
    journal = journal_of(record.pmid)
    year, month, day = rng.randint(1995, 2024), rng.randint(1, 12), rng.randint(1, 28)
    identifiers = f'        <ArticleId IdType="pubmed">{record.pmid}</ArticleId>\n'
    if record.pmcid is not None:
        identifiers += f'        <ArticleId IdType="pmc">PMC{record.pmcid}</ArticleId>\n'
    return template("pubmed_article.xml").format(
        pmid=record.pmid,
        year=year,
        month=month,
        day=day,
        revised_year=2026 if record.revised else 2025,
        volume=year - 1990,
        last_page=day + 7,
        journal=journal.name,
        abbreviation=journal.abbreviation,
        journal_id=journal.identifier,
        title=_title(record),
        abstract=_abstract(record),
        authors="".join(_AUTHOR.format(**author._asdict()) for author in authors(rng)),
        language=record.language,
        vernacular_title=_vernacular_title(record, rng),
        headings=_mesh(record),
        identifiers=identifiers,
    )


def _title(record: Record) -> str:
    title = xml_text(record.paper.title, italic="i")
    return title if record.language == "eng" else f"[{title.removesuffix('.')}]."


def _vernacular_title(record: Record, rng: random.Random) -> str:
    """The title in the record's language: here its words backwards, which nobody takes for English."""
    if record.language == "eng":
        return ""
    words = plain_text(record.paper.title)[0].removesuffix(".").split()
    rng.shuffle(words)
    title = escape(" ".join(word[::-1].lower() for word in words).capitalize())
    return f"        <VernacularTitle>{title}.</VernacularTitle>\n"


def _abstract(record: Record) -> str:
    if not record.has_abstract:
        return ""
    texts = {"": record.paper.abstract}
    if record.structured:
        texts = {SECTION_LABELS[section.name]: section.text for section in record.paper.sections}
    lines = ""
    for label, text in texts.items():
        attributes = f' Label="{label}" NlmCategory="{label}"' if label else ""
        lines += f"          <AbstractText{attributes}>{xml_text(text, italic='i')}</AbstractText>\n"
    return f"        <Abstract>\n{lines}        </Abstract>\n"


def _mesh(record: Record) -> str:
    return "".join(
        _HEADING.format(identifier=name.identifier, major="N" if place else "Y", text=escape(name.text))
        for place, name in enumerate(record.paper.names[:4])
    )
