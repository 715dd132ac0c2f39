"""Cleans a document's text, and decides by the document alone whether it is kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.document import Document
from biobert_scale.corpus.sources.selection import is_accepted, plain

# Control characters, invisible formatting, private-use glyphs (symbol fonts), replacement and noncharacters.
# Those that Unicode counts as white space are not here: they separate words.
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufeff\ufff0-\uffff"
    "\U000e0000-\U0010ffff]"
)
_LATE = re.compile("[\ufff0-\U0010ffff]")
# NFC keeps it beside the Greek letter, and a vocabulary would learn each word twice.
_MICRO_SIGN, _GREEK_MU = "\u00b5", "\u03bc"
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_ASCII_WITHOUT_LETTERS = bytes(code for code in range(128) if not chr(code).isalpha())
_MINIMUM_LETTER_SHARE = 0.5
"""Letters among the characters that are not white space, below which a text counts as tables or formulas."""

_JUDGED_CHARACTERS = 20_000
"""A long text is judged by its beginning."""

_ENGLISH = frozenset(
    "the and of to with for were from that by this these which are be been than not have has or it"
    " between their".split()
)
_MINIMUM_ENGLISH_SHARE = 0.05
"""Words of `_ENGLISH` among all, below which a text is not taken for English."""

_MINIMUM_SHARE_AGAINST_DECLARED = 0.12
"""The same for a full text that declares another language: an English abstract before it, and words that are
spelled alike (Dutch `of`, Danish and Norwegian `for`), reach more than 0.05; English full texts 0.2."""


def clean_text(text: str, skip: Collection[str] = ()) -> str:
    """Normalise to NFC, write the micro sign as the Greek letter, drop what has no glyph, collapse white
    space within lines, and drop empty lines.

    Args:
        skip: `normalize` leaves out the first two, `invisible` the third.
    """
    clean = _collapse if "invisible" in skip else _clean_line
    text = "\n".join(filter(None, map(clean, text.split("\n"))))
    if "normalize" in skip:
        return text
    return unicodedata.normalize("NFC", text).replace(_MICRO_SIGN, _GREEK_MU)


def _collapse(line: str) -> str:
    return " ".join(line.split())


def _clean_line(line: str) -> str:
    # Most lines are clean, which this finds faster: of white space only the blank is printable, and of what
    # is removed only late characters.
    is_plain = line.isprintable() and "  " not in line and line == line.strip()
    if is_plain and (line.isascii() or not _LATE.search(line)):
        return line
    return _collapse(_REMOVED.sub("", line))


def count_words(text: str) -> int:
    """Words of a cleaned text: between any two of them is one blank or one line end."""
    return text.count(" ") + text.count("\n") + 1 if text else 0


def reject_reason(document: Document, config: CorpusConfig) -> str | None:
    """Why a cleaned document is left out, judged by itself alone; None where it is kept.

    Returns:
        `no_identifier`, `license`, `retracted`, `publication_type`, `year`, `no_abstract` (MEDLINE: a title
        alone), `no_body` (others: the same), `too_short`, `language`, `symbol_heavy`, or None.
    """
    if document.id.endswith(":"):
        return "no_identifier"
    if unwanted := _unwanted(document, config):
        return unwanted
    skip = document.own.skip if document.own is not None else ()
    if document.title_only or not document.text:
        return "no_abstract" if document.source == "medline" else "no_body"
    if "too_short" not in skip and count_words(document.text) < config.minimum_words:
        return "too_short"
    judged = document.text[:_JUDGED_CHARACTERS]
    if "language" not in skip and not _language_is_kept(document, judged.lower().split(), config):
        return "language"
    if "symbol_heavy" in skip:
        return None
    # Plain letters alone are enough nearly always, and counted ten times as fast.
    enough = ascii_letters(judged) >= _MINIMUM_LETTER_SHARE * len(judged)
    return None if enough or letter_share(judged) >= _MINIMUM_LETTER_SHARE else "symbol_heavy"


def _unwanted(document: Document, config: CorpusConfig) -> str | None:
    """The filter that a record does not pass, whatever its text."""
    if document.source != "medline" and not is_accepted(document.license_name, config.licenses):
        return "license"
    if document.retracted and not config.retracted:
        return "retracted"
    excluded = {plain(name) for name in config.excluded_publication_types}
    if excluded and not excluded.isdisjoint(map(plain, document.publication_types)):
        return "publication_type"
    limited = config.first_year > 0 or config.last_year < 9999
    # A record without a year does not pass: a corpus up to a year has nothing of later ones.
    if limited and not (document.year and config.first_year <= document.year <= config.last_year):
        return "year"
    return None


def _language_is_kept(document: Document, words: list[str], config: CorpusConfig) -> bool:
    """The text itself decides whether it is English; what it is otherwise, the record's declaration says.

    A record's declared language is the article's: an abstract in MEDLINE is English whatever the article is
    written in.
    """
    other_declared = document.source == "pmc" and document.language not in ("", "eng")
    minimum = _MINIMUM_SHARE_AGAINST_DECLARED if other_declared else _MINIMUM_ENGLISH_SHARE
    if english_share(words) >= minimum:
        return "eng" in config.languages
    return any(language in config.languages for language in document.language.split() if language != "eng")


def english_share(words: list[str]) -> float:
    """Share of frequent English function words, rare in similar languages, among lower-case `words`."""
    return sum(map(_ENGLISH.__contains__, words)) / max(len(words), 1)


def ascii_letters(text: str) -> int:
    """Letters A to Z in either case."""
    return len(text.encode("ascii", "ignore").translate(None, _ASCII_WITHOUT_LETTERS))


def letter_share(text: str) -> float:
    """Letters among the characters that are not white space."""
    visible = len(text) - sum(map(text.count, " \n"))
    return len(_NOT_LETTERS.sub("", text)) / max(visible, 1)
