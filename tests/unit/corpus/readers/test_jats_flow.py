"""What of a full text is read, what is left out, and what is in its place."""

from __future__ import annotations

import pytest

from biobert_scale.corpus.readers.jats import read_jats


def body_of(body: str, after: str = "", attributes: str = "") -> tuple[str, ...]:
    return read_jats(f"<article {attributes}><body>{body}</body>{after}</article>".encode()).body


def section(title: str, content: str) -> str:
    return f"<sec><title>{title}</title>{content}</sec>"


@pytest.mark.parametrize(
    "dropped",
    [
        "<disp-formula><math><mi>y</mi></math></disp-formula>",
        "<fn><p>Note.</p></fn>",
        "<fig><graphic/></fig>",
        "<table-wrap><table><tr><td>5</td></tr></table></table-wrap>",
        "<inline-graphic/>",
        "<supplementary-material/>",
        "<private-char><glyph-data>0101</glyph-data></private-char>",
        "<index-term><term>zinc</term></index-term>",
        "<code>x=1</code>",
        "<preformat>x=1</preformat>",
        "<x> </x>",
    ],
)
def test_words_beside_what_is_left_out_do_not_grow_together(dropped: str) -> None:
    assert body_of(f"<p>a model{dropped}where y is</p>") == ("a model where y is",)
    assert body_of(f"<p>a model {dropped}, where y is</p>") == ("a model, where y is",)


@pytest.mark.parametrize(
    ("inner", "line"),
    [
        (
            "Used: <abbrev>Kb<def><p>– kilobase</p></def></abbrev>,"
            " <abbrev>Mb<def><p>– megabase</p></def></abbrev>.",
            "Used: Kb – kilobase, Mb – megabase.",
        ),
        (
            "(see <inline-supplementary-material>Appendix B</inline-supplementary-material>)",
            "(see Appendix B)",
        ),
        ("The films (<media>Film 1</media>) show it.", "The films (Film 1) show it."),
        ("cells<x>,</x><x> </x>too", "cells, too"),
    ],
)
def test_inline_text_is_read_in_its_sentence(inner: str, line: str) -> None:
    assert body_of(f"<p>{inner}</p>") == (line,)


def test_text_directly_in_the_body_is_read() -> None:
    assert body_of("Bare words. <p>Iron.</p>Bare end.") == ("Bare words.", "Iron.", "Bare end.")


def test_figures_and_appendices_of_the_back_matter_are_read() -> None:
    after = (
        "<back><ref-list><ref>Doe</ref></ref-list><ack><p>Thanks.</p></ack>"
        "<app-group><app><title>Appendix A</title><p>We derive it.</p>"
        "<ref-list><ref>Roe</ref></ref-list></app>"
        "<app><title>Appendix B. Supplementary data</title><p>Not this.</p></app></app-group>"
        "<sec><title>Online methods</title><p>Mice were fed.</p></sec>"
        "<sec><title>Funding</title><p>Not this.</p></sec>"
        "<notes><title>Author contributions</title><p>Not this.</p></notes>"
        "<notes><p>Not this.</p></notes>"
        "<sec sec-type='display-objects'><title>Figures and Tables</title>"
        "<fig><caption><p>: Growth of moss.</p></caption></fig></sec>"
        "<ref-list><ref>Poe</ref></ref-list></back>"
        "<floats-group><fig><caption><p>— Moss in rain.</p></caption></fig></floats-group>"
    )
    assert body_of("<p>Text.</p>", after) == (
        "Text.",
        "Appendix A",
        "We derive it.",
        "Online methods",
        "Mice were fed.",
        "Growth of moss.",
        "Moss in rain.",
    )


@pytest.mark.parametrize("mark", [": ", ". ", "| ", "— ", "—", "–", "- "])
def test_captions_do_not_begin_with_what_divided_them_from_their_label(mark: str) -> None:
    assert body_of(f"<fig><label>Fig. 1</label><caption><p>{mark}Moss.</p></caption></fig>") == ("Moss.",)


def test_captions_of_films_are_read() -> None:
    film = "<media><label>Film 1</label><caption><title>Moss in wind.</title></caption></media>"
    assert body_of(f"<p>It grows.</p>{film}") == ("It grows.", "Moss in wind.")


