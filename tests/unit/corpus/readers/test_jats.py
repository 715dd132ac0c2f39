from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.readers.jats import JatsArticle, read_jats, read_jats_set

META = "<title-group><article-title>Iron</article-title></title-group>"


def read(
    body: str = "", *, meta: str = META, after: str = "", attributes: str = "", captions: bool = True
) -> JatsArticle:
    namespaces = 'xmlns:mml="http://www.w3.org/1998/Math/MathML" xmlns:xlink="http://www.w3.org/1999/xlink"'
    content = (
        f"<article {namespaces}"
        f" {attributes}><front><article-meta>{meta}</article-meta></front><body>{body}"
        f"</body>{after}</article>"
    )
    return read_jats(content.encode(), captions=captions)


def line(inner: str) -> str:
    body = read(f"<p>{inner}</p>").body
    assert len(body) == 1
    return body[0]


def cite(text: str) -> str:
    return f'<xref ref-type="bibr" rid="r">{text}</xref>'


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (f"Iron rises [{cite('1')}, {cite('2')}].", "Iron rises."),
        (f"Iron rises<sup>{cite('1')},{cite('4')}–{cite('6')}</sup>.", "Iron rises."),
        (f"Iron rises.{cite('14 15')} It falls.", "Iron rises. It falls."),
        (f"as said by{cite('[3]')}but not", "as said by but not"),
        (f"in iron [{cite('1')}],[{cite('8')}],[{cite('42')}]; so", "in iron; so"),
        (f"in iron [[{cite('1')}, {cite('2')}]].", "in iron."),
        (
            f"iron ({cite('Doe et al., 2010')}; {cite('Roe, 2011')}) rose",
            "iron (Doe et al., 2010; Roe, 2011) rose",
        ),
        (f"iron (Doe et al., {cite('2010a')}) rose", "iron (Doe et al., 2010a) rose"),
        (f"iron ({cite('5')}, Table 1) rose", "iron (Table 1) rose"),
        ('see <xref ref-type="fig" rid="f">Fig. 2</xref>.', "see Fig. 2."),
        ('iron<xref ref-type="fn" rid="f">a</xref> rose', "iron rose"),
        ("10<sup>-3</sup> of CO<sub>2</sub> in <italic>E. coli</italic>", "10^-3 of CO2 in E. coli"),
        ("grows with <inline-formula><tex-math>\\alpha</tex-math></inline-formula> here", "grows with here"),
        (
            (
                "if <inline-formula><alternatives><tex-math>x^2</tex-math><mml:math><mml:msup>"
                "<mml:mi>x</mml:mi><mml:mn>2</mml:mn></mml:msup></mml:math></alternatives></inline-formula>"
                " grows"
            ),
            "if x2 grows",
        ),
        (
            "given by <disp-formula><tex-math>y</tex-math><label>(1)</label></disp-formula> where y is",
            "given by where y is",
        ),
        ("flour (<inline-graphic/>), water", "flour, water"),
        ("the function f() is", "the function f() is"),
    ],
)
def test_inline_text_stays_readable(inner: str, text: str) -> None:
    assert line(inner) == text


def test_sections_keep_their_order_and_headings() -> None:
    body = (
        "<p>Lead.</p><sec><label>1</label><title>Methods</title><p>One.</p><sec><title>Mice</title><p>Two.</p></sec></sec>"
        "<sec><title>Empty</title></sec>"
    )
    assert read(body).body == ("Lead.", "Methods", "One.", "Mice", "Two.")


@pytest.mark.parametrize(
    "heading",
    [
        "Funding",
        "5. Conflict of Interest",
        "Competing interests",
        "Authors’ contributions",
        "Supplementary Material",
        "Data availability statement",
        "Declaration of Competing Interest",
        "Acknowledgements:",
        "IV. Abbreviations",
        "Conflict of interest statement",
    ],
)
def test_formalities_are_left_out(heading: str) -> None:
    assert read(f"<p>Kept.</p><sec><title>{heading}</title><p>Not this.</p></sec>").body == ("Kept.",)


