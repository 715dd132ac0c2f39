"""Damaged and hostile files: the readers give records, or say which file is broken; nothing else ever comes
out of them."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from biobert_scale.corpus.opening import open_decompressed
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.corpus.readers.jats import read_jats, read_jats_set
from biobert_scale.corpus.readers.medline import read_medline
from biobert_scale.errors import UserError

pytestmark = pytest.mark.timeout(60)
fuzzed = settings(
    derandomize=True,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**32)

MEDLINE = (
    '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE PubmedArticleSet [<!ENTITY y "YY">]><PubmedArticleSet>'
    + "".join(
        "<PubmedArticle><MedlineCitation><PMID"
        f' Version="1">{number}</PMID><DateRevised><Year>2019</Year><Month>02</Month><Day>08</Day>'
        f"</DateRevised><Article><ArticleTitle>[Iron&#x3b1; &y;].</ArticleTitle><Abstract><AbstractText"
        f" Label='AIM'>In <i>rats</i>, 2<sup>3</sup>."
        "</AbstractText></Abstract><Language>eng</Language></Article><OtherAbstract"
        " Language='spa'><AbstractText>Suyo.</AbstractText></OtherAbstract>"
        "</MedlineCitation><PubmedData><ArticleIdList><ArticleId"
        " IdType='pmc'>PMC1</ArticleId></ArticleIdList></PubmedData></PubmedArticle>\n"
        for number in range(1, 40)
    )
    + "<DeleteCitation><PMID>5</PMID></DeleteCitation></PubmedArticleSet>"
).encode()
JATS = (
    b'<article xmlns:mml="http://www.w3.org/1998/Math/MathML" xml:lang="en"><front><article-meta><article-id'
    b' pub-id-type="pmc">12</article-id>'
    b"<title-group><article-title>Iron</article-title></title-group><abstract><sec><title>Aim</title><p>To"
    b" look.</p></sec></abstract></article-meta>"
    b'</front><body><sec><title>1. Rats</title><p>Iron rises [<xref ref-type="bibr">1</xref>] in'
    b" <italic>rats</italic>.<fig><caption><p>Cells.</p>"
    b"</caption></fig></p><p>So"
    b" <inline-formula><alternatives><tex-math>x</tex-math><mml:math><mml:mfrac><mml:mi>a</mml:mi>"
    b"<mml:mi>b</mml:mi></mml:mfrac>"
    b"</mml:math></alternatives></inline-formula>.</p><list><list-item><p>red</p></list-item></list></sec></body><back><ref-list><ref>Doe</ref>"
    b"</ref-list></back></article>"
)


OUTCOMES = ("read", "refused")


def mutate(data: bytes, seed: int) -> bytes:
    """One to four injuries: bytes flipped, cut out, doubled, put in, spliced from elsewhere, or the end cut
    off."""
    chance, out = random.Random(seed), bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        length = chance.choice((1, 1, 2, 8, 64, 700))
        match chance.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                del out[at : at + length]
            case 2:
                out[at:at] = out[at : at + length] * chance.randint(1, 3)
            case 3:
                out[at:at] = chance.choice(
                    (
                        b"<",
                        b">",
                        b"&",
                        b"</p>",
                        b"<!--",
                        b"<![CDATA[",
                        b"\0",
                        b"\xff\xfe",
                        b"&#0;",
                        b"<a b='",
                        chance.randbytes(8),
                    )
                )
            case 4:
                start = chance.randrange(len(out) + 1)
                out[at : at + length] = out[start : start + length]
            case _ if chance.random() < 0.2:
                del out[at:]
    return bytes(out)


def records_or_user_error(read: Callable[[], object], path: Path) -> str:
    """Which of the two it was: the fuzzing is of use where both occur, and nothing else."""
    try:
        read()
    except UserError as error:
        assert error.where.startswith(str(path)) and error.remedy
        return "refused"
    return "read"


def package(members: list[tuple[tarfile.TarInfo, bytes]], **options: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def articles(content: bytes) -> bytes:
    long_name = "PMC/" + "n" * 150 + ".xml"  # needs an extended header
    names = ("PMC/PMC1.xml", long_name, "PMC/PMC2.nxml", "PMC/readme.txt")
    return package([(tarfile.TarInfo(name), content) for name in names], format=tarfile.PAX_FORMAT)


def check_medline(path: Path, content: bytes, seed: int, level: str) -> str:
    path = path.with_suffix(".xml") if level == "xml" else path.with_suffix(".xml.gz")
    path.write_bytes(mutate(content if level == "xml" else gzip.compress(content, mtime=0), seed))
    outcome = records_or_user_error(lambda: list(read_medline(path)), path)
    records_or_user_error(lambda: find_raw_files(path.parent), path.parent)
    path.unlink()
    return outcome


def check_jats(content: bytes, seed: int) -> str:
    try:
        for article in read_jats_set(mutate(content, seed)):
            assert all("\uffff" not in line for line in (article.title, *article.abstract, *article.body))
    except (etree.XMLSyntaxError, ValueError):
        return "refused"
    return "read"


def check_package(path: Path, archive: bytes, seed: int, level: str) -> str:
    path.write_bytes(
        gzip.compress(mutate(archive, seed), mtime=0)
        if level == "tar"
        else mutate(gzip.compress(archive, mtime=0), seed)
    )
    return records_or_user_error(lambda: list(package_members(path)), path)


@pytest.mark.parametrize("level", ["xml", "gzip"])
@fuzzed
@given(seed=seeds)
def test_injured_medline_files_are_read_or_named(tmp_path: Path, level: str, seed: int) -> None:
    assert check_medline(tmp_path / "injured", MEDLINE, seed, level) in OUTCOMES


@fuzzed
@given(seed=seeds)
def test_injured_articles_are_read_or_refused(seed: int) -> None:
    assert check_jats(JATS, seed) in OUTCOMES


@pytest.mark.parametrize("level", ["tar", "gzip"])
@fuzzed
@given(seed=seeds)
def test_injured_packages_are_read_or_named(tmp_path: Path, level: str, seed: int) -> None:
    assert check_package(tmp_path / "injured.tar.gz", articles(JATS), seed, level) in OUTCOMES


@pytest.mark.parametrize("level", ["xml", "gzip"])
@settings(fuzzed, max_examples=25)
@given(seed=seeds)
def test_injured_real_medline_files_are_read_or_named(
    tmp_path: Path, real_data: Path, level: str, seed: int
) -> None:
    with open_decompressed(real_data / "pubmed" / "pubmedsample_2019.xml.gz") as stream:
        head = stream.read(300_000)
    content = head[: head.rindex(b"</PubmedArticle>")] + b"</PubmedArticle></PubmedArticleSet>"
    assert len(list(read_medline(io.BytesIO(content)))) > 10
    assert check_medline(tmp_path / "injured", content, seed, level) in OUTCOMES


@settings(fuzzed, max_examples=4)
@given(seed=seeds)
def test_injured_real_articles_are_read_or_refused(real_data: Path, seed: int) -> None:
    for number, member in enumerate(
        package_members(real_data / "pmc" / "oa_comm_xml.PMC003xxxxxx.sample.tar.gz")
    ):
        assert check_jats(member.stream.read(), seed + number) in OUTCOMES


@settings(fuzzed, max_examples=100)
@given(
    st.recursive(
        st.text(alphabet="ab [](),;.-é", max_size=12),
        lambda inner: st.tuples(
            st.sampled_from(
                [
                    "p",
                    "sec",
                    "title",
                    "xref",
                    "italic",
                    "fig",
                    "caption",
                    "list",
                    "alternatives",
                    "fn",
                    "ref-list",
                    "body",
                    "math",
                ]
            ),
            st.lists(inner, max_size=4),
        ),
        max_leaves=25,
    )
)
def test_any_arrangement_of_elements_is_read(tree: object) -> None:
    def xml(node: object) -> str:
        if isinstance(node, str):
            return node
        assert isinstance(node, tuple)
        return f"<{node[0]}>{''.join(map(xml, node[1]))}</{node[0]}>"

    body = read_jats(f"<article><body>{xml(tree)}</body></article>".encode()).body
    assert all(line == " ".join(line.split()) and "\uffff" not in line for line in body)
    list(
        read_medline(
            io.BytesIO(
                f"<PubmedArticleSet><PubmedArticle>{xml(tree)}</PubmedArticle></PubmedArticleSet>".encode()
            )
        )
    )
