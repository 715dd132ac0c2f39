"""Sentence boundaries, behind one seam: everything that needs sentences asks `split_sentences`."""

from __future__ import annotations

import re

import sentencex

# The splitter counts a wide space as one byte and may stop inside the next character: it gets plain ones.
_SPACES = dict.fromkeys(
    (
        0x09,
        *range(0x0B, 0x0E),
        *range(0x1C, 0x20),
        0x85,
        0xA0,
        0x1680,
        *range(0x2000, 0x200B),
        0x2028,
        0x2029,
        0x202F,
        0x205F,
        0x3000,
    ),
    " ",
)
_ANY_SPACE = re.compile(
    "[" + "".join(map(chr, _SPACES)) + "]"
)  # few texts hold one, and looking is cheaper than translating

# Abbreviations of this literature at which the splitter stops. The first kind never ends a sentence; the
# second does where a capital letter follows.
_NEVER_LAST = frozenset({"figs.", "eqs.", "refs.", "suppl.", "supp."})
# fmt: off
_SELDOM_LAST = frozenset((
    "approx.", "subsp.", "ssp.", "spp.", "sp.", "var.", "ca.", "resp.", "nos.", "vol.", "conc.", "min.",
    "max.",
))
# fmt: on


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Character spans of the sentences of a text, white space at their edges left out.

    Args:
        text: any text; a line end always ends a sentence.

    Returns:
        Half-open `(start, end)` spans in order; together they cover every character that is not white space.
    """
    if _ANY_SPACE.search(text):
        text = text.translate(_SPACES)
    spans: list[tuple[int, int]] = []
    line_start = 0
    for line in text.split("\n"):
        position = line_start
        for sentence in sentencex.segment("en", line):
            # The pieces stand in the line in order; what lies between two of them is white space.
            start = text.index(sentence, position)
            position = start + len(sentence)
            leading = len(sentence) - len(sentence.lstrip())
            stripped = sentence.strip()
            if (
                stripped
                and spans
                and spans[-1][0] >= line_start
                and _goes_on(text[slice(*spans[-1])], stripped)
            ):
                spans[-1] = (spans[-1][0], start + leading + len(stripped))
            elif stripped:
                spans.append((start + leading, start + leading + len(stripped)))
        line_start += len(line) + 1
    return spans


def _goes_on(before: str, after: str) -> bool:
    """Whether a sentence was taken to end at an abbreviation in its midst."""
    last = before[before.rfind(" ") + 1 :].lower().lstrip("([")
    return last in _NEVER_LAST or (last in _SELDOM_LAST and not after[0].isupper())
