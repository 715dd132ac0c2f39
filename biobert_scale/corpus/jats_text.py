"""Rules for the text of JATS articles: the holes that numbered citations leave, and headings of
formalities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from biobert_scale.corpus.markup import HOLE, collapse

_RUN = rf"{HOLE}(?:[\s,;:–‒−-]*(?:and |& )?{HOLE})*"
_OPENING = r"[\[(]{1,2}\s?(?:refs?\.? ?|references? |see |e\.g\.,? )?"
_IN_BRACKETS = rf"{_OPENING}{_RUN}[\s,;.]*[\])]{{1,2}}"
_BRACKETED_HOLES = re.compile(rf"{_IN_BRACKETS}(?:[,;–‒−-]?\s?{_IN_BRACKETS})*")
_BEFORE_HOLE = re.compile(rf"{_OPENING}\Z")
_LONGEST_OPENING = 16
_BARE_HOLES = re.compile(_RUN)
_AFTER_OPENING = re.compile(r"([\[(])\s*[,;]\s*")
_BEFORE_CLOSING = re.compile(r"\s*[,;]\s*([\])])")
_EMPTY_BRACKETS = re.compile(r" (?:\( ?\)|\[ ?\])")
_SPACE_BEFORE_MARK = re.compile(r" ([,;.)])(?= |$)")
# Where this finds nothing, none of the four patterns above does. It begins with a set of characters, which is
# looked for quickly.
_TO_TIDY = re.compile(r"[\[(,;.)](?:(?<= .)(?= |$)|(?<=[\[(,;]) *[,;\])])")
# At most three digits: a year alone ("Smith et al., 2006" with the year linked) is read with the sentence.
_CITATION_NUMBER = re.compile(
    r"[\[(]?\s*[A-Z]?\d{1,3}[a-z]?(?:[\s,;–‒−-]+[A-Z]?\d{1,3}[a-z]?)*\s*[\])]?|[*†‡§¶#]*"
)

# Sections that tell of the publication, not of the science. Matched against a heading in lower case, without
# its number, its final colon or full stop, and with plain apostrophes.
_LONGEST_HEADING = 200
_HEADING_NUMBER = re.compile(r"(?:\d+(?:\.\d+)*|[IVX]+)[.)]?\s+")
_FORMALITY = re.compile(
    "|".join(
        [
            r"(?:(?:statements?|declarations?|disclosures?) of )?(?:potential )?"
            r"(?:conflicts? of|competing|conflicting)(?: financial)? interests?",
            (
                r"(?:(?:conflicts? of|competing) interests?|disclosure)"
                r" (?:statements?|disclosures?|declarations?)"
            ),
            r"declarations?(?: of (?:competing )?interests?)?",
            r"disclosures?",
            r"(?:authors?|author's|authors')[ -]contributions?(?: statements?)?",
            r"contributions? (?:by|of) the authors?",
            r"authors' information",
            r"acknowledge?ments?",
            r"(?:sources? of )?funding(?: (?:sources?|statements?|information))?",
            r"financial (?:support|disclosure)",
            (
                r"(?:electronic |online )?(?:supplementary|supplemental|supporting|additional)"
                r" (?:materials?|data|information|files?)(?: \d+)?"
            ),
            (
                r"availability of (?:data and materials?|supporting data(?: and materials?|"
                r" section)?|data|materials?)"
            ),
            r"data (?:and materials? )?(?:availability|accessibility)(?: statements?)?",
            r"(?:list of )?abbreviations(?: used| \(alphabetical order\))?",
            r"reporting summary",
            r"ethic(?:s|al)? (?:statements?|approval(?: and consent to participate)?)",
            r"consent(?: for publication| statement)?",
            r"pre-?publication history",
            r"publisher's note",
            r"references|literature cited",
        ]
    )
)


# The same told in a paragraph without a heading.
_FORMAL_BEGINNINGS = tuple(
    f"{subject}{mark}"
    for subject in (
        "Funding",
        "Conflict of interest",
        "Conflict of Interest",
        "Conflicts of interest",
        "Conflicts of Interest",
        "Competing interests",
        "Competing Interests",
        "Author contributions",
        "Author Contributions",
        "Authors' contributions",
        "Authors’ contributions",
    )
    for mark in (":", ".", " statement:")
)


def is_formal_line(line: str) -> bool:
    """A paragraph such as `Conflict of Interest: none declared.`"""
    return line.startswith(_FORMAL_BEGINNINGS)


@lru_cache(maxsize=4096)  # most articles have the same headings
def is_formality(heading: str) -> bool:
    """A heading such as `5. Conflict of Interest:` stands over what tells of the publication, not of the
    science."""
    if len(heading) > _LONGEST_HEADING:
        return False
    number = _HEADING_NUMBER.match(heading)
    return (
        _FORMALITY.fullmatch(heading[number.end() if number else 0 :].lower().replace("’", "'").rstrip(".: "))
        is not None
    )


@lru_cache(maxsize=4096)  # the same small numbers over and over
def is_citation_number(text: str) -> bool:
    (
        """`[3]`, `1,4-6`, `S2` and `†` are numbers of references; `Smith et al.` and `2006` are read with the
    sentence."""
        ""
    )
    return _CITATION_NUMBER.fullmatch(text.strip()) is not None


def tidy(text: str) -> str:
    """Collapse white space and close the holes that numbered citations leave: `in rats [,].` becomes `in
    rats.`

    Returns:
        The line; empty where no letter and no digit is left.
    """
    text = collapse(text)
    if not text:
        return ""
    holes = HOLE in text
    if holes:
        text = _close(_bracketed_holes(text), text)
        if HOLE in text:
            text = _close(_BARE_HOLES.finditer(text), text)
        text = text.strip()
    if _TO_TIDY.search(text):
        if holes:
            text = _BEFORE_CLOSING.sub(r"\1", _AFTER_OPENING.sub(r"\1", text)).strip()
        text = _SPACE_BEFORE_MARK.sub(r"\1", _EMPTY_BRACKETS.sub("", text))
    return text if text[:1].isalnum() or any(character.isalnum() for character in text) else ""


def _bracketed_holes(text: str) -> Iterator[re.Match[str]]:
    """The matches of `_BRACKETED_HOLES`: brackets are looked for in front of holes only, since other brackets
    are many."""
    position, hole = 0, text.find(HOLE)
    while hole >= 0:
        opening = _BEFORE_HOLE.search(text, max(position, hole - _LONGEST_OPENING), hole)
        found = _BRACKETED_HOLES.match(text, opening.start()) if opening is not None else None
        if found is not None:
            yield found
        position = found.end() if found is not None else hole + 1
        hole = text.find(HOLE, position)


def _close(holes: Iterable[re.Match[str]], text: str) -> str:
    """Take out each match and one space before it.

    Two words do not grow together: `as described by[13]but` becomes `as described by but`.
    """
    pieces, position = [], 0
    for hole in holes:
        start, end = hole.span()
        if start > position and text[start - 1] == " ":
            start -= 1
        pieces.append(text[position:start])
        if text[end : end + 1].isalnum():
            pieces.append(" ")
        position = end
    pieces.append(text[position:])
    return "".join(pieces)