@pytest.mark.parametrize(
    "title",
    [
        "Financial support and sponsorship",
        "Ethical considerations",
        "Ethics",
        "Code availability",
        "CRediT authorship contribution statement",
        "Data and code availability",
        "Institutional Review Board Statement",
        "Conflict of interest and funding",
        "Consent to participate",
        "6. Role of the funding source",
        "Funding",
        "Disclosure",
    ],
)
def test_formal_sections_at_the_end_are_left_out(title: str) -> None:
    assert body_of("<p>Text.</p>" + section(title, "<p>Nil.</p>")) == ("Text.",)
    assert body_of("<p>Text.</p>", f"<back>{section(title, '<p>Nil.</p>')}</back>") == ("Text.",)


@pytest.mark.parametrize(
    "title", ["Funding", "Disclosure", "Consent", "References", "Additional data", "Conflict of interest"]
)
def test_science_under_a_formal_heading_stays(title: str) -> None:
    science = section(title, "<p>Half of the clinics had none.</p>")
    kept = (title, "Half of the clinics had none.")
    assert body_of(section("Results", science + section("Stigma", "<p>Shame.</p>")))[1:3] == kept
    if title != "Conflict of interest":
        assert body_of(science + section("Stigma", "<p>Shame.</p>"))[:2] == kept


def test_a_formal_heading_over_sections_of_science_hides_nothing() -> None:
    inner = section("Data analysis", "<p>Salt differed.</p>")
    assert body_of(section("Additional information", inner)) == (
        "Additional information",
        "Data analysis",
        "Salt differed.",
    )


def test_ethics_among_the_methods_are_formal_if_short() -> None:
    def methods(words: int) -> tuple[str, ...]:
        ethics = section("Ethics statement", f"<p>{'word ' * words}</p>")
        return body_of(section("Methods", ethics + section("Mice", "<p>Fed.</p>")))

    assert methods(50) == ("Methods", "Mice", "Fed.")
    assert len(methods(500)) == 5


def test_paragraphs_that_only_begin_like_a_statement_stay() -> None:
    lines = ("Funding: who pays for nets is unclear.", "Conflict of interest. Here we see how nurses think.")
    assert body_of("".join(f"<p>{line}</p>" for line in lines)) == lines
    assert body_of("<p>Text.</p><p>Funding: Supported by a fund.</p>") == ("Text.",)


TRANSLATED = """<article xml:lang="pt"><front><article-meta><article-id pub-id-type="pmid">7</article-id>
<title-group><article-title>O ferro</article-title></title-group></article-meta></front>
<body><p>Uma escola.</p></body><sub-article article-type="translation" xml:lang="en"><front-stub>
<title-group><article-title>Iron</article-title></title-group><abstract><p>Short.</p></abstract></front-stub>
<body><p>A school.</p></body><back><app-group><app><p>More.</p></app></app-group></back>
</sub-article></article>"""


def test_the_translation_is_read_where_the_article_is_in_no_kept_language() -> None:
    article = read_jats(TRANSLATED.encode())
    assert (article.pmid, article.language, article.title) == ("7", "eng", "Iron")
    assert (article.abstract, article.body) == (("Short.",), ("A school.", "More."))
    kept = read_jats(TRANSLATED.encode(), languages=("por", "eng"))
    assert (kept.language, kept.title, kept.body) == ("por", "O ferro", ("Uma escola.",))


def test_tables_and_references_are_cut_without_their_neighbours() -> None:
    table = "<table-wrap><caption><p>Counts.</p></caption><table><tr><td>5</td></tr></table></table-wrap>"
    assert body_of(f"<p>One.</p>{table}<p>Two.</p>{table}<p>Three.</p>") == (
        "One.",
        "Counts.",
        "Two.",
        "Counts.",
        "Three.",
    )
    nested = "<table><tr><td><table><tr><td>5</td></tr></table></td></tr></table>"
    assert body_of(f"<p>One.</p><table-wrap>{nested}</table-wrap><p>Two.</p>") == ("One.", "Two.")
    hidden = "<!-- <table> --><p>One.</p><table-wrap><table><tr/></table></table-wrap><p>Two.</p>"
    assert body_of(hidden) == ("One.", "Two.")


@pytest.mark.parametrize(
    ("code", "language"), [("no", "nor"), ("nb", "nor"), ("xx", "und"), ("en-GB", "eng")]
)
def test_declared_languages(code: str, language: str) -> None:
    assert read_jats(f'<article xml:lang="{code}"><body/></article>'.encode()).language == language
