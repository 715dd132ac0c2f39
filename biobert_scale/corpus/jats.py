"""Reads one JATS article (the XML of PubMed Central) as a title and paragraphs of plain text.

Source: the JATS Archiving and Interchange tag set (https://jats.nlm.nih.gov/archiving/). What is no prose of
the authors is left
out: references, footnotes, author blocks, licences, table cells, displayed and LaTeX formulas, sections of
formalities, graphical abstracts, translated abstracts, and sub-articles (reviews, decision letters), which
are texts of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from lxml import etree

from biobert_scale.corpus.jats_text import is_citation_number, is_formal_line, is_formality, tidy
from biobert_scale.corpus.markup import (
    HOLE,
    PARSER_OPTIONS,
    entity_text,
    joined,
    local_name,
    math_text,
    with_doctype,
)

_DROPPED = frozenset(
    {
        "ref-list",
        "fn",
        "fn-group",
        "table",
        "array",
        "table-wrap-foot",
        "disp-formula",
        "disp-formula-group",
        "tex-math",
        "graphic",
        "inline-graphic",
        "media",
        "supplementary-material",
        "inline-supplementary-material",
        "permissions",
        "label",
        "object-id",
        "alt-text",
        "long-desc",
        "attrib",
        "sub-article",
        "response",
        "back",
        "author-notes",
        "contrib-group",
        "aff",
        "kwd-group",
        "related-article",
        "related-object",
        "ack",
        "bio",
        "glossary",
        "sig-block",
        "x",
        "code",
    }
)
_BLOCKS = frozenset(
    {
        "p",
        "title",
        "list",
        "list-item",
        "disp-quote",
        "boxed-text",
        "statement",
        "def-list",
        "def-item",
        "def",
        "term",
        "verse-group",
        "verse-line",
        "speech",
        "speaker",
        "subtitle",
        "question",
        "answer",
        "explanation",
        "caption",
    }
)
_INLINE = frozenset(
    {
        "italic",
        "bold",
        "sup",
        "sub",
        "sc",
        "underline",
        "monospace",
        "named-content",
        "styled-content",
        "ext-link",
        "inline-formula",
    }
)
_FLOATS = frozenset({"fig", "fig-group", "table-wrap", "table-wrap-group"})
_MARKS = frozenset({"fn", "table-fn", "aff", "corresp", "author-notes", "author-note", "contrib"})
_CITATIONS = frozenset({"bibr", "ref", None})
_OTHER_ABSTRACTS = frozenset(
    {
        "graphical",
        "toc",
        "teaser",
        "precis",
        "short",
        "web-summary",
        "author-highlights",
        "highlights",
        "key-points",
        "video",
    }
)

# ISO 639-1 (xml:lang) to the bibliographic ISO 639-2 codes that MEDLINE uses.
_LANGUAGES = {
    "en": "eng",
    "de": "ger",
    "fr": "fre",
    "es": "spa",
    "pt": "por",
    "it": "ita",
    "ru": "rus",
    "zh": "chi",
    "ja": "jpn",
    "ko": "kor",
    "nl": "dut",
    "pl": "pol",
    "tr": "tur",
    "cs": "cze",
    "hu": "hun",
    "sv": "swe",
    "da": "dan",
    "no": "nor",
    "fi": "fin",
    "uk": "ukr",
}
_NOT_BACK_MATTER = re.compile(rb"<(?:!|body|floats-group|front|article[ >])")
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True, kw_only=True)
class JatsArticle:
    """One article as plain text."""

    pmid: str
    pmcid: str
    """`PMC123`, or empty."""
    language: str
    """MEDLINE's three-letter code of the declared language, or empty where none is declared or known."""
    title: str
    abstract: tuple[str, ...]
    """Paragraphs, a structured abstract's as `Heading: text`."""
    body: tuple[str, ...]
    """Headings, paragraphs, list items and captions in reading order, one line each."""


def read_jats(content: bytes, *, captions: bool = True) -> JatsArticle:
    """Read one article; of a wrapper's several (`pmc-articleset`) the first.

    Args:
        content: the XML file.
        captions: keep the captions of figures and tables, after the paragraph that holds them.

    Raises:
        lxml.etree.XMLSyntaxError: the content is not well-formed XML.
        ValueError: it is XML, but no JATS article, or nested without reason.
    """
    return next(read_jats_set(content, captions=captions))


