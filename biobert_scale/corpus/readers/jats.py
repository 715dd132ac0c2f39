"""Reads one JATS article (the XML of PubMed Central) as a title and paragraphs of plain text.

Source: the JATS Archiving and Interchange tag set (https://jats.nlm.nih.gov/archiving/). What is no prose of
the authors is left out; docs/how-to/corpus.md lists it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from lxml import etree

from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS, joined, local_name, with_doctype
from biobert_scale.corpus.readers.jats_flow import Flow, lines_of
from biobert_scale.corpus.readers.jats_text import formality, is_formal_line

_OTHER_ABSTRACTS = frozenset(
    "graphical toc teaser precis short web-summary author-highlights highlights key-points video".split()
)

# ISO 639-1 (xml:lang) to the bibliographic ISO 639-2 codes that MEDLINE uses.
_LANGUAGES = dict(
    pair.split("-")
    for pair in (
        "en-eng de-ger fr-fre es-spa pt-por it-ita ru-rus zh-chi ja-jpn ko-kor nl-dut pl-pol tr-tur"
        " cs-cze hu-hun sv-swe da-dan no-nor nb-nor nn-nor fi-fin uk-ukr"
    ).split()
)
_UNLISTED_LANGUAGE = "und"
_TITLE_GROUPS = ("{*}title-group", "{*}book-title-group")
_TITLES = ("{*}article-title", "{*}title", "{*}book-title")
_LICENSE_URL = re.compile(
    r"creativecommons\.org/(?:licenses/(by(?:-nc)?(?:-nd|-sa)?)|(publicdomain/zero))(?![a-z-])"
)
_RETRACTED_TYPES = frozenset({"retraction", "retracted-article"})
_HREF = "{http://www.w3.org/1999/xlink}href"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True, kw_only=True)
class JatsArticle:
    """One article as plain text."""

    pmid: str
    pmcid: str
    """`PMC123`, or empty."""
    language: str
    """MEDLINE's three-letter code of the declared language, `und` for a rare one; else empty."""
    title: str
    abstract: tuple[str, ...]
    """Paragraphs, a structured abstract's as `Heading: text`."""
    license: str
    """As PMC writes it (`CC BY-NC`), by the address of a Creative Commons licence; empty without one."""
    retracted: bool
    """Retracted, or the notice that retracts another."""
    publication_types: tuple[str, ...]
    """JATS' `article-type`."""
    year: int
    """Of publication, the earliest of several; 0 where it states none."""
    body: tuple[str, ...]
    """Headings, paragraphs, list items and captions in reading order, one line each."""


def read_jats(content: bytes, *, captions: bool = True, languages: tuple[str, ...] = ("eng",)) -> JatsArticle:
    """Read one article; of a wrapper's several (`pmc-articleset`) the first.

    Args:
        content: the XML file.
        captions: keep the captions of figures, films and tables, after the paragraph that holds them.
        languages: MEDLINE's codes. Of an article that declares another language, the translation into one of
            these is read where it holds one.

    Raises:
        lxml.etree.XMLSyntaxError: the content is not well-formed XML.
        ValueError: it is XML, but no JATS article, or nested without reason.
    """
    return next(read_jats_set(content, captions=captions, languages=languages))


def read_jats_set(
    content: bytes, *, captions: bool = True, languages: tuple[str, ...] = ("eng",)
) -> Iterator[JatsArticle]:
    """Yield every article of an XML file: one, or those of a wrapper such as `pmc-articleset` or an OAI-PMH
    answer.

    Sub-articles and responses (reviews, decision letters, translations) are parts of their article and are
    not yielded. Arguments and errors are those of `read_jats`; the errors come with the first article.
    """
    root = parse(with_doctype(content))
    articles = [root] if local_name(root) == "article" else root.findall(".//{*}article")
    if not articles:
        raise ValueError(f"the root element is {local_name(root)}, not article")
    for article in articles:
        try:
            yield _article(article, captions, languages)
        except RecursionError:
            raise ValueError("its elements are nested too deeply") from None


def parse(content: bytes) -> etree._Element:
    """Parse without reference lists and tables, which nobody reads: half of a full text is XML of theirs."""
    shorter = _without(content, b"ref-list", content.find(b"</body>") + 1)
    shorter = _without(shorter, b"table", 0)
    if shorter is not content:
        with suppress(etree.XMLSyntaxError):  # the whole may be sound, or names the right line
            return etree.fromstring(shorter, etree.XMLParser(**PARSER_OPTIONS))
    return etree.fromstring(content, etree.XMLParser(**PARSER_OPTIONS))


def _without(content: bytes, name: bytes, position: int) -> bytes:
    """Empty the elements of that name from a position on; none where one may be in another or hidden."""
    opening, closing = b"<" + name, b"</" + name + b">"
    starts: list[int] = []
    while (position := content.find(opening, position)) >= 0:
        position += len(opening)
        if content[position : position + 1] in (b" ", b">"):
            starts.append(position - len(opening))
    last = content.rfind(closing) if starts else 0
    if not starts or _declaration(content, starts[0], last) >= 0 or _is_hidden(content, starts[0]):
        return content
    pieces: list[bytes] = []
    end = 0
    for start, following in zip(starts, [*starts[1:], len(content)], strict=True):
        pieces += content[end:start], opening + b"/>"
        end = content.find(closing, start) + len(closing)
        if not start < end <= following:
            return content
    return b"".join((*pieces, content[end:]))


