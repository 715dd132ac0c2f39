"""A large package is read by several tasks, and nothing of it shows."""

from __future__ import annotations

import gzip
import random
import zipfile
from pathlib import Path

import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import divided, find_raw_files
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest
from tests.factories import abstract, article, prose, write_medline, write_package

CONFIG = CorpusConfig(minimum_words=5, characters_per_shard=20_000)
PIECES = "biobert_scale.corpus.raw.PIECE_BYTES"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    members: dict[str, bytes] = {}
    for number in range(1, 61):
        members[f"PMC/{'long-name/' * 12 if number % 7 == 3 else ''}PMC{number}.xml"] = article(
            number, prose(number) * (number % 9 + 1), pmid=str(number)
        )
        if number % 20 == 5:
            members |= {f"PMC/figure-{number}.jpg": b"x" * 3000, f"PMC/._PMC{number}.xml": b"of macOS"}
            members[f"PMC/PMC{1000 + number}.xml"] = b"<article><body>"
    write_package(raw / "oa_comm_xml.a.tar.gz", members)
    with zipfile.ZipFile(raw / "articles.zip", "w", zipfile.ZIP_DEFLATED) as package:
        for number in range(61, 91):
            package.writestr(f"PMC{number}.xml", article(number, prose(number) * 3))
    citations = {}
    for file in range(5):
        path = tmp_path / f"{file}.xml.gz"
        numbers = range(file * 10 + 1, file * 10 + 11)
        records = (abstract(number, prose(number + 500)) for number in (*numbers, file + 1))
        write_medline(path, *records, deleted=(file * 10 - 5,) if file else ())
        citations[path.name] = path.read_bytes()
    write_package(raw / "pubmed.tar", citations)
    return raw


def built(raw: Path, output: Path, *, workers: int = 1, max_bad_files: int = 0) -> Manifest:
    return build_corpus(raw, output, CONFIG, workers=workers, max_bad_files=max_bad_files)


@pytest.mark.parametrize("piece_bytes", [1500, 20_000])
def test_bytes_and_counts_are_those_of_whole_packages(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    whole = built(raw, tmp_path / "whole")
    assert len(whole.outputs) > 1 and whole.counts["not_read"] and whole.rejects["deleted"]
    files = find_raw_files(raw)
    assert all(len(divided(file)) == 1 for file in files)
    monkeypatch.setattr(PIECES, piece_bytes)
    assert sum(len(divided(file)) for file in files) > len(files)
    for workers in (1, 3):
        assert built(raw, tmp_path / f"{workers}", workers=workers) == whole


def test_pieces_join_without_a_gap(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIECES, 500)
    for file in find_raw_files(raw):
        pieces = divided(file)
        starts, stops = [piece.start for piece in pieces], [piece.stop for piece in pieces]
        assert starts[0] == 0 and stops[-1] == 0 and starts[1:] == stops[:-1] and len(pieces) > 1


@pytest.mark.parametrize("members", [1, 7])
def test_no_piece_lies_behind_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: int) -> None:
    """Whether the gzip file is one member or several (as by bgzip), and however well it is compressed."""
    draw = random.Random(1)
    articles = {
        f"PMC{number}.xml": article(number, prose(number) + draw.randbytes(400).hex(" "))
        for number in range(1, 400)
    }
    content = gzip.decompress(write_package(tmp_path / "a.tar.gz", articles).read_bytes())
    cut = -(-len(content) // members)
    parts = (content[start : start + cut] for start in range(0, len(content), cut))
    (tmp_path / "a.tar.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    monkeypatch.setattr(PIECES, len(content) // 8)
    (file,) = find_raw_files(tmp_path)
    pieces = divided(file)
    assert len(pieces) in (8, 9)
    assert all(list(package_members(tmp_path / "a.tar.gz", start=p.start, stop=p.stop)) for p in pieces[:8])


def test_a_damaged_package_is_divided_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    articles = {f"PMC{number}.xml": article(number, prose(number)) for number in range(1, 40)}
    path = write_package(tmp_path / "a.tar.gz", articles)
    (file,) = find_raw_files(tmp_path)
    path.write_bytes(path.read_bytes()[:20] + b"\0" * 3000)
    monkeypatch.setattr(PIECES, 1000)
    assert divided(file)


def test_what_expands_slowly_is_not_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"PMC{number}.xml": article(number, prose(number)) for number in range(1, 30)}
    for suffix in ("bz2", "xz"):
        write_package(tmp_path / f"a.tar.{suffix}", members)
    monkeypatch.setattr(PIECES, 1000)
    assert all(len(divided(file)) == 1 for file in find_raw_files(tmp_path))


@pytest.mark.fault(
    "a damaged package that several tasks read",
    "one line, as for any file; or none of its articles counts",
)
def test_a_damaged_package_is_one_damaged_file(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = raw / "oa_comm_xml.a.tar.gz"
    package.write_bytes(package.read_bytes()[: package.stat().st_size // 2])
    with pytest.raises(UserError) as said_of_whole:
        built(raw, tmp_path / "out")
    expected = built(raw, tmp_path / "whole", max_bad_files=1)
    monkeypatch.setattr(PIECES, 2000)
    with pytest.raises(UserError) as said:
        built(raw, tmp_path / "out")
    assert str(said.value) == str(said_of_whole.value)
    assert built(raw, tmp_path / "out", max_bad_files=1) == expected
    assert expected.counts["bad_files"] == 1


def test_a_build_continues_with_pieces_of_another_size(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = built(raw, tmp_path / "whole")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PIECES, 3000)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("biobert_scale.corpus.comparison.decide", stop)
        built(raw, tmp_path / "out")
    monkeypatch.setattr(PIECES, 5000)
    assert built(raw, tmp_path / "out") == whole