def read_jats_set(content: bytes, *, captions: bool = True) -> Iterator[JatsArticle]:
    """Yield every article of an XML file: one, or those of a wrapper such as `pmc-articleset` or an OAI-PMH
    answer.

    Sub-articles and responses (reviews, decision letters, translations) stand inside their article and are
    not yielded. Arguments and errors are those of `read_jats`; the errors come with the first article.
    """
    root = _parse(with_doctype(content))
    articles = [root] if local_name(root) == "article" else root.findall(".//{*}article")
    if not articles:
        raise ValueError(f"the root element is {local_name(root)}, not article")
    for article in articles:
        try:
            yield _article(article, captions)
        except RecursionError:
            raise ValueError("its elements are nested too deeply") from None


def _parse(content: bytes) -> etree._Element:
    """Parse without the reference lists, which nobody reads and which are a third of a full text's XML."""
    if (shorter := _without_references(content)) is not None:
        with suppress(etree.XMLSyntaxError):  # the whole may be sound, or tells the right line
            return etree.fromstring(shorter, etree.XMLParser(**PARSER_OPTIONS))
    return etree.fromstring(content, etree.XMLParser(**PARSER_OPTIONS))


def _without_references(content: bytes) -> bytes | None:
    """Cut from the first `<ref-list` after the body to the last `</ref-list>`, where that is plainly back
    matter of one article."""
    start, end = content.find(b"<ref-list", content.find(b"</body>") + 1), content.rfind(b"</ref-list>")
    hidden = content.find(b"<!--", 0, start) >= 0 or content.find(b"<![CDATA[", 0, start) >= 0
    if not 0 < start < end or hidden or _NOT_BACK_MATTER.search(content, start, end):
        return None
    return content[:start] + content[end + len(b"</ref-list>") :]


def _article(article: etree._Element, captions: bool) -> JatsArticle:
    meta = article.find("{*}front/{*}article-meta")
    named = meta.iterfind("{*}article-id") if meta is not None else ()
    identifiers = {item.get("pub-id-type"): "".join(item.itertext()).strip() for item in named}
    pmcid = (identifiers.get("pmcid") or identifiers.get("pmc") or "").upper()
    return JatsArticle(
        pmid=identifiers.get("pmid", ""),
        pmcid=f"PMC{pmcid}" if pmcid.isdigit() else pmcid,
        language=_LANGUAGES.get((article.get(_XML_LANG) or "").lower()[:2], ""),
        title=_title(meta),
        abstract=_abstract(meta),
        body=_body(article, captions),
    )


def _title(meta: etree._Element | None) -> str:
    group = meta.find("{*}title-group") if meta is not None else None
    if group is None:
        return ""
    parts = (group.find("{*}article-title"), group.find("{*}subtitle"))
    title, subtitle = (" ".join(_lines(part, captions=False)) if part is not None else "" for part in parts)
    return joined(title, subtitle) if title and subtitle else title or subtitle


def _abstract(meta: etree._Element | None) -> tuple[str, ...]:
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
                flow = _Flow(captions=False)
                flow.add_node(part)
                lines += flow.finish()
    return tuple(lines)


def _labelled_section(section: etree._Element) -> list[str]:
    """An abstract's section as MEDLINE would give it: its heading stands before its first paragraph."""
    title = section.find("{*}title")
    heading = " ".join(_lines(title, captions=False)) if title is not None else ""
    if (
        is_formality(heading) or heading.rstrip(":. ").lower() == "contact"
    ):  # in an abstract an address; in a body it may be of cells
        return []
    flow = _Flow(captions=False)
    flow.add_children(section, skip=title)
    lines = flow.finish()
    return [joined(heading, lines[0]), *lines[1:]] if heading and lines else lines


def _body(article: etree._Element, captions: bool) -> tuple[str, ...]:
    flow = _Flow(captions=captions)
    for name in ("body", "floats-group"):
        if (part := article.find(f"{{*}}{name}")) is not None:
            flow.add_children(part)
    return tuple(line for line in flow.finish() if not is_formal_line(line))


def _lines(element: etree._Element, *, captions: bool) -> list[str]:
    flow = _Flow(captions=captions)
    flow.add_content(element)
    return flow.finish()