def _declaration(content: bytes, start: int, end: int) -> int:
    """Where the last `<!` of a range is, or -1. One (rare) character is found much faster than two."""
    while (position := content.rfind(b"!", start, end)) > start:
        if content[position - 1] == ord("<"):
            return position - 1
        end = position
    return -1


def _is_hidden(content: bytes, position: int) -> bool:
    """The position is in a comment, or in what may be one."""
    start = _declaration(content, 0, position)
    if content.startswith(b"<!--", start):
        return content.find(b"-->", start, position) < 0
    return start >= 0 and not content.startswith(b"<!DOCTYPE", start)


def _article(article: etree._Element, captions: bool, languages: tuple[str, ...]) -> JatsArticle:
    meta = article.find("{*}front/{*}article-meta")
    named = meta.iterfind("{*}article-id") if meta is not None else ()
    identifiers = {item.get("pub-id-type"): "".join(item.itertext()).strip() for item in named}
    pmcid = (identifiers.get("pmcid") or identifiers.get("pmc") or "").upper()
    stated, kind = Stated.of(meta), article.get("article-type", "")
    text, language = article, language_of(article)
    if language not in languages and (translation := _translation(article, languages)) is not None:
        text, language = translation, language_of(translation)
        meta = translation.find("{*}front-stub")
        if meta is None:
            meta = translation.find("{*}front/{*}article-meta")
    return JatsArticle(
        pmid=identifiers.get("pmid", ""),
        pmcid=f"PMC{pmcid}" if pmcid.isdigit() else pmcid,
        language=language,
        title=title_of(meta),
        abstract=abstract_of(meta),
        license=stated.license,
        retracted=stated.retracted or kind in _RETRACTED_TYPES,
        publication_types=(kind,) if kind else (),
        year=stated.year,
        body=body_of(text, captions),
    )


class Stated(NamedTuple):
    """What the metadata of an article or a book state of it."""

    license: str
    retracted: bool
    year: int

    @classmethod
    def of(cls, meta: etree._Element | None) -> Stated:
        if meta is None:
            return cls("", False, 0)
        terms = meta.iterfind("{*}permissions/{*}license")
        addresses = (
            address
            for license in terms
            for part in license.iter(etree.Element)
            for address in (part.get(_HREF) or "", (part.text or "").strip())
        )
        named = next(filter(None, map(_LICENSE_URL.search, addresses)), None)
        years = (date.findtext("{*}year") or "" for date in meta.iterfind("{*}pub-date"))
        forward = (item.get("related-article-type") for item in meta.iterfind("{*}related-article"))
        return cls(
            license=("CC0" if named[2] else f"CC {named[1].upper()}") if named else "",
            retracted="retraction-forward" in forward,
            year=min(
                (int(year) for year in map(str.strip, years) if re.fullmatch("[0-9]{4}", year)), default=0
            ),
        )


def language_of(article: etree._Element) -> str:
    code = (article.get(_XML_LANG) or "").lower().partition("-")[0]
    return _LANGUAGES.get(code[:2], _UNLISTED_LANGUAGE) if code else ""


def _translation(article: etree._Element, languages: tuple[str, ...]) -> etree._Element | None:
    """The article's own text in one of the languages, which the article holds as a sub-article."""
    for part in article.iterchildren("{*}sub-article"):
        is_translation = part.get("article-type") == "translation" and language_of(part) in languages
        if is_translation and part.find("{*}body") is not None:
            return part
    return None


def title_of(meta: etree._Element | None) -> str:
    group = next(meta.iterchildren(*_TITLE_GROUPS), None) if meta is not None else None
    if group is None:
        return ""
    parts = (next(group.iterchildren(*_TITLES), None), group.find("{*}subtitle"))
    title, subtitle = (" ".join(lines_of(part, captions=False)) if part is not None else "" for part in parts)
    return joined(title, subtitle) if title and subtitle else title or subtitle


def abstract_of(meta: etree._Element | None) -> tuple[str, ...]:
    lines: list[str] = []
    abstracts = meta.findall("{*}abstract") if meta is not None else []
    english = any((abstract.get(_XML_LANG) or "en").lower().startswith("en") for abstract in abstracts)
    for abstract in abstracts:
        translated = english and not (abstract.get(_XML_LANG) or "en").lower().startswith("en")
        if translated or abstract.get("abstract-type") in _OTHER_ABSTRACTS:
            continue
        for part in abstract:
            if local_name(part) == "sec":
                lines += _labelled_section(part)
            elif local_name(part) != "title":  # "Abstract"
                flow = Flow(captions=False)
                flow.add_node(part)
                lines += flow.finish()
    return tuple(lines)


def _labelled_section(section: etree._Element) -> list[str]:
    """An abstract's section as MEDLINE would give it: its heading comes before its first paragraph."""
    title = section.find("{*}title")
    heading = " ".join(lines_of(title, captions=False)) if title is not None else ""
    # "Contact" is here an address; in a body it may be of cells.
    if formality(heading) or heading.rstrip(":. ").lower() == "contact":
        return []
    flow = Flow(captions=False)
    flow.add_children(section, skip=title)
    lines = flow.finish()
    return [joined(heading, lines[0]), *lines[1:]] if heading and lines else lines


def body_of(article: etree._Element, captions: bool) -> tuple[str, ...]:
    flow = Flow(captions=captions)
    for name in ("body", "back", "floats-group"):
        if (part := article.find(f"{{*}}{name}")) is not None:
            flow.add_content(part)
            flow.end_line()
    return tuple(line for line in flow.finish() if not is_formal_line(line))
