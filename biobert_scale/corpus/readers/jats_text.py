"""Rules for the text of JATS articles: white space and orphaned punctuation, and headings of formalities."""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache

from biobert_scale.corpus.cleaning.citations import HOLE, close_holes, has_holes
from biobert_scale.corpus.cleaning.markup import collapse

_EMPTY_BRACKETS = re.compile(r" (?:\( ?\)|\[ ?\])")
_SPACE_BEFORE_MARK = re.compile(r" ([,;)]|(?<!\. )\.)(?= |$)")
_TO_TIDY = re.compile(r"[,;.)\]](?<=[ (\[].)")
"""Where this (fast) pattern finds nothing, the two above do not either."""

_NOTHING = f"{HOLE} \n\t"
_CAPTION_START = re.compile(r"(?:[:.,;|—]|–(?!\d)|-(?=\s)|\s)+")


def tidy(text: str) -> str:
    """Collapse white space and close the holes that were left in it: `in rats [,].` becomes `in rats.`

    Returns:
        The line; empty where no letter and no digit is left.
    """
    if has_holes(text):
        if not text.strip(_NOTHING):
            return ""
        text = close_holes(text)
    text = collapse(text)
    if not text:
        return ""
    if _TO_TIDY.search(text):
        text = _SPACE_BEFORE_MARK.sub(r"\1", _EMPTY_BRACKETS.sub("", text)).strip()
    return text if text[:1].isalnum() or any(character.isalnum() for character in text) else ""


def without_caption_mark(caption: str) -> str:
    """`: Growth of yeast.` begins with what divided it from its label."""
    mark = _CAPTION_START.match(caption)
    return caption[mark.end() :] if mark else caption


class Formality(IntEnum):
    """What a heading says about its section."""

    NONE = 0
    POSSIBLE = 1
    """Publishers use it, and so do authors: `Funding`, `Consent`."""
    CERTAIN = 2
    """Of the publication, not of the science: `Conflict of interest`."""


_LONGEST_HEADING = 200
_HEADING_NUMBER = re.compile(r"(?:\d+(?:\.\d+)*|[ivx]+)[.)]?\s+|appendix(?: [a-z0-9]{1,2})?[.:]\s+")
_INTERESTS = (
    r"(?:potential |financial |any )*(?:conflicts? of|competing|conflicting|duality of)"
    r"(?: financial)? interests?"
)
_ETHICS = (
    r"(?:(?:research|animal|human) )?(?:ethics|ethical)(?: (?:committee|review|board))?"
    r"(?: (?:approvals?|considerations?|aspects?|issues|standards?|compliance|clearance|permissions?))?"
)
_SUPPLEMENT = (
    r"(?:(?:electronic|online) )?(?:supplementary|supplemental|supporting|supplement)"
    r"(?: (?:materials?|data|information|files?|figures?|tables?)(?: available| \d+)?)?"
)
_SHARED = (
    r"(?:data(?:sets?)?|codes?|software|samples?|(?:supporting |research )?(?:data|materials?)|resources?)"
)
_CERTAIN = "|".join(
    (
        _INTERESTS,
        _ETHICS,
        _SUPPLEMENT,
        r"(?:credit )?(?:authors?|author's|authors'|authors's)[ -]?(?:authorship )?contributions?",
        r"credit (?:authorship )?(?:contributions?|roles?)|authorship(?: contributions?)?",
        r"contributions? (?:by|of) the authors?",
        r"(?:authors?|author's|authors'|authors's)"
        r" (?:information|details|disclosures?|roles?|note|statements?)",
        r"acknowledge?ments?",
        r"funding (?:sources?|support|information|bod(?:y|ies))|sources? of (?:funding|support)",
        r"financial (?:support|disclosures?|interests?)|(?:grant )?sponsorship|grant support",
        r"(?:the )?role of (?:the )?(?:funding (?:sources?|bod(?:y|ies))|funders?|sponsors?)",
        rf"availability of {_SHARED}(?: section)?",
        rf"{_SHARED} (?:availability|accessibility|deposition|sharing)",
        r"(?:list of )?abbreviations(?: used| \(alphabetical order\))?",
        r"reporting summary|pre-?publication history|publisher's note|disclaimer",
        r"institutional review board|(?:written )?informed consent|consent (?:for publication|to participate)"
        r"|consent to publish|patient consent(?: for publication)?",
        r"compliance with ethical standards|(?:provenance and )?peer review|open access",
        r"additional files?(?: \d+)?|literature cited|transparency|declarations? of interests?",
        r"(?:dna|new species|clinical trial|trial|field study|patent)"
        r" (?:deposition|registration|permissions)",
    )
)
_POSSIBLE = (
    r"disclosures?|disclosure of (?:potential )?interests?|funding|funders|consent|references|declarations?"
    r"|contributions?|additional (?:information|data|materials?)|materials?|data|authors?"
)
_STATEMENT = r"(?:statements?|declarations?|disclosures?|statement section)"
_OF = rf"(?:{_STATEMENT} (?:of|on|regarding) (?:the )?)?"
_CERTAIN_PART = re.compile(rf"{_OF}(?:{_CERTAIN})(?: {_STATEMENT})?")
_POSSIBLE_PART = re.compile(rf"{_OF}(?:{_POSSIBLE})(?P<certain> {_STATEMENT})?")
# Every formal heading holds one of these.
_SIGNS = re.compile(
    r"interest|ethic|supp|contribut|author|credit|acknowl|fund|financ|sponsor|grant|avail|access|deposit|sharing"
    r"|abbrev|report|publi|disclaim|institution|consent|compliance|peer|open|addition|literature|transparency"
    r"|declar|registr|permission|disclos|references|statement"
)
_CONJUNCTION = re.compile(r",? and |, |/| ?& ?| or ")
_LONE_NOUN = re.compile(
    r"(?:materials?|data|authors?)"
)  # formal only beside others: `Data and code availability`


