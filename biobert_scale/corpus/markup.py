"""What the MEDLINE and the JATS reader share: careful parser settings, and inline markup as plain text."""

from __future__ import annotations

from typing import Any

from lxml import etree

from biobert_scale.corpus.exponents import append_superscript
from biobert_scale.corpus.mathml import math_text

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


def collapse(text: str) -> str:
    """`" ".join(text.split())` of XML's text, without the cost where there is nothing to collapse."""
    text = text.strip()
    if "  " not in text:
        if text.isascii():
            if (
                "\n" not in text and "\t" not in text and "\r" not in text
            ):  # XML 1.0 has no other control characters
                return text
        elif text.isprintable():  # the space alone is white and printable
            return text
    return " ".join(text.split())


def local_name(element: etree._Element) -> str:
    """The tag without its namespace; empty for comments, processing instructions and entity references."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def plain_text(element: etree._Element | None) -> str:
    """All text below an element with white space collapsed; LaTeX and graphics are left out, MathML is
    spelled out."""
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
            pieces.append(" ")  # an entity that only the DTD could have told
        pieces.append(child.tail or "")
