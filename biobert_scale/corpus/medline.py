"""Reads PubMed's citation files (`PubmedArticleSet`) as a stream of records in flat memory.

Source: NLM's PubMed DTD (https://dtd.nlm.nih.gov/ncbi/pubmed/) and its description of the XML elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lxml import etree

from biobert_scale.corpus.markup import PARSER_OPTIONS, plain_text
from biobert_scale.corpus.raw import open_decompressed, reading

# NLM's notes on a title (`[Pain in childhood (author's transl)].`) and on an abstract, which belong to neither.
_TITLE_NOTE = re.compile(
    r"\s*[(\[](?:author's transl|proceedings|letter|editorial|abstract|news|review|In Process Citation)[)\]]\.?$", re.IGNORECASE
)
_TITLE_ABSENT = re.compile(r"not available\.?", re.IGNORECASE)
_ABSTRACT_NOTE = re.compile(r"\s*\(ABSTRACT TRUNCATED(?: AT \d+ WORDS)?\)\.?$")
_ABSTRACT_HEAD = re.compile(r"^(?:ABSTRACT|Abstract):\s+")
# "Copyright 2010 A Publisher. All rights reserved." that the publisher left at the abstract's end.
_COPYRIGHT_TAIL = re.compile(
    r"\s*(?:This article is protected by copyright\.?\s*)?All rights reserved\.?$"
    r"|\s*(?:Copyright\s*(?:©|\(c\))?|©|\(c\))\s*(?:19|20)\d\d\b.{0,150}$", re.IGNORECASE
)
_UNLABELLED = frozenset({"", "UNLABELLED", "UNLABELED", "UNASSIGNED"})


@dataclass(frozen=True, kw_only=True)
class MedlineRecord:
    """One citation, or one block of deletions (then `deleted` alone is set)."""

    pmid: str = ""
    version: int = 1
    date_revised: int = 0
    """`DateRevised` as the number YYYYMMDD; 0 where the record has none (it has never been revised)."""
    title: str = ""
    abstract: tuple[str, ...] = ()
    """Paragraphs, a structured abstract's as `LABEL: text`."""
    languages: tuple[str, ...] = ()
    """Languages of the article (not of the abstract, which NLM gives in English), lower case."""
    pmcid: str = ""
    deleted: tuple[str, ...] = ()
    """PMIDs that this block withdraws."""


def read_medline(source: Path | BinaryIO) -> Iterator[MedlineRecord]:
    """Yield the records of a citation file in its order.

    Args:
        source: an `.xml` or `.xml.gz` file, or a stream of XML bytes.

    Raises:
        UserError: the file is damaged, or breaks off.
    """
    if isinstance(source, Path):
        with open_decompressed(source) as stream:
            yield from _records(stream, source)
    else:
        yield from _records(source, getattr(source, "name", "the stream"))


def _records(stream: BinaryIO, where: str | Path) -> Iterator[MedlineRecord]:
    tags = ("PubmedArticle", "PubmedBookArticle", "DeleteCitation", "DeleteDocument")
    with reading(where):
        for _, element in etree.iterparse(stream, events=("end",), tag=tags, **PARSER_OPTIONS):
            if element.tag == "PubmedArticle":
                yield _citation(element)
            elif element.tag == "PubmedBookArticle":
                yield _book(element)
            else:
                yield MedlineRecord(deleted=tuple(plain_text(pmid) for pmid in element.iterfind("PMID")))
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]


def _citation(element: etree._Element) -> MedlineRecord:
    citation = element.find("MedlineCitation")
    article = citation.find("Article") if citation is not None else None
    title = plain_text(article.find("ArticleTitle")) if article is not None else ""
    return _record(citation, article, element.find("PubmedData"), title=title)


def _book(element: etree._Element) -> MedlineRecord:
    document = element.find("BookDocument")
    title = "" if document is None else plain_text(document.find("ArticleTitle")) or plain_text(document.find("Book/BookTitle"))
    return _record(document, document, element.find("PubmedBookData"), title=title)


def _record(citation: etree._Element | None, article: etree._Element | None, data: etree._Element | None, *, title: str) -> MedlineRecord:
    """`citation` holds PMID and DateRevised, `article` abstract and languages, `data` the identifiers."""
    pmid = citation.find("PMID") if citation is not None else None
    version = pmid.get("Version", "") if pmid is not None else ""
    # Only the record's own identifiers: the reference list under the same element has such lists too.
    identifiers = data.iterfind("ArticleIdList/ArticleId") if data is not None else ()
    return MedlineRecord(
        pmid=plain_text(pmid),
        version=int(version) if version.isdigit() else 1,
        date_revised=_date(citation.find("DateRevised") if citation is not None else None),
        title=_clean_title(title),
        abstract=_abstract(article),
        languages=tuple(plain_text(language).lower() for language in article.iterfind("Language")) if article is not None else (),
        pmcid=next((plain_text(item).upper() for item in identifiers if item.get("IdType") in ("pmc", "pmcid")), ""),
    )


def _date(element: etree._Element | None) -> int:
    parts = [plain_text(element.find(name)) for name in ("Year", "Month", "Day")] if element is not None else []
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return 0
    year, month, day = (int(part) for part in parts)
    return year * 10_000 + month * 100 + day


def _clean_title(title: str) -> str:
    """Take off the brackets that mark a translated title, and NLM's trailing notes."""
    if title.startswith("["):
        end = _closing_bracket(title)
        if end < len(title) and title[end + 1 :] in ("", "."):  # "[18F]FDG in the heart." is no translation
            title = _TITLE_NOTE.sub("", title[1:end]).strip()
    title = _TITLE_NOTE.sub("", title)
    return "" if _TITLE_ABSENT.fullmatch(title) else title


def _closing_bracket(title: str) -> int:
    """Index of the bracket that closes the first character's, or the length where none does."""
    depth = 0
    for index, character in enumerate(title):
        depth += (character == "[") - (character == "]")
        if depth == 0:
            return index
    return len(title)


def _abstract(article: etree._Element | None) -> tuple[str, ...]:
    """The `AbstractText` alone: `CopyrightInformation` is no prose, and `OtherAbstract` (other languages, lay terms) stands elsewhere."""
    if article is None:
        return ()
    paragraphs = []
    for element in article.iterfind("Abstract/AbstractText"):
        text = _COPYRIGHT_TAIL.sub("", _ABSTRACT_NOTE.sub("", _ABSTRACT_HEAD.sub("", plain_text(element))))
        label = " ".join((element.get("Label") or "").split()).rstrip(":")
        if text:
            paragraphs.append(text if label.upper() in _UNLABELLED else f"{label}: {text}")
    return tuple(paragraphs)