@lru_cache(maxsize=4096)  # most articles have the same headings
def formality(heading: str) -> Formality:
    """Whether a heading such as `5. Funding and conflicts of interest:` is that of a formal section."""
    if len(heading) > _LONGEST_HEADING:
        return Formality.NONE
    plain = " ".join(heading.lower().replace("’", "'").split()).strip(".:* ")
    if not _SIGNS.search(plain):
        return Formality.NONE
    if number := _HEADING_NUMBER.match(plain):
        plain = plain[number.end() :]
    if found := _part(plain):
        return Formality.NONE if _LONE_NOUN.fullmatch(plain) else found
    parts = _CONJUNCTION.split(plain)
    kinds = [_part(part) for part in parts]
    if not min(kinds) or (max(kinds) < Formality.CERTAIN and any(map(_LONE_NOUN.fullmatch, parts))):
        return Formality.NONE
    return max(kinds)


def _part(text: str) -> Formality:
    if _CERTAIN_PART.fullmatch(text):
        return Formality.CERTAIN
    if found := _POSSIBLE_PART.fullmatch(text):
        return Formality.CERTAIN if found["certain"] else Formality.POSSIBLE
    return Formality.NONE


_METHODS = re.compile(r"method|material|procedure|experimental|patients|subjects|participants", re.I)
_OF_METHODS = re.compile(r"ethic|institutional review|consent statement|availability|accessib|role of", re.I)


def in_methods(parent: str, heading: str) -> bool:
    """Among the methods stand statements on ethics and on data."""
    return _METHODS.search(parent) is not None and _OF_METHODS.search(heading) is not None


# The same in a paragraph without a heading.
_FORMAL_BEGINNING = re.compile(
    r"(?:funding|conflicts? of interests?|competing interests?|authors?['’]?s?['’]? contributions?)"
    r"(?: statements?)?[:.] ?",
    re.I,
)
_FORMAL_WORDS = re.compile(
    r"\b(?:none|nil|no|not|nothing|declar\w*|disclos\w*|authors?|grants?|funds?|funded|support\w*|foundation"
    r"|award\w*|consult\w*|employ\w*|honoraria|fees|shares|stock|received?|contribut\w*|conceived|designed"
    r"|wrote|drafted|analy[sz]ed|n/a|[A-Z]\.? ?[A-Z]\.)(?!\w)"
)


def is_formal_line(line: str) -> bool:
    """A paragraph such as `Conflict of Interest: none declared.`, but not one about clinics."""
    beginning = _FORMAL_BEGINNING.match(line)
    return beginning is not None and _FORMAL_WORDS.search(line, beginning.end()) is not None
