"""Europe PMC's bulk files are fetched as they are, and again when they change."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus import raw
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.listing import MirrorConfig
from biobert_scale.corpus.mirror import download
from biobert_scale.files import read_manifest
from tests.factories import article_text, write_articles
from tests.ncbi_server import MADE, Fault, NcbiServer, serving


def ids(directory: Path) -> list[str]:
    build_corpus(directory / "raw", directory / "out", CorpusConfig(minimum_words=5))
    return [row["id"] for row in documents(directory / "out")]


def test_what_the_mirror_keeps_for_itself_is_not_looked_at(tmp_path: Path) -> None:
    write_articles(tmp_path / "raw" / "PMC1_PMC2.xml.gz", article_text(1))
    write_articles(tmp_path / "raw" / raw.MIRROR_DIRECTORY / "PMC3_PMC4.xml.gz", article_text(3))
    assert ids(tmp_path) == ["pmcid:PMC1"]
    assert read_manifest(tmp_path / "out").counts["not_read"] == {}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[NcbiServer]:
    """Europe PMC's directory with two files, and what else is in it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        for first in (1, 3):
            path = write_articles(tmp_path / "made.xml.gz", article_text(first), article_text(first + 1))
            server.files[f"/ftp/oa/PMC{first}_PMC{first + 1}.xml.gz"] = path.read_bytes()
        server.files["/ftp/oa/pmcid.txt.gz"] = gzip.compress(b"PMC1\n")
        server.files["/ftp/oa/README.txt"] = b"Terms.\n"
        yield server


def mirror(server: NcbiServer, directory: Path) -> None:
    settings = MirrorConfig(
        groups=("europe-pmc",),
        base_url=server.url,
        connections=2,
        retries=3,
        timeout_seconds=20,
        backoff_seconds=0,
    )
    download(directory / "raw", settings)


def test_the_files_are_mirrored_and_built(server: NcbiServer, tmp_path: Path) -> None:
    mirror(server, tmp_path)
    assert ids(tmp_path) == [f"pmcid:PMC{number}" for number in range(1, 5)]


def test_the_weekly_refresh_fetches_what_changed_by_date_or_size(server: NcbiServer, tmp_path: Path) -> None:
    mirror(server, tmp_path)
    first, second = (f"/ftp/oa/PMC{number}_PMC{number + 1}.xml.gz" for number in (1, 3))
    server.requests.clear()
    mirror(server, tmp_path)
    assert not server.gets(first) and not server.gets(second)
    server.modified[second] = MADE + 60
    mirror(server, tmp_path)
    assert not server.gets(first) and len(server.gets(second)) == 1
    server.files[first] = write_articles(
        tmp_path / "made.xml.gz", article_text(1), article_text(9), article_text(2)
    ).read_bytes()
    mirror(server, tmp_path)
    assert len(server.gets(first)) == 1 and len(server.gets(second)) == 1
    assert ids(tmp_path) == [f"pmcid:PMC{number}" for number in (1, 9, 2, 3, 4)]


@pytest.mark.fault("Europe PMC's server breaks off in the middle of a file", "resumes at the byte")
def test_a_file_that_breaks_off_on_the_way_is_resumed(server: NcbiServer, tmp_path: Path) -> None:
    path = "/ftp/oa/PMC1_PMC2.xml.gz"
    server.faults[path].append(Fault(drop_after=100))
    mirror(server, tmp_path)
    assert [seen.range for seen in server.gets(path)] == [None, "bytes=100-"]
    assert (tmp_path / "raw" / "europe-pmc" / "PMC1_PMC2.xml.gz").read_bytes() == server.files[path]
