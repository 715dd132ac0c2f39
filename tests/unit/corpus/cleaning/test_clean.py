from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.cleaning.clean import clean_text, reject_reason
from biobert_scale.corpus.document import Document

ENGLISH = (
    "Iron in the liver\nThe level of iron in the liver was measured in rats fed with salt, and it was found"
    " to rise by a third."
)
GERMAN = (
    "Eisen in der Leber\nDer Gehalt an Eisen in der Leber wurde bei Ratten gemessen, die Salz erhielten, und"
    " er stieg um ein Drittel."
)
CONFIG = CorpusConfig(minimum_words=10)


def reason(text: str, config: CorpusConfig = CONFIG, **fields: object) -> str | None:
    return reject_reason(Document(**{"id": "pmid:1", "source": "medline", "text": text} | fields), config)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\u00a0b\u2009c \t d", "a b c d"),
        ("e\u0301", "é"),
        ("a\n\n \n b ", "a\nb"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffmark", "softhyphen zerowidth mark"),
        ("bell\x07 \x85next\x0bpage", "bell next page"),
        ("glyph\ue010s \ufffd", "glyphs"),
        ("α-tocopherol 5 \u00b5g·ml⁻¹ <0.05", "α-tocopherol 5 \u03bcg·ml⁻¹ <0.05"),
    ],
)
def test_text_is_normalised(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert "\n\n" not in once and once == once.strip()


@given(
    st.text(
        st.sampled_from(
            "ab \t\n\x07\u00a0\u00ad\u0301e\u200b\u2009\ufb01\uac00\u11a8\ufffc\ufffd\U0001d6fc\U000e0100"
        )
    )
)
def test_lines_that_are_passed_quickly_are_clean(text: str) -> None:
    """The definition, without the shorter way for lines that are clean already."""
    removed = "".join(
        character
        for character in text
        if not re.match("[\x07\u00ad\u200b\ufff0-\uffff\U000e0000-\U0010ffff]", character)
    )
    lines = (" ".join(line.split()) for line in unicodedata.normalize("NFC", removed).split("\n"))
    assert clean_text(text) == "\n".join(line for line in lines if line)


def test_good_document_is_kept() -> None:
    assert reason(ENGLISH) is None


def test_reasons_have_their_fixed_names() -> None:
    assert reason(ENGLISH, id="pmid:") == "no_identifier"
    assert reason(ENGLISH, title_only=True) == "no_abstract"
    assert reason(ENGLISH, title_only=True, source="pmc") == "no_body"
    assert reason("The iron of the liver.\nIt rose.") == "too_short"
    assert reason(GERMAN) == "language"
    assert reason(ENGLISH + " 0.12 (3.4) ± 5.6; [7]" * 20) == "symbol_heavy"


def test_english_abstract_of_a_german_article_is_kept() -> None:
    assert reason(ENGLISH, language="ger") is None


def test_declared_language_does_not_make_a_text_english() -> None:
    assert reason(GERMAN, language="eng") == "language"


def test_other_languages_are_kept_where_configured() -> None:
    config = CorpusConfig(minimum_words=10, languages=("eng", "ger"))
    assert reason(GERMAN, config, language="ger") is None
    assert reason(GERMAN, config, language="fre") == "language"
    assert reason(ENGLISH, CorpusConfig(languages=("ger",)), language="ger") == "language"
