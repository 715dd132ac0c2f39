"""Sentence boundaries, behind one seam: everything that needs sentences asks `split_sentences`."""

from __future__ import annotations

import re

import sentencex

# The splitter counts a wide space as one byte and may stop inside the next character: it gets plain ones.
_WIDE = "\t\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_SPACES = dict.fromkeys(map(ord, _WIDE), " ")
_ANY_SPACE = re.compile(f"[{_WIDE}]")  # few texts hold one, and looking is cheaper than translating

# Abbreviations of this literature at which the splitter stops. The first kind never ends a sentence; the
# second does where a capital letter follows.
_NEVER_LAST = frozenset({"figs.", "eqs.", "refs.", "suppl.", "supp."})
_SELDOM_LAST = frozenset("approx. subsp. ssp. spp. sp. var. ca. resp. nos. vol. conc. min. max.".split())


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
            # The pieces are in the order of the line; between two of them is white space.
            start = text.index(sentence, position)
            position = start + len(sentence)
            leading = len(sentence) - len(sentence.lstrip())
            stripped = sentence.strip()
            if not stripped:
                continue
            begin = start + leading
            in_line = bool(spans) and spans[-1][0] >= line_start
            if in_line and _continues(text[slice(*spans[-1])], stripped):
                begin, _ = spans.pop()
            spans.append((begin, start + leading + len(stripped)))
        line_start += len(line) + 1
    return spans


def _continues(before: str, after: str) -> bool:
    """Whether a sentence was taken to end at an abbreviation in its midst."""
    last = before[before.rfind(" ") + 1 :].lower().lstrip("([")
    return last in _NEVER_LAST or (last in _SELDOM_LAST and not after[0].isupper())
