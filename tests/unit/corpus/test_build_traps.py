"""Inputs that would lose, double or mix up records without a word."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biobert_scale.cli import main
from biobert_scale.config import CorpusConfig
from biobert_scale.corpus import build
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.errors import UserError
from tests.factories import (
    abstract,
    article,
    cut_in_half,
    prose,
    write_medline,
    write_package,
)

CONFIG = CorpusConfig(minimum_words=5, characters_per_shard=230)


def ids(output: Path) -> list[str]:
    return [row["id"] for row in documents(output)]


@pytest.mark.parametrize(
    "damage", ["header flipped", "cut in a header", "cut between members", "two archives"]
)
@pytest.mark.fault("an archive inside sound gzip: {damage}", "named, not read to a false end")
def test_a_damaged_archive_in_sound_gzip_is_not_taken_for_its_end(tmp_path: Path, damage: str) -> None:
    path = write_package(
        tmp_path / "oa_comm_xml.x.tar.gz", {f"PMC{n}.xml": article(n, prose(n)) for n in range(1, 11)}
    )
    plain = gzip.decompress(path.read_bytes())
    assert len(list(package_members(path))) == 10
    with tarfile.open(fileobj=io.BytesIO(plain)) as package:
        fourth = package.getmembers()[3].offset
    match damage:
        case "header flipped":
            plain = plain[: fourth + 5] + b"?" + plain[fourth + 6 :]
        case "cut in a header":
            plain = plain[: fourth + 100]
        case "cut between members":
            plain = plain[:fourth]
        case "two archives":
            plain = plain + plain
    path.write_bytes(gzip.compress(plain))
    with pytest.raises(UserError, match="damaged or breaks off"):
        list(package_members(path))


def test_an_identifier_of_zero_is_none(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_medline(raw / "a.xml.gz", *(abstract(n, prose(n)) for n in range(1, 6)), abstract(0, prose(99)))
    broken = {f"j_{n}.nxml": b"<article><body>" for n in range(4)}
    write_package(
        raw / "oa_comm_xml.x.tar.gz",
        {"x.xml": article(0, prose(70)), "PMC7.xml": article(7, prose(7)), **broken},
    )
    manifest = build_corpus(raw, tmp_path / "out", CONFIG)
    assert ids(tmp_path / "out") == [f"pmid:{n}" for n in range(1, 6)] + ["pmcid:PMC7"]
    assert manifest.rejects == {"no_identifier": 2, "malformed": 4}


def test_directories_behind_links_are_read_once(tmp_path: Path) -> None:
    write_medline(tmp_path / "elsewhere" / "b.xml.gz", abstract(2, prose(2)))
    write_medline(tmp_path / "raw" / "a.xml.gz", abstract(1, prose(1)))
    (tmp_path / "raw" / "updatefiles").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "raw")
    assert [file.path.name for file in find_raw_files(tmp_path / "raw")] == ["a.xml.gz", "b.xml.gz"]


def test_an_update_package_without_its_list_is_newer_than_the_baseline(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    package = write_package(
        raw / "oa_comm_xml.PMC000xxxxxx.baseline.2024-12-18.tar.gz", {"PMC1.xml": article(1, prose(1))}
    )
    listed = (
        "Article File,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License\nPMC1.xml,PMC1,2020-02-03"
        " 04:05:06,,CC BY\n"
    )
    package.with_name(package.name.replace(".tar.gz", ".filelist.csv")).write_text(listed)
    write_package(raw / "oa_comm_xml.incr.2025-07-01.tar.gz", {"PMC1.xml": article(1, prose(2))})
    build_corpus(raw, tmp_path / "out", CONFIG)
    assert [row["text"] for row in documents(tmp_path / "out")] == [f"Full 1\n{prose(2)}"]


@pytest.mark.parametrize("pmid", ["2²", "99999999999999999999", "", "x"])
def test_a_strange_withdrawal_withdraws_nothing(tmp_path: Path, pmid: str) -> None:
    content = f"<PubmedArticleSet>{abstract(2, prose(2))}<DeleteCitation><PMID>{pmid}</PMID></DeleteCitation><DeleteDocument/></PubmedArticleSet>"  # noqa: E501
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.xml.gz").write_bytes(gzip.compress(content.encode()))
    manifest = build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert manifest.counts["records"] == manifest.counts["documents"] == 1


@pytest.mark.fault(
    "a file that was left out as damaged is sound at the next start",
    "read; nothing of the first attempt stays",
)
def test_shards_follow_the_files_that_were_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was put up with once, and can be read the next time: nothing of the first attempt may
    stay."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_medline(raw / "a.xml.gz", *(abstract(n, prose(n)) for n in range(1, 21)))
    write_medline(raw / "b.xml.gz", *(abstract(n, prose(n)) for n in range(21, 41)))
    sound = (raw / "a.xml.gz").read_bytes()
    cut_in_half(raw / "a.xml.gz")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build.Stage, "finish", stop)
        build_corpus(raw, out, CONFIG, max_bad_files=1)
    (raw / "a.xml.gz").write_bytes(sound)
    manifest = build_corpus(raw, out, CONFIG)
    assert ids(out) == [f"pmid:{n}" for n in range(1, 41)] and manifest.counts["documents"] == 40
    (raw / "b.xml.gz").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build.Stage, "finish", stop)
        build_corpus(raw, out, CONFIG, overwrite=True)
    stamps = sorted(path.stat().st_mtime_ns for path in (out / ".work" / "extracted").iterdir())
    (out / "part-00099.parquet").write_bytes(b"of more files")
    with monkeypatch.context() as patch:
        patch.setattr(build.shutil, "rmtree", lambda *_, **__: None)
        manifest = build_corpus(raw, out, CONFIG, overwrite=True)
    assert sorted(path.stat().st_mtime_ns for path in (out / ".work" / "extracted").iterdir()) == stamps, (
        "overwrite began anew"
    )
    assert sorted(path.name for path in out.glob("*.parquet")) == sorted(manifest.outputs)


@pytest.mark.parametrize(
    "option",
    [
        "--workers=0",
        "--max-bad-files=-1",
        "--characters-per-shard=0",
        "--near-duplicate-similarity=nan",
        "--benchmark-overlap=0",
        "--minimum-words=0",
    ],
)
def test_option_values_that_cannot_work_are_refused_at_once(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_medline(tmp_path / "raw" / "a.xml.gz", abstract(1, prose(1)))
    assert (
        main(["corpus", "build", "--raw", str(tmp_path / "raw"), "--output", str(tmp_path / "out"), option])
        == 2
    )
    said = capsys.readouterr().err
    assert "cannot be" in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_split_that_no_benchmark_has_is_refused(tmp_path: Path) -> None:
    write_medline(tmp_path / "raw" / "a.xml.gz", abstract(1, prose(1)))
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "manifest.json").write_text("{}")
    (tmp_path / "prepared" / "documents.jsonl").write_text(
        '{"benchmark": "A", "split": "test", "pmid": "1", "text": "t"}\n'
    )
    with pytest.raises(UserError, match="no document of the split 'tset'"):
        build_corpus(
            tmp_path / "raw",
            tmp_path / "out",
            replace(CONFIG, benchmark_splits=("tset",)),
            benchmarks=tmp_path / "prepared",
        )


def test_any_range_of_a_package_is_read_from_its_row_groups_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    keep = rng.random(5000) < 0.6
    write_medline(
        tmp_path / "raw" / "a.xml.gz", *(abstract(n, prose(n) if keep[n - 1] else "") for n in range(1, 5001))
    )
    build_corpus(tmp_path / "raw", tmp_path / "out", replace(CONFIG, characters_per_shard=7000))
    assert ids(tmp_path / "out") == [f"pmid:{n}" for n in range(1, 5001) if keep[n - 1]]
    assert len(os.listdir(tmp_path / "out")) > 30
