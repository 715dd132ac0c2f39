"""What a file's first bytes say of its format."""

from __future__ import annotations

import codecs
import re
from typing import Literal

from biobert_scale.corpus.readers.article_sets import SETS
from biobert_scale.corpus.readers.bits import BOOKS
from biobert_scale.corpus.readers.medline import CITATIONS
from biobert_scale.errors import UserError

InputFormat = Literal["auto", "lines", "text", "pubmed", "jats", "bioc", "pubtator"]

_ROOTS = ("article", "collection", *BOOKS, *SETS, *CITATIONS)
_PUBTATOR = re.compile(r"[^|\t\r\n]+\|t\||[^|\s]+\|a\|")
_PROLOGUE = re.compile(
    r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE(?:\[.*?\]\s*|\"[^\"]*\"|'[^']*'|[^\[\"'>])*>",
    re.DOTALL | re.IGNORECASE,
)
_ELEMENT = re.compile(r"<(?:[\w.-]+:)?([A-Za-z][\w.-]*)(?=[\s/>])")
_START_TAG = re.compile(r"<[\w:.-]+(?:\s+[\w:.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'>]+))*\s*/?>")
_UNFINISHED = re.compile(r"<[?!]|<[\w:.-]*$|$")
_INLINE = frozenset({"a", "b", "bold", "em", "i", "italic", "sc", "span", "strong", "sub", "sup", "u"})
"""Markup that a line of plain text may begin with."""
_JSON = re.compile(r"\{\s*(?:\"|\}|$)|\[\s*(?:\{|\"|$|\[\s*[\[{\"])")
_BIOC_JSON = re.compile(r"[\[{]\s*(?=[\"{]).*?\"(?:bioctype|documents|passages|PubTator3)\"\s*:", re.DOTALL)
_CITATIONS = re.compile(r"PMID- ?\d|TY  - |%0 |@\w+\{")


def recognise(beginning: bytes, where: str) -> Literal["lines", "xml", "bioc", "pubtator"]:
    """The format of a file that begins so; `xml` where the root element decides.

    Raises:
        UserError: a format that is known and not read: PDF, JSON other than BioC, other XML or HTML, or
            citations in a reference manager's format.
    """
    if beginning.startswith(b"%PDF"):
        remedy = "give the article's JATS XML, or its text: `pdftotext FILE - | biobert-scale tag ...`"
        raise UserError("a PDF, which `tag` does not read", where=where, remedy=remedy)
    text = _decoded(beginning)
    root = _root(text)
    if root is None or root in _ROOTS:  # None: of a pipe only the first line may be there yet
        return "xml"
    if _BIOC_JSON.match(text):
        return "bioc"
    if root:
        what = f"XML or HTML of another kind (its root is <{root}>)"
        remedy = "give PubMed, JATS or BioC XML, or take its text out and choose --input-format text or lines"
        raise UserError(what, where=where, remedy=remedy)
    for name, pattern in (("JSON", _JSON), ("MEDLINE, RIS, EndNote or BibTeX citations", _CITATIONS)):
        if pattern.match(text):
            remedy = "take the text out, or choose --input-format lines to tag each line as it is"
            raise UserError(f"{name}, which `tag` does not read", where=where, remedy=remedy)
    return "pubtator" if _PUBTATOR.match(text) else "lines"


def _decoded(beginning: bytes) -> str:
    """The first characters, without a byte order mark and blanks before them."""
    is_utf16 = beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = beginning.decode("utf-16", "ignore") if is_utf16 else beginning.decode(errors="replace")
    return text.lstrip("\ufeff").lstrip()


def _root(text: str) -> str | None:
    """The name of an XML or HTML document's first element; empty where the text is neither, None where its
    prologue has no end yet."""
    prologue = 0
    while found := _PROLOGUE.match(text, prologue):
        prologue = found.end()
    element = _ELEMENT.match(text, prologue)
    if element and prologue:
        return element[1]
    if element:  # a line of plain text may begin with `<i>`, or with `<LOD `
        return element[1] if _START_TAG.match(text) and element[1].lower() not in _INLINE else ""
    begun = prologue > 0 or text.startswith("<")
    return None if begun and _UNFINISHED.match(text, prologue) else ""
