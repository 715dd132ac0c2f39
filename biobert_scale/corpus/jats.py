"""Reads one JATS article (the XML of PubMed Central) as a title and paragraphs of plain text.

Source: the JATS Archiving and Interchange tag set (https://jats.nlm.nih.gov/archiving/). What is no prose of the authors is left
out: references, footnotes, author blocks, licences, table cells, displayed and LaTeX formulas, sections of formalities,
graphical abstracts, translated abstracts, and sub-articles (reviews, decision letters), which are texts of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree

from biobert_scale.corpus.markup import PARSER_OPTIONS, local_name, math_text

_DROPPED = frozenset({
    "ref-list", "fn", "fn-group", "table", "array", "table-wrap-foot", "disp-formula", "disp-formula-group", "tex-math", "graphic",
    "inline-graphic", "media", "supplementary-material", "inline-supplementary-material", "permissions", "label", "object-id",
    "alt-text", "long-desc", "attrib", "sub-article", "response", "back", "author-notes", "contrib-group", "aff", "kwd-group",
    "related-article", "related-object", "ack", "bio", "glossary", "sig-block", "x", "code",
})  # fmt: skip
_BLOCKS = frozenset({
    "p", "title", "list", "list-item", "disp-quote", "boxed-text", "statement", "def-list", "def-item", "def", "term",
    "verse-group", "verse-line", "speech", "speaker", "subtitle", "question", "answer", "explanation", "caption",
})  # fmt: skip
_FLOATS = frozenset({"fig", "fig-group", "table-wrap", "table-wrap-group"})
_MARKS = frozenset({"fn", "table-fn", "aff", "corresp", "author-notes", "author-note", "contrib"})
_OTHER_ABSTRACTS = frozenset({
    "graphical", "toc", "teaser", "precis", "short", "web-summary", "author-highlights", "highlights", "key-points", "video",
})  # fmt: skip

# A cross-reference that leaves no readable text is first replaced by this character, which XML 1.0 forbids.
_HOLE = "\uffff"
_RUN = rf"{_HOLE}(?:[\s,;:–‒−-]*(?:and |& )?{_HOLE})*"
_IN_BRACKETS = rf"\s?[\[(]{{1,2}}\s?(?:refs?\.? ?|references? |see |e\.g\.,? )?{_RUN}[\s,;.]*[\])]{{1,2}}"
_BRACKETED_HOLES = re.compile(rf"{_IN_BRACKETS}(?:[,;–‒−-]?{_IN_BRACKETS})*")
_BARE_HOLES = re.compile(rf"\s?{_RUN}")
_AFTER_OPENING = re.compile(r"([\[(])\s*[,;]\s*")
_BEFORE_CLOSING = re.compile(r"\s*[,;]\s*([\])])")
_EMPTY_BRACKETS = re.compile(r" (?:\( ?\)|\[ ?\])")
_SPACE_BEFORE_MARK = re.compile(r" ([,;.)])(?= |$)")
# At most three digits: a year alone ("Smith et al., 2006" with the year linked) is read with the sentence.
_CITATION_NUMBER = re.compile(r"[\[(]?\s*[A-Z]?\d{1,3}[a-z]?(?:[\s,;–‒−-]+[A-Z]?\d{1,3}[a-z]?)*\s*[\])]?|[*†‡§¶#]*")

# Sections that tell of the publication, not of the science. Matched against a heading in lower case, without its number,
# its final colon or full stop, and with plain apostrophes.
_HEADING_NUMBER = re.compile(r"(?:\d+(?:\.\d+)*|[IVX]+)[.)]?\s+")
_FORMALITY = re.compile(
    "|".join(
        [
            r"(?:(?:statements?|declarations?|disclosures?) of )?(?:potential )?"
            r"(?:conflicts? of|competing|conflicting)(?: financial)? interests?",
            r"(?:(?:conflicts? of|competing) interests?|disclosure) (?:statements?|disclosures?|declarations?)",
            r"declarations?(?: of (?:competing )?interests?)?",
            r"disclosures?",
            r"(?:authors?|author's|authors')[ -]contributions?(?: statements?)?",
            r"contributions? (?:by|of) the authors?",
            r"authors' information",
            r"acknowledge?ments?",
            r"(?:sources? of )?funding(?: (?:sources?|statements?|information))?",
            r"financial (?:support|disclosure)",
            r"(?:electronic |online )?(?:supplementary|supplemental|supporting|additional) (?:materials?|data|information|files?)(?: \d+)?",
            r"availability of (?:data and materials?|supporting data|data|materials?)",
            r"data (?:and materials? )?(?:availability|accessibility)(?: statements?)?",
            r"(?:list of )?abbreviations(?: used)?",
            r"ethic(?:s|al) (?:statements?|approval(?: and consent to participate)?)",
            r"consent(?: for publication| statement)?",
            r"pre-?publication history",
            r"publisher's note",
            r"contact",
            r"references|literature cited",
        ]
    )
)

# ISO 639-1 (xml:lang) to the bibliographic ISO 639-2 codes that MEDLINE uses.
_LANGUAGES = {
    "en": "eng", "de": "ger", "fr": "fre", "es": "spa", "pt": "por", "it": "ita", "ru": "rus", "zh": "chi", "ja": "jpn", "ko": "kor",
    "nl": "dut", "pl": "pol", "tr": "tur", "cs": "cze", "hu": "hun", "sv": "swe", "da": "dan", "no": "nor", "fi": "fin", "uk": "ukr",
}  # fmt: skip
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
    """Read one article.

    Args:
        content: the XML file.
        captions: keep the captions of figures and tables, after the paragraph that holds them.

    Raises:
        lxml.etree.XMLSyntaxError: the content is not well-formed XML.
        ValueError: it is XML, but no JATS article.
    """
    root = etree.fromstring(content, etree.XMLParser(**PARSER_OPTIONS))
    article = root if local_name(root) == "article" else root.find(".//{*}article")
    if article is None:
        raise ValueError(f"the root element is {local_name(root)}, not article")
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
    return ": ".join(filter(None, (" ".join(_lines(part, captions=False)) for part in parts if part is not None)))


def _abstract(meta: etree._Element | None) -> tuple[str, ...]:
    lines: list[str] = []
    for abstract in meta.iterfind("{*}abstract") if meta is not None else ():
        if abstract.get("abstract-type") in _OTHER_ABSTRACTS:
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
    heading = " ".join(_lines(title, captions=False)).rstrip(":. ") if title is not None else ""
    if _is_formality(heading):
        return []
    flow = _Flow(captions=False)
    flow.add_children(section, skip=title)
    lines = flow.finish()
    return [f"{heading}: {lines[0]}", *lines[1:]] if heading and lines else lines


def _body(article: etree._Element, captions: bool) -> tuple[str, ...]:
    flow = _Flow(captions=captions)
    for name in ("body", "floats-group"):
        if (part := article.find(f"{{*}}{name}")) is not None:
            flow.add_children(part)
    return tuple(flow.finish())


def _lines(element: etree._Element, *, captions: bool) -> list[str]:
    flow = _Flow(captions=captions)
    flow.add_content(element)
    return flow.finish()


class _Flow:
    """Gathers an element's text into lines: inline markup joins, blocks end a line, floats wait for the end of it."""

    def __init__(self, *, captions: bool) -> None:
        self.captions = captions
        self.lines: list[str] = []
        self.pieces: list[str] = []
        self.floats: list[etree._Element] = []

    def finish(self) -> list[str]:
        self.end_line()
        return self.lines

    def end_line(self) -> None:
        line = _tidy("".join(self.pieces))
        self.pieces.clear()
        if line:
            self.lines.append(line)
        floats, self.floats = self.floats, []
        for element in floats:
            self.lines += _captions(element)

    def add_content(self, element: etree._Element) -> None:
        self.pieces.append(element.text or "")
        self.add_children(element)

    def add_children(self, element: etree._Element, *, skip: etree._Element | None = None) -> None:
        for child in element:
            if child is not skip:
                self.add_node(child)
            self.pieces.append(child.tail or "")

    def add_node(self, element: etree._Element) -> None:
        name = local_name(element)
        if name in _DROPPED:
            return
        if name == "sec":
            self.end_line()
            self.lines += _section(element, self.captions)
        elif name in _FLOATS:
            if self.captions:
                self.floats.append(element)
        elif name in _BLOCKS:
            self.end_line()
            self.add_content(element)
            self.end_line()
        elif name == "xref":
            self.add_reference(element)
        elif name == "alternatives":
            self.add_alternative(element)
        elif name == "math":
            self.pieces.append(math_text(element))
        elif name in ("break", ""):  # "": an entity that only the DTD could have told
            self.pieces.append(" ")
        else:
            self.add_content(element)

    def add_reference(self, element: etree._Element) -> None:
        """`Fig. 2` and `Smith et al. 2010` are read with the sentence; a citation's number and a footnote's mark are not."""
        kind = element.get("ref-type")
        text = "".join(element.itertext())
        if kind in _MARKS or (kind in ("bibr", "ref", None) and _CITATION_NUMBER.fullmatch(text.strip())):
            self.pieces.append(_HOLE)
        else:
            self.add_content(element)

    def add_alternative(self, element: etree._Element) -> None:
        """Of several forms of one thing take one: MathML before anything else that is text."""
        formula = element.find("{*}math")
        for child in [formula] if formula is not None else list(element)[:1]:
            self.add_node(child)