@pytest.mark.parametrize(
    "heading",
    ["Conflict between cells", "Data", "Funding of clinics in rural areas", "Materials and methods"],
)
def test_science_under_similar_headings_stays(heading: str) -> None:
    assert read(f"<sec><title>{heading}</title><p>This.</p></sec>").body == (heading, "This.")


def test_captions_follow_their_paragraph_and_tables_are_left_out() -> None:
    body = (
        "<p>Before <fig><label>Fig. 1</label><caption><title>Cells.</title><p>Bar, 1"
        " mm.</p></caption><graphic/></fig>and after.</p>"
        "<table-wrap><label>T1</label><caption><p>Counts.</p></caption><table><tr><td>17</td></tr></table>"
        "<table-wrap-foot><p>Footnote.</p></table-wrap-foot></table-wrap><p>Next.</p>"
    )
    assert read(body).body == ("Before and after.", "Cells. Bar, 1 mm.", "Counts.", "Next.")
    assert read(body, captions=False).body == ("Before and after.", "Next.")


def test_lists_inside_paragraphs_become_lines() -> None:
    inner = (
        "Two kinds:<list><list-item><label>1</label><p>red</p></list-item><list-item><p>blue</p>"
        "</list-item></list>in"
        " all."
    )
    assert read(f"<p>{inner}</p>").body == ("Two kinds:", "red", "blue", "in all.")


def test_back_matter_and_sub_articles_are_left_out() -> None:
    after = (
        "<back><ref-list><ref><mixed-citation>Doe"
        " 2010</mixed-citation></ref></ref-list><ack><p>Thanks.</p></ack></back>"
    )
    after += "<sub-article><front-stub/><body><p>Decision letter.</p></body></sub-article>"
    meta = (
        META + "<permissions><license><license-p>CC"
        " BY</license-p></license></permissions><contrib-group><p>Doe</p></contrib-group>"
    )
    article = read("<p>Text.<fn><p>Note.</p></fn></p>", meta=meta, after=after)
    assert (article.title, article.abstract, article.body) == ("Iron", (), ("Text.",))


def test_structured_abstracts_read_as_medlines_do() -> None:
    meta = (
        META + "<abstract><title>Abstract</title><sec><title>Aims:</title><p>To"
        " look.</p><p>More.</p></sec><p>Bare.</p><sec><title>Contact:</title><p>a@b.c</p></sec>"
        "</abstract><abstract"
        ' abstract-type="graphical"><p>Picture.</p></abstract><trans-abstract'
        ' xml:lang="es"><p>Suyo.</p></trans-abstract>'
    )
    assert read(meta=meta).abstract == ("Aims: To look.", "More.", "Bare.")


@pytest.mark.parametrize(("kind", "value"), [("pmc", "12"), ("pmcid", "PMC12"), ("pmc", "PMC12")])
def test_identifiers_and_language(kind: str, value: str) -> None:
    meta = (
        '<article-id pub-id-type="pmid">7</article-id><article-id'
        f' pub-id-type="{kind}">{value}</article-id>{META}'
    )
    article = read(meta=meta, attributes='xml:lang="de"')
    assert (article.pmid, article.pmcid, article.language) == ("7", "PMC12", "ger")


def test_subtitle_and_footnote_in_title() -> None:
    meta = (
        '<title-group><article-title>Iron<xref ref-type="fn" rid="x">*</xref></article-title><subtitle>a'
        " study</subtitle></title-group>"
    )
    assert read(meta=meta).title == "Iron: a study"


def test_external_entities_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    content = (
        "<!DOCTYPE article [<!ENTITY x SYSTEM"
        f' "{secret.as_uri()}">]><article><body><p>A&x;B</p></body></article>'
    )
    assert read_jats(content.encode()).body == ("A B",)


