"""Reads PubMed's citation files as a stream of records in flat memory.

Source: NLM's PubMed DTD (https://dtd.nlm.nih.gov/ncbi/pubmed/) and its description of the XML elements, and
the older NLMMedline DTDs: there the root is MedlineCitationSet, which holds MedlineCitation itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lxml import etree

from biobert_scale.corpus.cleaning.copyright import without_copyright
from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS, collapse, joined, plain_text, with_doctype
from biobert_scale.corpus.opening import MAXIMUM_RECORD_BYTES, BoundedReader, open_decompressed, reading

# NLM's notes on a title (`[Pain in childhood (author's transl)].`) and on an abstract, which belong to
# neither.
_TITLE_NOTE = re.compile(
    r"\s*[(\[](?:author's transl|proceedings|letter|editorial|abstract|news|review|In Process"
    r" Citation)[)\]]\.?$",
    re.IGNORECASE,
)
_TITLE_ABSENT = re.compile(r"not available\.?", re.IGNORECASE)
_ABSTRACT_NOTE = re.compile(r"\s*\(?ABSTRACT TRUNCATED(?: AT \d+ WORDS)?\)?\.?$", re.IGNORECASE)
_ABSTRACT_HEAD = re.compile(r"^(?:ABSTRACT|Abstract):\s+")
_RECORDS = ("PubmedArticle", "PubmedBookArticle", "MedlineCitation")
CITATIONS = ("PubmedArticleSet", "PubmedBookArticleSet", "MedlineCitationSet", *_RECORDS)
"""Root elements."""
_UNLABELLED = frozenset({"", "UNLABELLED", "UNLABELED", "UNASSIGNED"})
_HEAD_BYTES = 4096
_PMCID = re.compile(r"PMC\d+")
_YEAR = re.compile(r"(?<![0-9])[12][0-9]{3}(?![0-9])")
_RETRACTED = frozenset({"Retracted Publication", "Retraction of Publication", "Retraction Notice"})
_DEFAULT_LANGUAGE = "eng"  # of OtherAbstract, by the DTD


class OtherAbstract(NamedTuple):
    """An abstract in another language, or of another kind."""

    language: str
    """Lower case."""
    text: str
    """One paragraph a line."""


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
    other_abstracts: tuple[OtherAbstract, ...] = ()
    """These are no part of `abstract`."""
    publication_types: tuple[str, ...] = ()
    retracted: bool = False
    """Retracted, or the notice that retracts another."""
    year: int = 0
    """Of publication; 0 where the record has none."""
    deleted: tuple[str, ...] = ()
    """PMIDs that this block withdraws."""


def read_medline(source: Path | BinaryIO | BoundedReader, where: str | Path = "") -> Iterator[MedlineRecord]:
    """Yield the records of a citation file, or the only one of a file that is one, in its order.

    Args:
        source: an `.xml` or `.xml.gz` file, or a stream of XML bytes.
        where: of a stream, for errors.

    Raises:
        UserError: the file is damaged or breaks off, or one record is larger than `MAXIMUM_RECORD_BYTES`.
    """
    if isinstance(source, Path):
        with open_decompressed(source) as stream:
            yield from _records(stream, source)
    else:
        yield from _records(source, where or getattr(source, "name", "the stream"))


def abstract_in(record: MedlineRecord, languages: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A record's abstract in paragraphs and the languages of the record, or where it has none the
    `OtherAbstract` in the first of `languages` that it has one in, and that language."""
    others = dict(reversed(record.other_abstracts))  # the first of each language
    if not record.abstract and (other := next((name for name in languages if others.get(name)), "")):
        return (others[other],), (other,)
    return record.abstract, record.languages


def _records(stream: BinaryIO | BoundedReader, where: str | Path) -> Iterator[MedlineRecord]:
    tags = (*_RECORDS, "DeleteCitation", "DeleteDocument")
    with reading(where):
        head = with_doctype(stream.read(_HEAD_BYTES))
        bounded = BoundedReader(stream, MAXIMUM_RECORD_BYTES, where=where, what="one record", head=head)
        for _, element in etree.iterparse(bounded, events=("end",), tag=tags, **PARSER_OPTIONS):
            parent, tag = element.getparent(), element.tag
            if tag == "MedlineCitation":
                if parent is not None and parent.tag == "PubmedArticle":
                    continue  # its wrapper ends next, with the identifiers
                yield _record(element, None)
            elif tag == "PubmedArticle":
                yield _record(element.find("MedlineCitation"), element.find("PubmedData"))
            elif tag == "PubmedBookArticle":
                yield _record(element.find("BookDocument"), element.find("PubmedBookData"))
            elif withdrawn := tuple(plain_text(pmid) for pmid in element.iterfind("PMID")):
                yield MedlineRecord(deleted=withdrawn)
            bounded.allow_more()
            element.clear()
            while element.getprevious() is not None:
                del parent[0]


