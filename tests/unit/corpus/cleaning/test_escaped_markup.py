"""Markup that was escaped once too often, and entities without a DTD, read as their authors meant them."""

from __future__ import annotations

import io
from html import escape

import pytest

from biobert_scale.corpus.cleaning.markup import collapse, joined
from biobert_scale.corpus.readers.jats import read_jats
from biobert_scale.corpus.readers.medline import MedlineRecord, read_medline

TYPES = ["", '<?xml version="1.0"?>\n', '<!DOCTYPE x PUBLIC "-//N//D" "x.dtd">', "\ufeff"]


def medline(text: str, *, title: str = "", label: str = "", head: str = "") -> MedlineRecord:
    inner = (
        f"<ArticleTitle>{title}</ArticleTitle><Abstract><AbstractText{label}>{text}</AbstractText></Abstract>"
    )
    citation = f"<MedlineCitation><PMID>7</PMID><Article>{inner}</Article></MedlineCitation>"
    content = f"{head}<MedlineCitationSet>{citation}</MedlineCitationSet>"
    return next(read_medline(io.BytesIO(content.encode())))


def jats(text: str, *, title: str = "", head: str = "", abstract: str = "") -> tuple[str, tuple[str, ...]]:
    meta = f"<article-meta><title-group>{title}</title-group>{abstract}</article-meta>"
    content = f"{head}<article><front>{meta}</front><body><p>{text}</p></body></article>"
    article = read_jats(content.encode())
    return article.title, (*article.abstract, *article.body)


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        ("p &lt; 0.05 &amp; so", "p < 0.05 & so"),
        ("p &amp;lt; 0.05", "p < 0.05"),
        ("p &amp;amp;lt; 0.05", "p < 0.05"),
        ("p & lt; 0.05", "p < 0.05"),
        ("EGFR&mdash;TK", "EGFR—TK"),
        ("5 &#xb5;g &#181;g of &#945;-amylase", "5 µg µg of α-amylase"),
        ("&#150;5&nbsp;C", "–5 C"),
        ("Ca<sup>2+</sup> in <i>E. coli</i><br/>and", "Ca2+ in E. coli and"),
        ("Ca&lt;sup&gt;2+&lt;/sup&gt;", "Ca2+"),
        ("<b><i>Hens</i></b> of <span class='x y' id=\"z\">farms</span>", "Hens of farms"),
        ("<p>Hens.</p><P>Eggs.</P>", "Hens. Eggs."),
        ("5-HT<inf>7</inf>", "5-HT7"),
        ("<mml:math xmlns:mml='u'><mml:mi>x</mml:mi></mml:math>", "x"),
        # notes on what NLM left out
        ("We show [Formula: see text], whereas [Formula: see text]- and ([Formula: see text]) rise.",
         "We show, whereas and rise."),
        ("the [symbol: see text]-means of [formula: see text]was[Formula: see text].", "the means of was."),
        ("the sum ([F: see text], [F: see text]), of rises (all, [F: see text]), and of [F: see text],"
         " [F: see text] and 5 .5 [F: see text].", "the sum, of rises (all), and of, and 5 .5."),
    ],
)  # fmt: skip
def test_what_was_escaped_twice_is_read_as_meant(escaped: str, plain: str) -> None:
    assert collapse(escaped) == plain
    assert medline(escape(escaped), title=escape(escaped)).abstract == (plain,)
    assert jats(escape(escaped))[1] == (plain,)


@pytest.mark.parametrize(
    "text",
    [
        "AT&T, R&D, A&T; and AT&T;",
        "salt & pepper; hens & eggs",
        "P<0.001 then >5, p < 0.05 and q > 0.1",
        "a <b and c> d",
        "the mean <i> of <x> and the <title> tag",
        "if a<b>c or i<s>u",
        "we see text and see [12]",
        "&unknown; &lt &;",
    ],
)
def test_what_only_looks_like_markup_is_text(text: str) -> None:
    assert collapse(text) == text
    assert medline(escape(text)).abstract == (text,)
    assert jats(escape(text))[1] == (text,)


def test_many_levels_end_soon() -> None:
    assert collapse("&amp;" + "amp;" * 20_000)
    assert collapse("<i>" * 20_000 + "x" + "</i>" * 20_000)
    assert collapse("<p" * 20_000 + " a=b" * 20_000)


@pytest.mark.parametrize("head", TYPES)
def test_named_entities_need_no_dtd(head: str) -> None:
    text = "IL-1&beta;, 5&nbsp;&micro;g<i>&alpha;&minus;</i>1 &nosuch;&amp; so"
    plain = "IL-1β, 5 µgα−1 & so"
    assert medline(text, title="IL-1&beta;.", head=head).abstract == (plain,)
    assert medline(text, title="IL-1&beta;.", head=head).title == "IL-1β."
    title = "<article-title>IL-1&beta;</article-title>"
    assert jats(text, title=title, head=head) == ("IL-1β", (plain,))


def test_named_entities_in_formulas_are_read() -> None:
    math = "<math><mi>&alpha;</mi><mo>&minus;</mo><mn>1</mn></math>"
    head = '<!DOCTYPE x SYSTEM "x.dtd">'
    assert medline(f"of {math}", head=head).abstract == ("of α−1",)
    assert jats(f"of {math}", head=head)[1] == ("of α−1",)


@pytest.mark.parametrize(
    ("heading", "text", "line"),
    [
        ("Iron", "a study", "Iron: a study"),
        ("Iron:", "a study", "Iron: a study"),
        ("Iron.", "A study", "Iron: A study"),
        ("Iron –", "a study", "Iron: a study"),
        ("Iron", ": a study", "Iron: a study"),
        ("A study?", "b", "A study? b"),
        ("A study!", "b", "A study! b"),
        ("What is known?:", "b", "What is known? b"),
        ("Iron:", "", "Iron"),
        ("--", "b", "b"),
    ],
)
def test_a_heading_and_its_text_are_joined_by_one_mark(heading: str, text: str, line: str) -> None:
    assert joined(heading, text) == line


def test_titles_and_labels_are_joined_by_one_mark() -> None:
    assert medline("Found.", label=' Label="Results."').abstract == ("Results: Found.",)
    assert medline("Found.", label=' Label="What is new?"').abstract == ("What is new? Found.",)
    title = "<article-title>Iron:</article-title><subtitle>a study</subtitle>"
    abstract = "<abstract><sec><title>What is new?</title><p>Found.</p></sec></abstract>"
    assert jats("Body.", title=title, abstract=abstract) == (
        "Iron: a study",
        ("What is new? Found.", "Body."),
    )
    assert jats("Body.", title="<article-title>Iron?</article-title>")[0] == "Iron?"


def test_an_exponent_that_was_escaped_twice_is_one() -> None:
    escaped = "10&lt;sup&gt;6&lt;/sup&gt; cells, 5 &lt;sup&gt;2+&lt;/sup&gt; and Ca&lt;sup&gt;2+&lt;/sup&gt;"
    assert collapse(escaped) == "10^6 cells, 5 2+ and Ca2+"
