"""Files of many articles are read as they are: every article, and one at a time."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.opening import open_decompressed
from biobert_scale.corpus.pipeline import CorpusRow
from biobert_scale.corpus.readers import article_sets
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest
from tests.factories import article_text, write_articles


def cut(path: Path) -> list[bytes]:
    with open_decompressed(path) as stream:
        return [content for _, content in article_sets.articles(stream, path)]


def build(directory: Path) -> list[CorpusRow]:
    build_corpus(directory / "raw", directory / "out", CorpusConfig(minimum_words=5))
    return list(documents(directory / "out"))


def ids(directory: Path) -> list[str]:
    return [row["id"] for row in build(directory)]


@pytest.mark.parametrize(
    ("articles", "head", "end"),
    [
        ((article_text(1), article_text(2)), "<articles>", "</articles>"),
        (
            (article_text(1), article_text(2)),
            '<?xml version="1.0"?>\n<!DOCTYPE articles>\n<articles>',
            "</articles>",
        ),
        (
            (article_text(1, attributes=' x:id="1"'), article_text(2)),
            '<articles xmlns:x="http://x.org">',
            "</articles>",
        ),
        ((article_text(1, "<!-- </article> -->"), article_text(2)), "<articles>", "</articles>"),
        (
            (article_text(1, "<!-- --><![CDATA[</article> <article>]]>"), article_text(2)),
            "<articles>",
            "</articles>",
        ),
        (
            (article_text(1) + "<!-- <b> -->", article_text(2)),
            "<articles>",
            "<!-- end --></articles><!-- x -->",
        ),
        ((article_text(1, "<!-- \u2014 -->" * 3), article_text(2)), "<articles>", "</articles>"),
        (
            (
                article_text(1, '<related-article id="r"/>'),
                article_text(2, "<sub-article><body/></sub-article>"),
            ),
            "<articles>",
            "</articles>",
        ),
    ],
    ids=["plain", "declared", "namespace", "comment", "cdata", "between", "dash", "alike"],
)
def test_every_article_is_found(tmp_path: Path, articles: tuple[str, ...], head: str, end: str) -> None:
    write_articles(tmp_path / "raw" / "PMC1_PMC2.xml.gz", *articles, head=head, end=end)
    assert ids(tmp_path) == ["pmcid:PMC1", "pmcid:PMC2"]


@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
def test_tags_on_the_border_of_two_pieces_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(article_sets, "_READ_BYTES", piece)
    path = write_articles(
        tmp_path / "x.xml.gz", *(article_text(n, "<!-- </article> -->") for n in range(1, 6))
    )
    found = cut(path)
    assert [f">{n}<".encode() in content for n, content in enumerate(found, start=1)] == [True] * 5


def test_a_malformed_article_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    write_articles(
        tmp_path / "raw" / "PMC1_PMC3.xml.gz", article_text(1), article_text(2, "<b>"), article_text(3)
    )
    rows = build(tmp_path)
    assert [row["id"] for row in rows] == ["pmcid:PMC1", "pmcid:PMC3"]
    assert [row["origin"] for row in rows] == ["PMC1_PMC3.xml.gz:1", "PMC1_PMC3.xml.gz:3"]
    manifest = read_manifest(tmp_path / "out")
    assert manifest.rejects == {"malformed": 1} and manifest.counts["files_pmc"] == 1


def test_a_file_without_gzip_is_read(tmp_path: Path) -> None:
    path = write_articles(tmp_path / "raw" / "a.xml.gz", article_text(1))
    path.with_name("PMC1.xml").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    assert ids(tmp_path) == ["pmcid:PMC1"]


@pytest.mark.fault("a bulk file that breaks off", "named in one line")
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.999])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_breaks_off_is_named(tmp_path: Path, kept: float, compressed: bool) -> None:
    path = write_articles(tmp_path / "raw" / "PMC1_PMC2.xml.gz", article_text(1), article_text(2))
    content = path.read_bytes() if compressed else gzip.decompress(path.read_bytes()).strip()
    part = content[: int(len(content) * kept)]
    path.write_bytes(part if compressed else gzip.compress(part))
    with pytest.raises(UserError, match=r"breaks off.*PMC1_PMC2\.xml\.gz"):
        build(tmp_path)


def test_an_article_larger_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(article_sets, "MAXIMUM_MEMBER_BYTES", 50_000)
    monkeypatch.setattr(article_sets, "_READ_BYTES", 10_000)
    path = write_articles(tmp_path / "x.xml.gz", *(article_text(n, "x" * 30_000) for n in range(5)))
    assert len(cut(path)) == 5, "together they may have any size"
    path = write_articles(tmp_path / "y.xml.gz", article_text(1, "x" * 100_000))
    with pytest.raises(UserError, match="larger than 50,000 bytes"):
        cut(path)