class _Flow:
    """Gathers an element's text into lines: inline markup joins, blocks end a line, floats wait for the end
    of it."""

    def __init__(self, *, captions: bool) -> None:
        self.captions = captions
        self.lines: list[str] = []
        self.pieces: list[str] = []
        self.floats: list[etree._Element] = []

    def finish(self) -> list[str]:
        self.end_line()
        return self.lines

    def end_line(self) -> None:
        if self.pieces:
            line = tidy("".join(self.pieces))
            self.pieces.clear()
            if line:
                self.lines.append(line)
        if self.floats:
            floats, self.floats = self.floats, []
            for element in floats:
                self.lines += _captions(element)

    def add_content(self, element: etree._Element) -> None:
        if text := element.text:
            self.pieces.append(text)
        self.add_children(element)

    def add_children(self, element: etree._Element, skip: etree._Element | None = None) -> None:
        append = self.pieces.append
        for child in element:
            # The common names are found at once; others (with a namespace, unknown, no element) by
            # `add_other`.
            action = _ACTIONS.get(child.tag, _Flow.add_other)
            if action is _Flow.add_content:  # by far the most frequent: spares two calls for each
                if text := child.text:
                    append(text)
                if len(child):
                    self.add_children(child)
            elif action is not None and child is not skip:
                action(self, child)
            if tail := child.tail:
                append(tail)

    def add_node(self, element: etree._Element) -> None:
        if (action := _ACTIONS.get(element.tag, _Flow.add_other)) is not None:
            action(self, element)

    def add_other(self, element: etree._Element) -> None:
        name = local_name(element)
        if not name:
            self.pieces.append(entity_text(element))
        elif (action := _ACTIONS.get(name, _Flow.add_content)) is not None:
            action(self, element)

    def add_break(self, _element: etree._Element) -> None:
        self.pieces.append(" ")

    def add_section(self, section: etree._Element) -> None:
        self.end_line()
        self.lines += _section(section, self.captions)

    def add_float(self, element: etree._Element) -> None:
        if self.captions:
            self.floats.append(element)

    def add_block(self, element: etree._Element) -> None:
        self.end_line()
        self.add_content(element)
        self.end_line()

    def add_reference(self, element: etree._Element) -> None:
        """`Fig. 2` and `Smith et al. 2010` are read with the sentence; a citation's number and a footnote's
        mark are not."""
        kind, simple = element.get("ref-type"), not len(element)
        text = (element.text or "") if simple else "".join(element.itertext())
        if kind in _MARKS or (kind in _CITATIONS and is_citation_number(text)):
            self.pieces.append(HOLE)
        elif simple:
            self.pieces.append(text)
        else:
            self.add_content(element)

    def add_alternative(self, element: etree._Element) -> None:
        """Of several forms of one thing take one: MathML before anything else that is text."""
        formula = element.find("{*}math")
        for child in [formula] if formula is not None else list(element)[:1]:
            self.add_node(child)

    def add_formula(self, element: etree._Element) -> None:
        self.pieces.append(math_text(element))


_ACTIONS: dict[str, Callable[[_Flow, etree._Element], None] | None] = {
    **dict.fromkeys(_DROPPED),
    **dict.fromkeys(_BLOCKS, _Flow.add_block),
    **dict.fromkeys(_FLOATS, _Flow.add_float),
    **dict.fromkeys(_INLINE, _Flow.add_content),
    "sec": _Flow.add_section,
    "xref": _Flow.add_reference,
    "alternatives": _Flow.add_alternative,
    "math": _Flow.add_formula,
    "break": _Flow.add_break,
}
"""What to do with an element of each name; None leaves it out, and an unknown one is read as inline markup.
"""


def _section(section: etree._Element, captions: bool) -> list[str]:
    """The section's lines below its heading; nothing where it is a formality or holds no text."""
    title = next((child for child in section if local_name(child) == "title"), None)
    heading = " ".join(_lines(title, captions=False)) if title is not None else ""
    if is_formality(heading):
        return []
    flow = _Flow(captions=captions)
    flow.add_children(section, skip=title)
    lines = flow.finish()
    return [heading, *lines] if heading and lines else lines


def _captions(element: etree._Element) -> list[str]:
    found = (caption for caption in element.iter("{*}caption") if local_name(caption.getparent()) in _FLOATS)
    return [line for caption in found if (line := " ".join(_lines(caption, captions=False)))]
