"""PMC's full texts: JATS articles in a bulk package (tar.gz with a file list), laid out as NCBI lays them
out."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from biobert_scale.corpus.synthetic.documents import SECTION_LABELS, Paper, Topic, Writer
from biobert_scale.corpus.synthetic.grammar import xml_text
from biobert_scale.corpus.synthetic.pubmed import authors, journal_of
from biobert_scale.files import write_atomically

PACKAGE = "oa_comm_xml.PMC000xxxxxx.baseline.2026-01-01"
_MEMBER_TIME = 1_767_225_600  # 2026-01-01, the package's date
_BODY = (
    # section title, [(subsection title or "", section of the frames, sentences)]
    ("Introduction", [("", "background", 8), ("", "aims", 1)]),
    ("Materials and methods", [("Subjects and materials", "methods", 8), ("Measurements", "methods", 8)]),
    ("Results", [("Main findings", "results", 16), ("Further findings", "results", 15), ("", "results", 12)]),
    ("Discussion", [("", "background", 8), ("", "results", 15), ("", "conclusions", 5)]),
)
_FIGURE_CAPTIONS = (
    "[Effect of <C> on <K>|Course of the <M>] in [{animals}|{patients}].",
    (
        "[Expression of <G>|Distribution of <X>] in the <T>. [Bars|Symbols] show [means|medians] of {n}"
        " [samples|animals]."
    ),
)
_TABLE_CAPTIONS = (
    "[Characteristics|Outcome] of {n} {patients}[ with <D>|].",
    "<X> and <X> [at baseline|{later}].",
)
_CITED = ("(refs {})", "[{}]")
_HEADER = """<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving and Interchange DTD with MathML3 v1.2 20190208//EN" \
"JATS-archivearticle1-mathml3.dtd"> 
<article xmlns:mml="http://www.w3.org/1998/Math/MathML" xmlns:xlink="http://www.w3.org/1999/xlink" article-type="research-article">"""  # noqa: E501
_PERMISSIONS = (
    "<permissions><copyright-statement>No rights"
    ' reserved</copyright-statement><copyright-year>2025</copyright-year><license license-type="cc0"'
    ' xlink:href="https://creativecommons.org/publicdomain/zero/1.0/"><license-p>This article was made up by'
    " a program: its names, numbers and findings are invented.</license-p></license></permissions>"
)
_TEX = (
    '<disp-formula id="Equ1"><label>1</label><alternatives><tex-math'
    ' id="M1">\\documentclass[12pt]{minimal}\\usepackage{amsmath}\\begin{document}$$ R = \\frac{a}{b} \\times'
    " 100 $$\\end{document}</tex-math></alternatives></disp-formula>"
)
_MATHML = (
    '<disp-formula id="Equ1"><mml:math'
    ' id="M1"><mml:mrow><mml:mi>R</mml:mi><mml:mo>=</mml:mo><mml:mfrac><mml:mi>a</mml:mi>'
    "<mml:mi>b</mml:mi></mml:mfrac></mml:mrow></mml:math></disp-formula>"
)


@dataclass(frozen=True, kw_only=True)
class FullText:
    """An article: the paper of its PubMed record, and the topic to go on writing about."""

    pmcid: int
    pmid: int
    paper: Paper
    topic: Topic


def write_package(
    directory: Path, articles: list[FullText], writer: Writer, compress_level: int = 6
) -> list[Path]:
    """Write the tar.gz and its filelist.csv; equal articles give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as package:
        for article in articles:
            content = article_xml(article, writer).encode()
            member = tarfile.TarInfo(_member(article))
            member.size, member.mtime, member.mode = len(content), _MEMBER_TIME, 0o644
            package.addfile(member, io.BytesIO(content))
    files = [directory / f"{PACKAGE}.tar.gz", directory / f"{PACKAGE}.filelist.csv"]
    write_atomically(files[0], gzip.compress(buffer.getvalue(), compress_level, mtime=0))
    write_atomically(files[1], file_list(articles))
    return files


def _member(article: FullText) -> str:
    return f"PMC000xxxxxx/PMC{article.pmcid}.xml"


def file_list(articles: list[FullText]) -> str:
    """The package's table; NCBI ends its lines with CR LF."""
    rows = [
        "Article File,Article Citation,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License,Retracted"
    ]
    rows += [
        f"{_member(a)},{journal_of(a.pmid)[0]}. 2025,PMC{a.pmcid},2026-01-01 00:00:00,{a.pmid},CC0,no"
        for a in articles
    ]
    return "".join(f"{row}\r\n" for row in rows)


def article_xml(article: FullText, writer: Writer) -> str:
    """One JATS article: front, body with sections, a table, a figure and a formula, back with acknowledgement
    and references."""
    rng = article.topic.rng
    return "".join([_HEADER, _front(article, rng), _body(article, writer), _back(rng), "</article>"])


