"""PubMed's XML: a baseline file and an update file, element by element as NLM writes them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

from biobert_scale.corpus.synthetic.documents import SECTION_LABELS, Paper
from biobert_scale.corpus.synthetic.grammar import plain_text, xml_text

JOURNALS = (
    ("Journal of Invented Medicine (synthetic)", "J Invent Med"),
    ("Annals of Imaginary Pharmacology (synthetic)", "Ann Imag Pharmacol"),
    ("Archives of Fictional Genetics (synthetic)", "Arch Fict Genet"),
)
# fmt: off
SURNAMES = (
    "Velden", "Dorhout", "Kaspar", "Lumley", "Pranger", "Nelme", "Tovey", "Brigham", "Corrin", "Zander",
    "Filby", "Lisle",
)
# fmt: on
LANGUAGES = ("ger", "fre", "spa", "jpn")
_HEADER = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2026//EN" "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_260101.dtd">
<PubmedArticleSet>
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
    """A record of the usual mix: some without abstract, some structured, a few not English. Full texts are
    plain English records."""
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
    parts = [
        _HEADER,
        *(
            _article(record, random.Random(f"record/{record.pmid}/{record.revised}/{seed}"))
            for record in records
        ),
    ]
    if deleted:
        parts += [
            "  <DeleteCitation>\n",
            *(f'    <PMID Version="1">{pmid}</PMID>\n' for pmid in deleted),
            "  </DeleteCitation>\n",
        ]
    return "".join([*parts, "</PubmedArticleSet>\n"])


def journal_of(pmid: int) -> tuple[str, str]:
    return JOURNALS[pmid % len(JOURNALS)]


def authors(rng: random.Random) -> list[tuple[str, str]]:
    """(surname, initial) of two to four invented authors."""
    return [(surname, rng.choice("ABCDEGHJKLMNPRST")) for surname in rng.sample(SURNAMES, rng.randint(2, 4))]


def _article(record: Record, rng: random.Random) -> str:
    journal, short = journal_of(record.pmid)
    year, month, day = rng.randint(1995, 2024), rng.randint(1, 12), rng.randint(1, 28)
    revised_year = 2026 if record.revised else 2025
    people = "".join(
        f'          <Author ValidYN="Y">\n            <LastName>{surname}</LastName>\n           '
        f" <ForeName>{initial}</ForeName>\n            <Initials>{initial}</Initials>\n          </Author>\n"
        for surname, initial in authors(rng)
    )
    identifiers = f'        <ArticleId IdType="pubmed">{record.pmid}</ArticleId>\n'
    if record.pmcid is not None:
        identifiers += f'        <ArticleId IdType="pmc">PMC{record.pmcid}</ArticleId>\n'
    return f"""  <PubmedArticle>
    <MedlineCitation Status="MEDLINE" Owner="NLM" IndexingMethod="Automated">
      <PMID Version="1">{record.pmid}</PMID>
      <DateCompleted>
        <Year>{year}</Year>
        <Month>{month:02}</Month>
        <Day>{day:02}</Day>
      </DateCompleted>
      <DateRevised>
        <Year>{revised_year}</Year>
        <Month>{month:02}</Month>
        <Day>{day:02}</Day>
      </DateRevised>
      <Article PubModel="Print">
        <Journal>
          <JournalIssue CitedMedium="Print">
            <Volume>{year - 1990}</Volume>
            <Issue>{month}</Issue>
            <PubDate>
              <Year>{year}</Year>
            </PubDate>
          </JournalIssue>
          <Title>{journal}</Title>
          <ISOAbbreviation>{short}</ISOAbbreviation>
        </Journal>
        <ArticleTitle>{_title(record)}</ArticleTitle>
        <Pagination>
          <MedlinePgn>{day}-{day + 7}</MedlinePgn>
        </Pagination>
{_abstract(record)}        <AuthorList CompleteYN="Y">
{people}        </AuthorList>
        <Language>{record.language}</Language>
        <PublicationTypeList>
          <PublicationType UI="D016428">Journal Article</PublicationType>
        </PublicationTypeList>
{_vernacular_title(record, rng)}      </Article>
      <MedlineJournalInfo>
        <MedlineTA>{short}</MedlineTA>
        <NlmUniqueID>9999{record.pmid % len(JOURNALS):03}</NlmUniqueID>
      </MedlineJournalInfo>
      <MeshHeadingList>
{_mesh(record)}      </MeshHeadingList>
    </MedlineCitation>
    <PubmedData>
      <PublicationStatus>ppublish</PublicationStatus>
      <ArticleIdList>
{identifiers}      </ArticleIdList>
    </PubmedData>
  </PubmedArticle>
"""


def _title(record: Record) -> str:
    title = xml_text(record.paper.title, italic="i")
    return title if record.language == "eng" else f"[{title.removesuffix('.')}]."


def _vernacular_title(record: Record, rng: random.Random) -> str:
    """The title in the record's language: here the title's words, spelled backwards, so that nobody takes it
    for English."""
    if record.language == "eng":
        return ""
    words = plain_text(record.paper.title)[0].removesuffix(".").split()
    rng.shuffle(words)
    return (
        "       "
        f" <VernacularTitle>{escape(' '.join(word[::-1].lower() for word in words).capitalize())}."
        f"</VernacularTitle>\n"
    )


def _abstract(record: Record) -> str:
    if not record.has_abstract:
        return ""
    if record.structured:
        texts = "".join(
            f'          <AbstractText Label="{SECTION_LABELS[section]}"'
            f' NlmCategory="{SECTION_LABELS[section]}">'
            f"{xml_text(' '.join(sentences), italic='i')}</AbstractText>\n"
            for section, sentences in record.paper.sections
        )
    else:
        texts = (
            "         "
            f" <AbstractText>{xml_text(' '.join(record.paper.sentences), italic='i')}</AbstractText>\n"
        )
    return f"        <Abstract>\n{texts}        </Abstract>\n"


def _mesh(record: Record) -> str:
    return "".join(
        f'        <MeshHeading>\n          <DescriptorName UI="{name.identifier}"'
        f' MajorTopicYN="{"Y" if place == 0 else "N"}">{escape(name.text)}</DescriptorName>\n       '
        " </MeshHeading>\n"
        for place, name in enumerate(record.paper.names[:4])
    )
