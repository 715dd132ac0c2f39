"""PMC's full texts: JATS articles in a bulk package (tar.gz with a file list), as NCBI writes them."""

from __future__ import annotations

import functools
import gzip
import io
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from biobert_scale.corpus.synthetic.documents import SECTION_LABELS, Paper, Topic, Writer
from biobert_scale.corpus.synthetic.grammar import xml_text
from biobert_scale.corpus.synthetic.pubmed import authors, journal_of
from biobert_scale.corpus.synthetic.tables import template
from biobert_scale.files import write_atomically

PACKAGE = "oa_comm_xml.PMC000xxxxxx.baseline.2026-01-01"
_MEMBER_TIME = 1_767_225_600  # 2026-01-01, the package's date


class _Part(NamedTuple):
    """A stretch of sentences, with a heading of its own or none."""

    heading: str
    frames: str
    """The section that they are drawn from."""
    sentences: int


_BODY = {
    "Introduction": (_Part("", "background", 8), _Part("", "aims", 1)),
    "Materials and methods": (
        _Part("Subjects and materials", "methods", 8),
        _Part("Measurements", "methods", 8),
    ),
    "Results": (
        _Part("Main findings", "results", 16),
        _Part("Further findings", "results", 15),
        _Part("", "results", 12),
    ),
    "Discussion": (_Part("", "background", 8), _Part("", "results", 15), _Part("", "conclusions", 5)),
}
_FIGURE_CAPTIONS = (
    "[Effect of <C> on <K>|Course of the <M>] in [{animals}|{patients}].",
    "[Expression of <G>|Distribution of <X>] in the <T>. [Bars|Symbols] show [means|medians] of {n}"
    " [samples|animals].",
)
_TABLE_CAPTIONS = (
    "[Characteristics|Outcome] of {n} {patients}[ with <D>|].",
    "<X> and <X> [at baseline|{later}].",
)
_CITED = ("(refs {})", "[{}]")
_DOCTYPE = (
    '<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving and Interchange DTD with MathML3'
    ' v1.2 20190208//EN" "JATS-archivearticle1-mathml3.dtd"> \n'
)
_FORMULAS = (
    '<label>1</label><alternatives><tex-math id="M1">\\documentclass[12pt]{minimal}'
    "\\usepackage{amsmath}\\begin{document}$$ R = \\frac{a}{b} \\times 100 $$"
    "\\end{document}</tex-math></alternatives>",
    '<mml:math id="M1"><mml:mrow><mml:mi>R</mml:mi><mml:mo>=</mml:mo><mml:mfrac><mml:mi>a</mml:mi>'
    "<mml:mi>b</mml:mi></mml:mfrac></mml:mrow></mml:math>",
)
"""The same as LaTeX and as MathML."""


@dataclass(frozen=True, kw_only=True)
class FullText:
    """An article: the paper of its PubMed record, and the topic of its full text."""

    pmcid: int
    pmid: int
    paper: Paper
    topic: Topic