def test_a_wrapper_gives_all_its_articles_and_no_sub_article() -> None:
    def article(number: int, after: str = "") -> str:
        meta = f'<article-meta><article-id pub-id-type="pmc">{number}</article-id></article-meta>'
        references = "<back><ref-list><ref>Doe</ref></ref-list></back>"
        return (
            f"<article><front>{meta}</front><body><p>Text {number}.</p></body>{references}{after}</article>"
        )

    review = (
        "<sub-article><front-stub/><body><p>Decision"
        " letter.</p></body></sub-article><response><body><p>Reply.</p></body></response>"
    )
    content = f"<pmc-articleset>{article(1, review)}{article(2)}</pmc-articleset>".encode()
    assert [(item.pmcid, item.body) for item in read_jats_set(content)] == [
        ("PMC1", ("Text 1.",)),
        ("PMC2", ("Text 2.",)),
    ]
    assert read_jats(content).pmcid == "PMC1"
    assert [item.pmcid for item in read_jats_set(article(3).encode())] == ["PMC3"]


@pytest.mark.parametrize(
    "after",
    [
        "<floats-group><fig><caption><p>Cells.</p></caption></fig></floats-group><back><ref-list/></back>",
        "<back><ref-list><ref/></ref-list><sec><ref-list><ref-list/></ref-list></sec></back><floats-group><fig><caption><p>Cells.</p></caption></fig></floats-group>",
        "<back><ref-list><ref/></ref-list></back><floats-group><fig><caption><p>Cells.</p></caption></fig></floats-group><sub-article><back><ref-list></ref-list></back></sub-article>",
        (
            "<!-- <ref-list"
            " --><floats-group><fig><caption><p>Cells.</p></caption></fig></floats-group><back>"
            "<ref-list></ref-list></back><!-- -->"
        ),
    ],
)
def test_taking_out_the_references_takes_nothing_else(after: str) -> None:
    assert read("<p>Text.</p>", after=after).body == ("Text.", "Cells.")


def test_formal_paragraphs_without_a_heading_are_left_out() -> None:
    assert read(
        "<p>Text.</p><p>Conflict of Interest: none declared.</p><p>Funding: A fund.</p><p>Funding was"
        " rare.</p>"
    ).body == (
        "Text.",
        "Funding was rare.",
    )


def test_deep_nesting_and_swelling_entities_are_refused() -> None:
    with pytest.raises(etree.XMLSyntaxError, match="depth"):
        read("<sec>" * 5000 + "</sec>" * 5000)
    assert read("<p>" * 200 + "deep" + "</p>" * 200).body == ("deep",)
    entities = '<!ENTITY e0 "iron">' + "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    with pytest.raises(etree.XMLSyntaxError, match="amplification"):
        read_jats(
            f"<!DOCTYPE article [{entities}]><article><body><p id='&e9;'>x</p></body></article>".encode()
        )


def test_the_external_dtd_is_not_read(tmp_path: Path) -> None:
    dtd = tmp_path / "x.dtd"
    dtd.write_text('<!ENTITY secret "SECRET">')
    content = (
        f'<!DOCTYPE article SYSTEM "{dtd.as_uri()}" [<!ENTITY % p SYSTEM "{dtd.as_uri()}">'
        " %p;]><article><body><p>A&secret;B</p></body></article>"
    )
    assert read_jats(content.encode()).body == ("A B",)


def test_what_is_no_article_is_refused() -> None:
    with pytest.raises(ValueError, match="html"):
        read_jats(b"<html/>")
    with pytest.raises(etree.XMLSyntaxError):
        read_jats(b"<article><body>")


def test_real_articles_hold_no_leftovers(real_data: Path) -> None:
    package = real_data / "pmc" / "oa_comm_xml.PMC003xxxxxx.sample.tar.gz"
    articles = [read_jats(member.stream.read()) for member in package_members(package)]
    assert len(articles) == 55
    assert all(article.title and article.body and article.pmcid.startswith("PMC") for article in articles)
    lines = [text for article in articles for text in article.body]
    assert not any(
        "\uffff" in text or "\\usepackage" in text or text != " ".join(text.split()) for text in lines
    )
