"""MathML as plain text.

Source: MathML 3 (https://www.w3.org/TR/MathML3/), chapter 3, presentation markup.
"""

from __future__ import annotations

import re

from lxml import etree

from biobert_scale.corpus.cleaning.entities import entity_text
from biobert_scale.corpus.cleaning.exponents import superscript

_LEFT_OUT = frozenset({"annotation", "annotation-xml", "mphantom", "none", "maligngroup", "malignmark"})
_FUNCTION_APPLICATION = "\u2061"  # invisible, between `sin` and `x`
_SIMPLE = re.compile(r"[^\W_]*(?:\.\d+)?|\S")
_POWER = re.compile(r"[^\W_](?:.*[^+−–-])?")  # a charge (`2+`) is none
_PARTNERS = {"(": ")", "[": "]", "{": "}", ")": "(", "]": "[", "}": "{"}
_ORDINALS = ("st", "nd", "rd", "th")
_ENCLOSED = re.compile(r"\([^()]*\)")


def math_text(element: etree._Element) -> str:
    """A formula in one line: `2×10^5`, `(a+b)/c`, `√(s+1)`, `f(x,y)`, `5 mg`.

    Scripts follow what they belong to, with a sign only where the number before would become another one.
    White space is that of `mtext` and `mspace`, not collapsed.
    """
    name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    if not name:
        return entity_text(element)
    if name in _LEFT_OUT:
        return ""
    if name == "mtext":
        return "".join(element.itertext())
    if name == "mspace":
        return " "
    parts = [math_text(child) for child in element]
    match name:
        case "mfrac" if len(parts) == 2:
            return f"{_grouped(parts[0])}/{_grouped(parts[1])}"
        case "msqrt":
            return f"√{_grouped(''.join(parts))}"
        case "mroot" if len(parts) == 2:
            return f"{_grouped(parts[0])}^(1/{parts[1]})"
        case "msup" if len(parts) == 2:
            return _raised(*parts)
        case "msubsup" if len(parts) == 3:
            return _raised(parts[0] + parts[1], parts[2])
        case "munder" | "mover" | "munderover":
            return "".join(part if len(part) < 2 or part.isalpha() else f" {part} " for part in parts)
        case "mfenced":
            return _fenced(element, parts)
        case "mtr" | "mlabeledtr" | "mtable":
            return " ".join(parts)
        case "mmultiscripts":
            return _prescripts_first(element)
    own = "".join((element.text or "").split())
    return own.replace(_FUNCTION_APPLICATION, " ") + "".join(parts)


def _grouped(part: str) -> str:
    """In brackets where it is more than a number, a word or a sign."""
    part = part.strip()
    return part if _SIMPLE.fullmatch(part) or _ENCLOSED.fullmatch(part) else f"({part})"


def _raised(base: str, script: str) -> str:
    """In a formula no superscript is the number of a reference."""
    script = script.strip()
    own_sign = base[-1:].isdigit() and _POWER.fullmatch(script) and script not in _ORDINALS
    if own_sign or (script and base[-1:] in (")", "]")):
        return f"{base}^{_grouped(script)}"
    return base + superscript(base, script)


def _fenced(element: etree._Element, parts: list[str]) -> str:
    separators = "".join(element.get("separators", ",").split())
    text = parts[0] if parts else ""
    for index, part in enumerate(parts[1:]):
        text += separators[min(index, len(separators) - 1) :][:1] + part
    opening, closing = element.get("open"), element.get("close")
    if opening is None:  # word processors leave out the partner of a bracket that they name
        opening = _PARTNERS.get(closing or ")", "(")
    if closing is None:
        closing = _PARTNERS.get(opening, ")")
    return f"{opening}{text}{closing}"


def _prescripts_first(element: etree._Element) -> str:
    """`14C`: what is written in front of the base comes last in the markup."""
    children = [child for child in element if isinstance(child.tag, str)]
    parts = [math_text(child) for child in children]
    split = next((i for i, child in enumerate(children) if child.tag.endswith("mprescripts")), len(parts))
    return "".join(parts[split + 1 :] + parts[:split])
