"""What the MEDLINE and the JATS reader share: careful parser settings, and inline markup as plain text."""

from __future__ import annotations

import html
import re
from html.entities import html5
from typing import Any

from lxml import etree

from biobert_scale.corpus.cleaning.entities import entity_text
from biobert_scale.corpus.cleaning.exponents import LOOK_BACK, append_superscript, superscript
from biobert_scale.corpus.cleaning.mathml import math_text

# Nothing outside the file is fetched, no entity is expanded, and libxml2's limits on depth and size stay on.
# (`collect_ids` stays on: without it libxml2 asks for the external DTD, whatever `load_dtd` says.)
PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}

_NOT_TEXT = frozenset({"tex-math", "annotation", "annotation-xml", "inline-graphic", "graphic"})


# A blank after the ampersand is a frequent slip of those who escape twice.
_REFERENCE = re.compile(
    r"&(?:(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31})| (lt|gt|le|ge|amp|nbsp)) ?;"
)
_BLOCKS = "p|div|li|ul|ol|table|tbody|tr|th|td|title|sec|h[1-6]"
_INLINE = "[abiqsu]|sup|sub|inf|em|strong|italic|bold|span|font|small|big|sc|tt|underline|mml:[a-z]+"
_ELEMENT = re.compile(  # the innermost, with both its tags
    rf"""<(({_BLOCKS})|{_INLINE})(?:\s+[\w:-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s<>"']+))*\s*>"""
    r"((?:(?!<\1[\s>]).)*?)</\1\s*>",
    re.IGNORECASE | re.DOTALL,
)
_DEEPEST = 20
_BREAK = re.compile(r"<[bh]r\s*/?>", re.IGNORECASE)
_BEFORE_EXPONENT = re.compile(r"(?<=\d)\s+(?=\^[-\d])")
_SEE_TEXT = "see text]"
_ABSENT = re.compile(rf"[-‐‑–]?\[[^\[\]]{{1,40}} {_SEE_TEXT}[-‐‑–]?")
_AROUND_ABSENT = re.compile(
    r"\s*[(\[][\s,;]*[)\]]|(?<=[(\[])[\s,;]+|(?:\s*[,;])*\s+(?=[,;.](?:\s|$)|[)\]])|[,;](?=[)\]])"
)


def resolved(text: str) -> str:
    """Text in which markup was escaped once too often, as its author meant it.

    `&lt;` and `&mdash;` become their characters, `<sup>2+</sup>` becomes its content, and notes on what NLM
    left out (`[Formula: see text]`) go. `AT&T`, `p < 0.05` and `<i>` without an end are text.
    """
    for _ in range(_DEEPEST):
        if "&" not in text or (plain := _REFERENCE.sub(_character, text)) == text:
            break
        text = plain
    if "<" in text and ">" in text:
        text = _BREAK.sub(" ", text)
    if "</" in text:
        for _ in range(_DEEPEST):
            text, found = _ELEMENT.subn(_content, text)
            if not found:
                break
        text = _BEFORE_EXPONENT.sub("", text)
    if _SEE_TEXT in text:
        text = _AROUND_ABSENT.sub("", _ABSENT.sub(" ", text))
    return text


def _character(reference: re.Match[str]) -> str:
    name = reference[1] or reference[2]
    return html.unescape(f"&{name};") if name[0] == "#" else html5.get(f"{name};", reference[0])


def _content(element: re.Match[str]) -> str:
    if element[1].lower() == "sup":
        start = element.start()
        return superscript(element.string[max(0, start - LOOK_BACK) : start], element[3])
    return f" {element[3]} " if element[2] else element[3]


def with_doctype(head: bytes) -> bytes:
    """The beginning of an XML file, with a document type: without, the parser refuses named entities."""
    declaration = re.match(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>)?(?=\s*<[^\0])", head)
    if declaration is None or b"<!DOCTYPE" in head[:4096]:
        return head
    return b'%s<!DOCTYPE x SYSTEM "x">%s' % (declaration[0], head[declaration.end() :])


def joined(heading: str, text: str) -> str:
    """`Heading: text`, with the one mark between them that the heading may bring along: `A study? Text`."""
    if heading[-1:].isalnum() and text[:1].isalnum():  # nearly always
        return f"{heading}: {text}"
    heading, text = heading.rstrip(":;,. –—-"), text.lstrip(":;,. –—-")
    if not heading or not text:
        return heading or text
    return f"{heading} {text}" if heading[-1] in "?!" else f"{heading}: {text}"


def collapse(text: str) -> str:
    """`" ".join(text.split())` of `resolved` text, without the cost where there is nothing to do."""
    if "&" in text or "<" in text or ("[" in text and _SEE_TEXT in text):
        text = resolved(text)
    text = text.strip()
    if "  " not in text:
        if text.isascii():
            # XML 1.0 has no other control characters.
            if "\n" not in text and "\t" not in text and "\r" not in text:
                return text
        elif text.isprintable():  # the space alone is white and printable
            return text
    return " ".join(text.split())


def local_name(element: etree._Element) -> str:
    """The tag without its namespace; empty for comments, processing instructions and entity references."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def plain_text(element: etree._Element | None) -> str:
    """All text below an element, white space collapsed, without LaTeX, with MathML spelled out."""
    if element is None:
        return ""
    if not len(element):
        return collapse(element.text or "")
    pieces: list[str] = []
    _collect(element, pieces)
    return collapse("".join(pieces))


def _collect(element: etree._Element, pieces: list[str]) -> None:
    pieces.append(element.text or "")
    for child in element:
        name = local_name(child)
        if name == "math":
            pieces.append(math_text(child))
        elif name == "sup" and not len(child):
            append_superscript(pieces, child.text or "")
        elif name == "sup":
            raised: list[str] = []
            _collect(child, raised)
            append_superscript(pieces, "".join(raised))
        elif name and name not in _NOT_TEXT:
            _collect(child, pieces)
        elif not name:
            pieces.append(entity_text(child))
        pieces.append(child.tail or "")
