"""How a superscript is written in plain text: the one rule of the MEDLINE and the JATS reader.

`10<sup>6</sup>` is another number than 106, so a superscript number after a number is written `10^6`.
Elsewhere superscripts need no sign: `Ca2+`, `m2`, `18F`, `2nd`.
"""

from __future__ import annotations

import re

LOOK_BACK = 24
"""Characters in front of a superscript that decide how it is written; more do no harm."""

_DASHES = "-‐‑‒–—−﹣－"
_BASE = re.compile(r"([\d.,]*\d)\s*\Z", re.ASCII)
_TEN = re.compile(r"(?:\d[.,])?10")  # `5.10<sup>4</sup>` is five times ten thousand
# A number inside a name: `CD4`, `IL-10`. The letter x is a sign of multiplication: `5x10`, `x 10`.
_IN_A_NAME = re.compile(rf"(?<![\d\s.(])[xX]\Z|[^\W\d_xX]\Z|[^\W\d_][{_DASHES}]\Z")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_EXPONENT = re.compile(rf"[{_DASHES}+]?\d+(?:\.\d+)?", re.ASCII)
_LIST = re.compile(rf"\d{{1,3}}(?:[,;{_DASHES}]\d{{1,3}})+", re.ASCII)
_TO_ASCII = str.maketrans(dict.fromkeys(_DASHES, "-"))


def superscript(before: str, text: str) -> str:
    """What to write for a superscript.

    Args:
        before: the text in front of it, at least its last `LOOK_BACK` characters.
        text: the superscript's own.

    Returns:
        `^6` or `^-4` where it is an exponent (white space in front of that has to go); nothing where it is a
        reference's number that would change the number before it (`in 2010<sup>6</sup>`); a degree sign for
        a zero; else the text.
    """
    raised = "".join(text.split())
    if not raised or not (raised[-1].isdigit() and (base := _BASE.search(before[-LOOK_BACK:]))):
        return text
    if _IN_A_NAME.search(before[-LOOK_BACK:][: base.start()]):
        return text
    ten = _TEN.fullmatch(base[1]) is not None
    if before[-1].isspace() and not ten:
        return text
    if _LIST.fullmatch(raised):
        return f"^{raised}" if ten else ""
    if not _EXPONENT.fullmatch(raised):
        return text
    if not ten and raised == "0":
        return "°"
    if _YEAR.fullmatch(base[1]) and raised.isdigit():
        return ""
    return "^" + raised.translate(_TO_ASCII)


def append_superscript(pieces: list[str], text: str) -> None:
    """Add a superscript to the pieces of a text, and take out the white space in front of an exponent."""
    if not text.rstrip()[-1:].isdigit():  # spares most superscripts the look back
        pieces.append(text)
        return
    written = superscript("".join(pieces[-3:]), text)
    if pieces and written[:1] == "^":
        pieces[-1] = pieces[-1].rstrip()
    pieces.append(written)