def write_package(directory: Path, articles: list[FullText], writer: Writer) -> list[Path]:
    """Write the tar.gz and its filelist.csv; equal articles give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as package:
        for article in articles:
            content = article_xml(article, writer).encode()
            member = tarfile.TarInfo(_member(article))
            member.size, member.mtime, member.mode = len(content), _MEMBER_TIME, 0o644
            package.addfile(member, io.BytesIO(content))
    files = [directory / f"{PACKAGE}.tar.gz", directory / f"{PACKAGE}.filelist.csv"]
    write_atomically(files[0], gzip.compress(buffer.getvalue(), 6, mtime=0))
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
        f"{_member(a)},{journal_of(a.pmid).name}. 2025,PMC{a.pmcid},2026-01-01 00:00:00,{a.pmid},CC0,no"
        for a in articles
    ]
    return "".join(f"{row}\r\n" for row in rows)


def article_xml(article: FullText, writer: Writer) -> str:
    """One JATS article, with sections, a table, a figure, a formula and references."""
    paper, journal, rng = article.paper, journal_of(article.pmid), article.topic.rng
    contributors = "".join(
        f'<contrib contrib-type="author"><name><surname>{author.surname}</surname>'
        f"<given-names>{author.initial}.</given-names></name>"
        '<xref ref-type="aff" rid="Aff1">1</xref></contrib>'
        for author in authors(rng)
    )
    abstract = "".join(
        f"<sec><title>{SECTION_LABELS[section.name].capitalize()}</title><p>{_jats(section.text)}</p></sec>"
        for section in paper.sections
    )
    if rng.random() < 0.6:
        abstract = f"<p>{_jats(paper.abstract)}</p>"
    return _DOCTYPE + _in_one_line("pmc_article.xml").format(
        journal=journal.name,
        abbreviation=journal.abbreviation,
        pmid=article.pmid,
        pmcid=article.pmcid,
        title=_jats(paper.title.removesuffix(".")),
        contributors=contributors,
        volume=article.pmid % 40 + 1,
        abstract=abstract,
        keywords="".join(f"<kwd>{escape(name.text)}</kwd>" for name in paper.names[:4]),
        body=_body(article, writer),
        references="".join(_reference(number, rng) for number in range(1, 6)),
    )


@functools.cache
def _in_one_line(name: str) -> str:
    """A template without the white space between its elements, as PMC's files have none."""
    return "".join(line.strip() for line in template(name).splitlines())


def _body(article: FullText, writer: Writer) -> str:
    topic, rng = article.topic, article.topic.rng
    sections = ""
    for number, (title, parts) in enumerate(_BODY.items(), 1):
        untitled, titled = "", ""  # a paragraph may not follow a subsection
        for place, part in enumerate(parts, 1):
            sentences = writer.sentences(topic, part.frames, max(1, part.sentences + rng.randint(-1, 1)))
            text = "".join(_paragraph(sentences[i : i + 6], rng) for i in range(0, len(sentences), 6))
            if part.heading == "Main findings":
                text += _figure(writer, topic) + _table(writer, topic)
            if part.heading == "Measurements":
                formula = f'<disp-formula id="Equ1">{rng.choice(_FORMULAS)}</disp-formula>'
                text += f"<p>The ratio was calculated as follows:{formula}</p>"
            if part.heading:
                titled += f'<sec id="Sec{number}_{place}"><title>{part.heading}</title>{text}</sec>'
            else:
                untitled += text
        sections += f'<sec id="Sec{number}"><title>{title}</title>{untitled}{titled}</sec>'
    return sections


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
    caption = _jats(writer.sentence(topic, topic.rng.choice(_FIGURE_CAPTIONS)))
    return (
        f'<fig id="Fig1"><label>Fig. 1</label><caption><p>{caption}</p></caption>'
        '<graphic xlink:href="invented_Fig1"/></fig>'
    )


def _table(writer: Writer, topic: Topic) -> str:
    caption = _jats(writer.sentence(topic, topic.rng.choice(_TABLE_CAPTIONS)))
    rows = "".join(
        f"<tr><td>{escape(measurement)}</td><td>{topic.rng.randint(10, 99)}</td>"
        f"<td>{topic.rng.randint(10, 99)}</td></tr>"
        for measurement in topic.field.measurements
    )
    return (
        f'<table-wrap id="Tab1"><label>Table 1</label><caption><p>{caption}</p></caption>'
        '<table frame="hsides" rules="groups"><thead>'
        "<tr><th>Measurement</th><th>Before</th><th>After</th></tr>"
        f"</thead><tbody>{rows}</tbody></table></table-wrap>"
    )


def _reference(number: int, rng: random.Random) -> str:
    people = "".join(
        f"<name><surname>{author.surname}</surname><given-names>{author.initial}</given-names></name>"
        for author in authors(rng)
    )
    return (
        f'<ref id="CR{number}"><label>{number}.</label><element-citation publication-type="journal">'
        f'<person-group person-group-type="author">{people}</person-group>'
        "<article-title>An invented reference</article-title><source>J Invent Med</source>"
        f"<year>{rng.randint(1990, 2024)}</year><volume>{rng.randint(1, 90)}</volume>"
        f"<fpage>{rng.randint(1, 900)}</fpage></element-citation></ref>"
    )


def _jats(marked: str) -> str:
    return xml_text(marked, italic="italic")