def _record(citation: etree._Element | None, data: etree._Element | None) -> MedlineRecord:
    """`citation` is a MedlineCitation, or a BookDocument, which has the content of `Article` itself."""
    fields: dict[str, Any] = {}
    pmcid = _pmcid(data) if data is not None else ""
    if citation is not None:
        if citation.tag == "BookDocument":
            _read_article(citation, fields)
        tags = (
            "PMID",
            "DateRevised",
            "Article",
            "Book",
            "OtherID",
            "OtherAbstract",
            "CommentsCorrectionsList",
        )
        for child in citation.iterchildren(*tags):
            match child.tag:
                case "PMID":
                    version = child.get("Version", "")
                    fields["pmid"] = plain_text(child)
                    fields["version"] = int(version) if _is_number(version) else 1
                case "DateRevised":
                    fields["date_revised"] = _date(child)
                case "Article":
                    _read_article(child, fields)
                case "Book":
                    fields["title"] = fields.get("title") or _clean_title(plain_text(child.find("BookTitle")))
                    fields["year"] = _year(child.find("PubDate"))
                case "CommentsCorrectionsList":
                    fields["retracted"] = (
                        child.find("CommentsCorrections[@RefType='RetractionIn']") is not None
                    )
                case "OtherAbstract":
                    language = (child.get("Language") or _DEFAULT_LANGUAGE).lower()
                    other = OtherAbstract(language, "\n".join(_paragraphs(child)))
                    fields["other_abstracts"] = (*fields.get("other_abstracts", ()), other)
                # Where files had no PubmedData yet:
                case "OtherID" if not pmcid and (named := _PMCID.match(plain_text(child))):
                    pmcid = named.group()
        types = fields.get("publication_types", ())
        fields["retracted"] = fields.get("retracted", False) or not _RETRACTED.isdisjoint(types)
    return MedlineRecord(pmcid=pmcid, **fields)


def _read_article(article: etree._Element, fields: dict[str, Any]) -> None:
    languages = []
    tags = (
        "Journal",
        "ArticleTitle",
        "Abstract",
        "Language",
        "PublicationTypeList",
        "PublicationType",
        "ArticleDate",
    )
    for child in article.iterchildren(*tags):
        match child.tag:
            case "ArticleTitle":
                fields["title"] = _clean_title(plain_text(child))
            case "Abstract":
                fields["abstract"] = _paragraphs(child)
            case "Journal":
                fields["year"] = _year(child.find("JournalIssue/PubDate"))
            case "ArticleDate":
                fields["year"] = min(filter(None, (fields.get("year"), _year(child))), default=0)
            case "PublicationTypeList":
                fields["publication_types"] = tuple(map(plain_text, child.iterchildren("PublicationType")))
            case "PublicationType":  # of a book
                fields["publication_types"] = (*fields.get("publication_types", ()), plain_text(child))
            case _:
                languages.append(plain_text(child).lower())
    if languages:
        fields["languages"] = tuple(languages)


def _pmcid(data: etree._Element) -> str:
    """From the record's own identifiers alone: the references under the same element have some, too."""
    for listed in data.iterchildren("ArticleIdList"):
        for item in listed.iterchildren("ArticleId"):
            if item.get("IdType") in ("pmc", "pmcid"):
                return plain_text(item).upper()
    return ""


def _is_number(text: str) -> bool:
    """At most nine digits of ASCII: what `int` reads, and a column of numbers holds."""
    return text.isascii() and text.isdigit() and len(text) < 10


def _date(element: etree._Element) -> int:
    parts = {part.tag: (part.text or "").strip() for part in element.iterchildren("Year", "Month", "Day")}
    if len(parts) < 3 or not all(map(_is_number, parts.values())):
        return 0
    return int(parts["Year"]) * 10_000 + int(parts["Month"]) * 100 + int(parts["Day"])


def _year(date: etree._Element | None) -> int:
    """Of a date with `Year`, or with the first year in `MedlineDate` (`1998 Dec-1999 Jan`)."""
    text = (date.findtext("Year") or date.findtext("MedlineDate") or "") if date is not None else ""
    found = _YEAR.search(text)
    return int(found[0]) if found else 0


def _clean_title(title: str) -> str:
    """Take off the brackets that mark a translated title, and NLM's trailing notes."""
    if title.startswith("["):
        end = _closing_bracket(title)
        if end < len(title) and title[end + 1 :] in ("", "."):  # "[18F]FDG in the heart." is no translation
            title = _without_note(title[1:end]).strip()
    title = _without_note(title)
    return "" if _TITLE_ABSENT.fullmatch(title) else title


def _without_note(title: str) -> str:
    return _TITLE_NOTE.sub("", title) if title.endswith((")", "]", ").", "].")) else title


def _closing_bracket(title: str) -> int:
    """Index of the bracket that closes the first character's, or the length where none does."""
    depth = 0
    for index, character in enumerate(title):
        depth += (character == "[") - (character == "]")
        if depth == 0:
            return index
    return len(title)


def _paragraphs(abstract: etree._Element) -> tuple[str, ...]:
    """The `AbstractText` of an `Abstract` or `OtherAbstract` alone: `CopyrightInformation` is no prose."""
    paragraphs = []
    for element in abstract.iterchildren("AbstractText"):
        if text := _clean_paragraph(plain_text(element)):
            label = collapse(element.get("Label") or "")
            paragraphs.append(text if label.rstrip(":").upper() in _UNLABELLED else joined(label, text))
    return tuple(paragraphs)


def _clean_paragraph(text: str) -> str:
    """Take off NLM's notes and the publisher's statement of rights."""
    if text.startswith(("ABSTRACT:", "Abstract:")):
        text = _ABSTRACT_HEAD.sub("", text)
    if text.endswith(("WORDS)", "WORDS).", "TRUNCATED)", "words.", "WORDS", "words)")):
        text = _ABSTRACT_NOTE.sub("", text)
    return without_copyright(text)
