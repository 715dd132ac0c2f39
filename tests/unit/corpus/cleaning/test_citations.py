"""What a removed citation leaves has to read as a sentence, with its brackets in pairs."""

from __future__ import annotations

import random

import pytest

from biobert_scale.corpus.cleaning import citations
from biobert_scale.corpus.cleaning.citations import HOLE
from biobert_scale.corpus.readers.jats import read_jats


def text_of(inner: str) -> str:
    """The text of a paragraph; `<12>` is a link to a reference, `<>` an empty formula."""
    inner = inner.replace("<>", "<inline-formula><inline-graphic/></inline-formula>")
    body = read_jats(f"<article><body><p>{inner}</p></body></article>".encode()).body
    return "\n".join(body)


def cite(number: str, kind: str = "bibr") -> str:
    return f'<xref ref-type="{kind}" rid="r">{number}</xref>'


A, B, C = cite("3"), cite("14"), cite("21")


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (f"mice (two weeks, not four [{A}]) grew", "mice (two weeks, not four) grew"),
        (f"ponds ([{A}]; Fig. 2) froze", "ponds (Fig. 2) froze"),
        (f"dose [LD50; ({A})] rose", "dose [LD50] rose"),
        (f"genes (ZmB3 [{A}, {B}]), and maize (OsC7 [{C}])", "genes (ZmB3), and maize (OsC7)"),
        (f"rose ([{A}], [{B}]) again", "rose again"),
        (f"rose (Fig. 1; see also [{A}] for details)", "rose (Fig. 1)"),
        (f"rose (Fig. 1, [{A}] and [{B}])", "rose (Fig. 1)"),
        (f"rose ({A} and Fig. 1)", "rose (Fig. 1)"),
        (f"rose (see Fig. 1 and [{A}])", "rose (see Fig. 1)"),
        (f"rose (a [b {A}; c (d {B})]) here", "rose (a [b; c (d)]) here"),
        (f"1) rose [{A}]; 2) fell ({B})", "1) rose; 2) fell"),
        (f"yeast and [{A}] and rice grew", "yeast and rice grew"),
        (f"in [0, 1) it rose [{A}]", "in [0, 1) it rose"),
        (f"rose{cite('[3')}{cite(', 4]')} here", "rose here"),
        (f"rose{cite('(1')},{cite('2)')} here", "rose here"),
        (f"rose {cite('[1')}–{cite('3]')} (n = 5)", "rose (n = 5)"),
    ],
)
def test_brackets_stay_in_pairs(inner: str, text: str) -> None:
    assert text_of(inner) == text


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (f"by Roe et al. [{A}]. Then", "by Roe et al. Then"),
        (f"by Roe et al.<sup>{A}</sup>. Then", "by Roe et al. Then"),
        (f"by Roe et al. [{A}], who", "by Roe et al., who"),
        (f"by Roe et al. [{A}] in rats", "by Roe et al. in rats"),
        (f"it rose, [{A}]. Then", "it rose. Then"),
        (f"it rose; [{A}]. Then", "it rose. Then"),
        (f"it rose; {A}, {B}; it fell", "it rose; it fell"),
        (f"Levels rose (reviewed in [{A}]).", "Levels rose."),
        (f"Levels rose (for a recent review see {A}).", "Levels rose."),
        (f"Levels (adapted from {A}) rose.", "Levels rose."),
        (f"Levels ({A}; see also {B}) rose.", "Levels rose."),
        (f"Levels [{A}, and references therein] rose.", "Levels rose."),
        (f"Levels (e.g., {A}; but see {B}) rose.", "Levels rose."),
        (f"by Roe [{A}], Doe [{B}], and [{C}].", "by Roe, Doe."),
        (f"by Roe [{A}] and [{B}].", "by Roe."),
        (f"It rose{A}. {cite('[14]')} It fell.", "It rose. It fell."),
        (f"<>, {A} rose", "rose"),
    ],
)
def test_what_is_left_reads_as_a_sentence(inner: str, text: str) -> None:
    assert text_of(inner) == text


@pytest.mark.parametrize(
    "between", ["‐", "‑", "–", "—", "-", " to ", "/", " &amp; ", " and ", ", ", " or ", ";", " – ", "−"]
)
def test_ranges_and_lists_of_any_writing_go_as_a_whole(between: str) -> None:
    assert text_of(f"Levels [{A}{between}{B}] rose.") == "Levels rose."
    assert text_of(f"Levels<sup>{A}{between}{B}</sup> rose.") == "Levels rose."


@pytest.mark.parametrize(
    "linked",
    [
        f"{cite('1,')} {cite('2')}",
        cite(",3"),
        f"{cite('¹')}{cite('²,³')}",
        cite("1 and 2"),
        cite("refs 1,2"),
        f"{cite('1–')}{cite('3')}",
        f"{cite('1')},<sup>{cite('2')}</sup>",
        f"{cite('1')}{cite('')}{cite('')}-{cite('4')}",
        cite("<sup>5</sup>"),
        cite("1."),
    ],
)
def test_separators_and_raised_digits_inside_the_link(linked: str) -> None:
    assert text_of(f"Hens{linked} laid eggs.") == "Hens laid eggs."


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (f"In [{A}], mice slept.", "In [3], mice slept."),
        (f"as described in [{A}, {B}].", "as described in [3, 14]."),
        (f"according to ref. {A}. Then", "according to ref. 3. Then"),
        (f"It rose. [{A}] showed why.", "It rose. [3] showed why."),
        (f"mice of [ {A} ] and rats", "mice of [3] and rats"),
    ],
)
def test_a_number_that_its_sentence_needs_stays(inner: str, text: str) -> None:
    assert text_of(inner) == text


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ("three kinds (<>, <> and <>) are used", "three kinds are used"),
        ("where <>, <> and x grow", "where and x grow"),
        ("(with [Formula: see text] fixed)", "(with fixed)"),
        ("holds ([Formula: see text]) here", "holds here"),
        (f'beans<xref ref-type="other" rid="n">*</xref> and peas{cite("†", "other")}', "beans and peas"),
        (f"beans<sup>{cite('a', 'other')}</sup> in {cite('Section 2', 'other')}", "beans in Section 2"),
        ("the function g() grows", "the function g() grows"),
        (f"Ions Mg<sup>2+,{A}</sup> and m<sup>2</sup>", "Ions Mg2+ and m2"),
        (f"10<sup>6,{A}</sup> cells", "10^6 cells"),
        (f"as Roe ({cite('2006')}; {cite('2007a')}) said", "as Roe (2006; 2007a) said"),
    ],
)
def test_other_holes_and_what_is_no_citation(inner: str, text: str) -> None:
    assert text_of(inner) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["{} iron ", "([{}] ", "]{} ) ", "{}, and ", "([{}; iron]) ", "] ( {} "])
def test_a_long_paragraph_of_holes_takes_no_time_of_its_square(unit: str) -> None:
    assert text_of(f"Iron {unit.format(A) * 20_000} rose").endswith("rose")
    assert text_of(f"Iron{cite('1' + ' ' * 100_000 + 'x')} rose").endswith("rose")


def test_runs_of_holes_are_found_where_the_pattern_finds_them() -> None:
    draw = random.Random(0)
    pieces = ["\ufffe1\uffff", HOLE, "(", "[", ")", "]", " ", ",", "and", "x", " to ", "-"]
    for _ in range(5000):
        text = "".join(draw.choices(pieces, k=draw.randrange(1, 14)))
        found = [run.span() for run in citations._runs(text)]
        assert found == [run.span() for run in citations._RUN.finditer(text)], text