def _front(article: FullText, rng: random.Random) -> str:
    journal, short = journal_of(article.pmid)
    people = "".join(
        "<contrib"
        f' contrib-type="author"><name><surname>{surname}</surname><given-names>{initial}.'
        f"</given-names></name><xref"
        ' ref-type="aff" rid="Aff1">1</xref></contrib>'
        for surname, initial in authors(rng)
    )
    abstract = "".join(
        f"<sec><title>{SECTION_LABELS[section].capitalize()}</title><p>{_jats(' '.join(sentences))}</p></sec>"
        for section, sentences in article.paper.sections
    )
    if rng.random() < 0.6:
        abstract = f"<p>{_jats(' '.join(article.paper.sentences))}</p>"
    keywords = "".join(f"<kwd>{escape(name.text)}</kwd>" for name in article.paper.names[:4])
    return (
        f'<front><journal-meta><journal-id journal-id-type="nlm-ta">{short}</journal-id><journal-title-group>'
        f"<journal-title>{journal}</journal-title></journal-title-group><publisher>"
        "<publisher-name>Invented Press (synthetic)</publisher-name></publisher></journal-meta><article-meta>"
        f'<article-id pub-id-type="pmid">{article.pmid}</article-id><article-id'
        f' pub-id-type="pmc">{article.pmcid}</article-id>'
        '<article-categories><subj-group subj-group-type="heading"><subject>Research'
        " Article</subject></subj-group>"
        "</article-categories>"
        f"<title-group><article-title>{_jats(article.paper.title.removesuffix('.'))}</article-title></title-group>"
        f'<contrib-group>{people}<aff id="Aff1"><label>1</label>University of Nowhere</aff></contrib-group>'
        "<pub-date"
        f' pub-type="epub"><day>1</day><month>7</month><year>2025</year></pub-date>'
        f"<volume>{article.pmid % 40 + 1}</volume>"
        f"{_PERMISSIONS}<abstract>{abstract}</abstract><kwd-group>{keywords}</kwd-group></article-meta></front>"
    )


def _body(article: FullText, writer: Writer) -> str:
    topic, rng = article.topic, article.topic.rng
    sections = []
    for number, (title, parts) in enumerate(_BODY, 1):
        blocks = []
        for place, (subtitle, section, count) in enumerate(parts, 1):
            sentences = writer.sentences(topic, section, max(1, count + rng.randint(-1, 1)))
            paragraph = "".join(
                _paragraph(sentences[start : start + 6], rng) for start in range(0, len(sentences), 6)
            )
            if (title, place) == ("Results", 1):
                paragraph += _figure(writer, topic) + _table(writer, topic)
            if (title, place) == ("Materials and methods", 2):
                paragraph += "<p>The ratio was calculated as follows:" + rng.choice((_TEX, _MATHML)) + "</p>"
            blocks.append(
                f'<sec id="Sec{number}_{place}"><title>{subtitle}</title>{paragraph}</sec>'
                if subtitle
                else paragraph
            )
        # A paragraph may not follow a subsection: those without a title come first.
        blocks.sort(key=lambda block: block.startswith("<sec"))
        sections.append(f'<sec id="Sec{number}"><title>{title}</title>{"".join(blocks)}</sec>')
    return f"<body>{''.join(sections)}</body>"


def _paragraph(sentences: list[str], rng: random.Random) -> str:
    parts = []
    for sentence in sentences:
        text = _jats(sentence)
        if rng.random() < 0.25:
            number = rng.randint(1, 5)
            link = f'<xref ref-type="bibr" rid="CR{number}">{number}</xref>'
            text = f"{text.removesuffix('.')} {rng.choice(_CITED).format(link)}."
        elif rng.random() < 0.05:
            text = text.removesuffix(".") + ' (<xref ref-type="fig" rid="Fig1">Fig. 1</xref>).'
        parts.append(text)
    return f"<p>{' '.join(parts)}</p>"


def _figure(writer: Writer, topic: Topic) -> str:
    caption = _jats(writer.caption(topic, topic.rng.choice(_FIGURE_CAPTIONS)))
    return (
        f'<fig id="Fig1"><label>Fig. 1</label><caption><p>{caption}</p></caption><graphic'
        ' xlink:href="invented_Fig1"/></fig>'
    )


def _table(writer: Writer, topic: Topic) -> str:
    caption = _jats(writer.caption(topic, topic.rng.choice(_TABLE_CAPTIONS)))
    rows = "".join(
        f"<tr><td>{escape(measurement)}</td><td>{topic.rng.randint(10, 99)}</td>"
        f"<td>{topic.rng.randint(10, 99)}</td></tr>"
        for measurement in topic.field.measurements
    )
    return (
        f'<table-wrap id="Tab1"><label>Table 1</label><caption><p>{caption}</p></caption><table'
        ' frame="hsides" rules="groups"><thead><tr>'
        f"<th>Measurement</th><th>Before</th><th>After</th></tr></thead><tbody>{rows}</tbody></table></table-wrap>"
    )


def _back(rng: random.Random) -> str:
    references = "".join(
        f'<ref id="CR{number}"><label>{number}.</label><element-citation publication-type="journal">'
        '<person-group person-group-type="author">'
        + "".join(
            f"<name><surname>{surname}</surname><given-names>{initial}</given-names></name>"
            for surname, initial in authors(rng)
        )
        + "</person-group><article-title>An invented reference</article-title><source>J Invent Med</source>"
        f"<year>{rng.randint(1990, 2024)}</year><volume>{rng.randint(1, 90)}</volume>"
        f"<fpage>{rng.randint(1, 900)}</fpage></element-citation></ref>"
        for number in range(1, 6)
    )
    return (
        "<back><ack><title>Acknowledgements</title><p>We thank nobody, because nothing in this article ever"
        f" happened.</p></ack><ref-list><title>References</title>{references}</ref-list></back>"
    )


def _jats(marked: str) -> str:
    return xml_text(marked, italic="italic")