def _section(section: etree._Element, captions: bool) -> list[str]:
    """The section's lines below its heading; nothing where it is a formality or holds no text."""
    title = section.find("{*}title")
    heading = " ".join(_lines(title, captions=False)) if title is not None else ""
    if _is_formality(heading):
        return []
    flow = _Flow(captions=captions)
    flow.add_children(section, skip=title)
    lines = flow.finish()
    return [heading, *lines] if heading and lines else lines


def _is_formality(heading: str) -> bool:
    return _FORMALITY.fullmatch(_HEADING_NUMBER.sub("", heading, count=1).lower().replace("’", "'").rstrip(".: ")) is not None


def _captions(element: etree._Element) -> list[str]:
    found = (caption for caption in element.iter("{*}caption") if local_name(caption.getparent()) in _FLOATS)
    return [line for caption in found if (line := " ".join(_lines(caption, captions=False)))]


def _tidy(text: str) -> str:
    """Collapse white space and close the holes that numbered citations leave: `in rats [,].` becomes `in rats.`"""
    text = " ".join(text.split())
    if _HOLE in text:
        text = _BARE_HOLES.sub(_fill, _BRACKETED_HOLES.sub(_fill, text))
        text = _BEFORE_CLOSING.sub(r"\1", _AFTER_OPENING.sub(r"\1", text)).strip()
    text = _SPACE_BEFORE_MARK.sub(r"\1", _EMPTY_BRACKETS.sub("", text))
    return text if any(character.isalnum() for character in text) else ""


def _fill(hole: re.Match[str]) -> str:
    """Nothing, but two words do not grow together: `as described by[13]but` becomes `as described by but`."""
    following = hole.string[hole.end() : hole.end() + 1]
    return " " if following.isalnum() else ""
