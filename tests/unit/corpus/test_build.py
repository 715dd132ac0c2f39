from __future__ import annotations

import gzip
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.file_list import license_group, read_file_list
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.corpus.selection.resolve import CODES, REASONS, Index, decide
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest, write_atomically
from tests.factories import abstract, article, cut_in_half, prose, write_medline, write_package

CONFIG = CorpusConfig(minimum_words=5, characters_per_shard=230)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two MEDLINE files and a package: every reason that needs more than one record happens once or twice."""
    raw = tmp_path / "raw"
    write_medline(
        raw / "pubmed25n0001.xml.gz",
        abstract(1, prose(1), year=2020),
        abstract(2, prose(2)),
        abstract(3),
        abstract(4, prose(4)),
        abstract(5, prose(5), pmcid="PMC50"),
        abstract(6, prose(6)),
        abstract(7, prose(7), title="Same."),
        abstract(8, prose(7), title="Same."),
        abstract(9, prose(9)),
    )
    write_medline(
        raw / "pubmed25n0002.xml.gz",
        abstract(1, prose(100), year=2021),
        abstract(10, prose(10)),
        deleted=(2,),
    )
    members = {
        "PMC000xxxxxx/PMC50.xml": article(50, prose(50)),
        "PMC000xxxxxx/PMC60.xml": article(60, prose(60), pmid="6"),
        "PMC000xxxxxx/PMC70.xml": b"<article><body>",
        "PMC000xxxxxx/PMC80.xml": article(80, prose(80)),
        "README.txt": b"not an article",
    }
    package = write_package(raw / "oa_noncomm_xml.PMC000xxxxxx.baseline.tar.gz", members)
    listed = (
        "Article File,Article Citation,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License,Retracted\n"
    )
    listed += "PMC000xxxxxx/PMC80.xml,J. 2020,PMC80,2021-02-03 04:05:06,9,CC BY-NC,no\n"
    package.with_name(package.name.replace(".tar.gz", ".filelist.csv")).write_text(listed)
    (raw / "vocab.txt").write_text("[PAD]")
    (raw / "other.xml").write_text("<html/>")
    write_package(raw / "model.tar.gz", {"weights.bin": b"1"})
    return raw


def test_every_record_is_accounted_for(raw: Path, tmp_path: Path) -> None:
    manifest = build_corpus(raw, tmp_path / "out", CONFIG)
    assert manifest.rejects == {
        "deleted": 1,
        "superseded": 1,
        "no_abstract": 1,
        "full_text_present": 3,
        "duplicate_text": 1,
        "malformed": 1,
    }
    assert manifest.counts["records_medline"] == 11 and manifest.counts["records_pmc"] == 4
    assert manifest.counts["documents"] + sum(manifest.rejects.values()) == 15
    assert manifest.counts["documents_medline"] == 4 and manifest.counts["documents_pmc"] == 3
    assert set(manifest.versions) == {"biobert_scale", "lxml", "pyarrow"}


def test_kept_documents_come_in_input_order_with_their_columns(raw: Path, tmp_path: Path) -> None:
    manifest = build_corpus(raw, tmp_path / "out", CONFIG)
    rows = list(documents(tmp_path / "out"))
    assert [row["id"] for row in rows] == [
        "pmid:4",
        "pmid:7",
        "pmid:1",
        "pmid:10",
        "pmcid:PMC50",
        "pmcid:PMC60",
        "pmcid:PMC80",
    ]
    assert rows[2]["text"] == f"Title 1.\n{prose(100)}"
    assert rows[6] == {
        "id": "pmcid:PMC80",
        "source": "pmc",
        "text": f"Full 80\n{prose(80)}",
        "pmid": "9",
        "pmcid": "PMC80",
        "license": "noncomm",
        "origin": "oa_noncomm_xml.PMC000xxxxxx.baseline.tar.gz:PMC000xxxxxx/PMC80.xml",
    }
    assert manifest.counts["words"] == sum(len(row["text"].split()) for row in rows)
    assert sorted(manifest.outputs) == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert not (tmp_path / "out" / ".work").exists()


def test_bytes_do_not_depend_on_workers(raw: Path, tmp_path: Path) -> None:
    one = build_corpus(raw, tmp_path / "one", CONFIG, workers=1)
    two = build_corpus(raw, tmp_path / "two", CONFIG, workers=2)
    assert one.outputs == two.outputs and one == two


def test_shards_split_a_file_of_many_records_without_loss(tmp_path: Path) -> None:
    records = [abstract(number, prose(number) if number % 3 else "") for number in range(1, 4501)]
    write_medline(tmp_path / "raw" / "a.xml.gz", *records[:4300])
    write_medline(tmp_path / "raw" / "b.xml.gz", *records[4300:])
    manifest = build_corpus(
        tmp_path / "raw", tmp_path / "out", CorpusConfig(minimum_words=5, characters_per_shard=110_000)
    )
    assert [row["pmid"] for row in documents(tmp_path / "out")] == [
        str(number) for number in range(1, 4501) if number % 3
    ]
    assert len(manifest.outputs) == 3


def test_records_without_an_identifier_are_rejected(tmp_path: Path) -> None:
    nameless = abstract(1, prose(1)).replace(">1</PMID>", "></PMID>")
    write_medline(tmp_path / "raw" / "a.xml.gz", nameless, nameless, abstract(2, prose(2), pmcid="PMC7.1"))
    members = {
        "x.xml": article(5, prose(5)).replace(b">5</article-id>", b">none</article-id>"),
        "PMC7.xml": article(7, prose(7)),
    }
    write_package(tmp_path / "raw" / "oa_comm_xml.x.tar.gz", members)
    manifest = build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert manifest.rejects == {"no_identifier": 3, "full_text_present": 1}


def test_every_article_of_a_wrapper_is_read(tmp_path: Path) -> None:
    wrapper = (
        b"<pmc-articleset>" + article(5, prose(5), pmid="55") + article(6, prose(6)) + b"</pmc-articleset>"
    )
    write_package(
        tmp_path / "raw" / "oa_comm_xml.x.tar.gz", {"set.xml": wrapper, "PMC7.xml": article(7, prose(7))}
    )
    manifest = build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert [(row["id"], row["pmid"]) for row in documents(tmp_path / "out")] == [
        ("pmcid:PMC5", "55"),
        ("pmcid:PMC6", ""),
        ("pmcid:PMC7", ""),
    ]
    assert manifest.counts["records_pmc"] == 3


def test_an_abstract_in_another_place_stands_in_where_there_is_none(tmp_path: Path) -> None:
    def other(pmid: int, language: str, text: str) -> str:
        block = (
            "<OtherAbstract"
            f' Language="{language}"><AbstractText>{text}</AbstractText></OtherAbstract></MedlineCitation>'
        )
        return abstract(pmid).replace("</MedlineCitation>", block)

    spanish = "El hierro del grupo fue medido y los niveles subieron en un tercio de las ratas del estudio."
    write_medline(
        tmp_path / "raw" / "a.xml.gz",
        other(1, "eng", prose(1)),
        other(2, "spa", spanish),
        abstract(3, prose(3)),
    )
    manifest = build_corpus(tmp_path / "raw", tmp_path / "english", CONFIG)
    assert [row["pmid"] for row in documents(tmp_path / "english")] == ["1", "3"] and manifest.rejects == {
        "no_abstract": 1
    }
    build_corpus(tmp_path / "raw", tmp_path / "both", replace(CONFIG, languages=("eng", "spa")))
    rows = list(documents(tmp_path / "both"))
    assert [row["pmid"] for row in rows] == ["1", "2", "3"] and rows[1]["text"].endswith(spanish)


@pytest.mark.fault("an error page under a raw file's name", "named as damaged")
def test_files_that_cannot_even_be_recognised_count_as_damaged(raw: Path, tmp_path: Path) -> None:
    (raw / "pubmed25n0009.xml.gz").write_bytes(b"<html>busy</html>")
    with pytest.raises(UserError, match="gzip") as failure:
        build_corpus(raw, tmp_path / "out", CONFIG)
    assert failure.value.where == str(raw / "pubmed25n0009.xml.gz")
    assert build_corpus(raw, tmp_path / "out", CONFIG, max_bad_files=1).counts["bad_files"] == 1


def test_datasets_opens_the_shards(raw: Path, tmp_path: Path) -> None:
    import datasets

    build_corpus(raw, tmp_path / "out", CONFIG)
    files = sorted(str(path) for path in (tmp_path / "out").glob("part-*.parquet"))
    table = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert table["id"][0] == "pmid:4" and table.num_rows == 7


def test_finished_build_does_nothing_and_another_is_refused(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = build_corpus(raw, out, CONFIG)
    stamp = (out / "part-00000.parquet").stat().st_mtime_ns
    assert build_corpus(raw, out, CONFIG) == manifest
    assert (out / "part-00000.parquet").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="other inputs or settings"):
        build_corpus(raw, out, CorpusConfig(minimum_words=6))
    assert build_corpus(raw, out, CorpusConfig(minimum_words=6), overwrite=True).key != manifest.key


@pytest.mark.fault(
    "a corpus build interrupted, one task's result lost",
    "only that task is repeated, same bytes",
)
def test_interrupted_build_goes_on_with_what_is_missing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = build_corpus(raw, tmp_path / "whole", CONFIG)
    out = tmp_path / "out"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("biobert_scale.corpus.comparison.decide", stop)
        build_corpus(raw, out, CONFIG)
    assert not (out / "manifest.json").exists()
    extracted = sorted((out / ".work" / "extracted").glob("*.parquet"))
    stamps = [path.stat().st_mtime_ns for path in extracted]
    assert len(extracted) == 3
    next(
        (out / ".work" / "extracted").glob("pubmed25n0002*.json")
    ).unlink()  # as if killed inside the second file
    next((out / ".work").glob("extract-*/completions/00001")).unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("biobert_scale.corpus.comparison.decide", stop)
        build_corpus(raw, out, CONFIG)
    assert [path.stat().st_mtime_ns != stamp for path, stamp in zip(extracted, stamps, strict=True)] == [
        False,
        False,
        True,
    ]
    assert build_corpus(raw, out, CONFIG).outputs == expected.outputs


def test_damaged_files_that_are_put_up_with_are_left_out_and_counted(raw: Path, tmp_path: Path) -> None:
    cut_in_half(raw / "pubmed25n0002.xml.gz")
    cut_in_half(raw / "pubmed25n0003.xml.gz")
    with pytest.raises(UserError, match="2 of 4 files are damaged") as failure:
        build_corpus(raw, tmp_path / "out", CONFIG, max_bad_files=1)
    assert failure.value.where == str(raw / "pubmed25n0002.xml.gz")
    manifest = build_corpus(raw, tmp_path / "out", CONFIG, max_bad_files=2)
    assert manifest.counts["bad_files"] == 2 and manifest.counts["records_medline"] == 9


@pytest.mark.fault(
    "a damaged raw file is replaced by a sound one",
    "only that file is read again, same bytes",
)
def test_build_goes_on_after_a_damaged_file_is_replaced(raw: Path, tmp_path: Path) -> None:
    expected, sound = (
        build_corpus(raw, tmp_path / "whole", CONFIG),
        (raw / "pubmed25n0002.xml.gz").read_bytes(),
    )
    cut_in_half(raw / "pubmed25n0002.xml.gz")
    with pytest.raises(UserError, match="breaks off"):
        build_corpus(raw, tmp_path / "out", CONFIG)
    extracted = sorted((tmp_path / "out" / ".work" / "extracted").glob("*.parquet"))
    stamps = {path.name: path.stat().st_mtime_ns for path in extracted}
    assert len(stamps) == 2  # the other files were read all the same
    (raw / "pubmed25n0002.xml.gz").write_bytes(sound)
    seen: dict[str, int] = {}

    def note_stamps(index: Index, deletions: dict[int, int]) -> np.ndarray:
        seen.update({path.name: path.stat().st_mtime_ns for path in extracted})
        return decide(index, deletions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("biobert_scale.corpus.comparison.decide", note_stamps)
        manifest = build_corpus(raw, tmp_path / "out", CONFIG)
    assert seen == stamps and manifest == expected


def test_near_duplicates_leave_the_first_and_only_documents_that_resemble_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    words = [f"word{number}" for number in rng.integers(0, 2000, 400)]

    def changed(every: int) -> str:
        return " ".join("other" if place % every == 7 else word for place, word in enumerate(words))

    texts = [
        " ".join(words),
        changed(200),
        changed(40),
        changed(9),
        " ".join(words[:200]),
        " ".join(reversed(words)),
    ]
    write_medline(
        tmp_path / "raw" / "a.xml.gz", *(abstract(number, text) for number, text in enumerate(texts, 1))
    )
    config = replace(CONFIG, languages=("eng", "und"))
    records = (tmp_path / "raw" / "a.xml.gz").read_bytes()
    (tmp_path / "raw" / "a.xml.gz").write_bytes(
        gzip.compress(gzip.decompress(records).replace(b">eng<", b">und<"), mtime=0)
    )
    manifest = build_corpus(tmp_path / "raw", tmp_path / "out", config)
    # 1: the original; 2: Jaccard similarity 0.95; 3: 0.77; 4: 0.29; 5: half of it; 6: the same words, another
    # text
    assert [row["pmid"] for row in documents(tmp_path / "out")] == ["1", "3", "4", "5", "6"]
    assert manifest.rejects == {"near_duplicate": 1}
    assert not build_corpus(
        tmp_path / "raw", tmp_path / "all", replace(config, near_duplicate_similarity=2.0)
    ).rejects


def test_documents_of_a_test_set_are_left_out_and_listed(raw: Path, tmp_path: Path) -> None:
    long = " ".join(f"term{number} of the" for number in range(60))
    members = {
        "PMC90.xml": article(90, f"Before. {long}. After."),
        "PMC91.xml": article(91, f"{long[:300]} and more of the things"),
    }
    write_package(raw / "oa_comm_xml.PMC000xxxxxx.baseline.tar.gz", members)
    rows = [
        {"benchmark": "A", "split": "test", "pmid": "4", "text": "a text of its own"},
        {"benchmark": "A", "split": "train", "pmid": "7", "text": "read at fine-tuning"},
        {"benchmark": "B", "split": "test", "pmid": "", "text": long},
        {"benchmark": "B", "split": "test", "pmid": "", "text": "short"},
    ]
    prepared = tmp_path / "prepared"
    write_atomically(prepared / "documents.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (prepared / "manifest.json").write_text("{}")
    out = tmp_path / "out"
    manifest = build_corpus(raw, out, replace(CONFIG, benchmark_overlap=0.5), benchmarks=prepared)
    assert manifest.rejects["benchmark"] == 2
    kept = {row["id"] for row in documents(out)}
    assert not kept & {"pmid:4", "pmcid:PMC90"} and kept >= {"pmid:7", "pmcid:PMC91"}
    listed = [json.loads(line) for line in (out / "benchmark-documents.jsonl").read_text().splitlines()]
    assert [(row["id"], row["benchmark"], row["by"], row["share"]) for row in listed] == [
        ("pmid:4", "A", "pmid", 1.0), ("pmcid:PMC90", "B", "text", 1.0),
    ]  # fmt: skip
    strict = build_corpus(
        raw, tmp_path / "strict", replace(CONFIG, benchmark_overlap=0.1), benchmarks=prepared
    )
    assert strict.rejects["benchmark"] == 3


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.fault("a MEDLINE file cut in half", "named; nothing looks finished")
def test_damaged_file_is_named_and_leaves_nothing_finished(
    raw: Path, tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = raw / "pubmed25n0002.xml.gz"
    cut_in_half(path)
    with pytest.raises(UserError, match="breaks off") as failure:
        build_corpus(raw, tmp_path / "out", CONFIG, workers=workers)
    assert failure.value.where == str(path) and failure.value.exit_code == 2
    assert (
        not list((tmp_path / "out").glob("*.parquet")) and not (tmp_path / "out" / "manifest.json").exists()
    )
    with pytest.raises(UserError, match="unfinished"):
        list(documents(tmp_path / "out"))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "damage", ["gzip cut", "gzip flipped", "gzip flipped after padding", "tar cut", "no gzip"]
)
@pytest.mark.fault("an archive of articles: {damage}", "named, not read to a false end")
def test_damaged_packages_are_refused(tmp_path: Path, damage: str) -> None:
    noise = np.random.default_rng(1).bytes(40_000).hex()
    members = {
        f"PMC/PMC{number}.xml": article(number, noise[number * 20_000 :][:20_000]) for number in range(4)
    }
    path = write_package(tmp_path / "oa_comm_xml.x.tar.gz", members)
    data = path.read_bytes()
    match damage:
        case "gzip cut":
            data = data[: len(data) // 2]
        case "gzip flipped":
            data = data[:-8] + bytes(8)
        case "gzip flipped after padding":
            data = gzip.compress(gzip.decompress(data) + bytes(1 << 20))[:-8] + bytes(8)
        case "tar cut":
            data = gzip.compress(gzip.decompress(data)[:30_000])
        case "no gzip":
            data = b"<html>Not found</html>"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"damaged|breaks off") as failure:
        list(package_members(path))
    assert failure.value.where == str(path)


@pytest.mark.fault("an archive whose members lead out of it", "refused")
def test_links_and_climbing_paths_are_refused(tmp_path: Path) -> None:
    for path in (
        write_package(tmp_path / "a.tar.gz", {"../PMC1.xml": b"<article/>"}),
        write_package(tmp_path / "b.tar.gz", {"/PMC1.xml": b"<article/>"}),
        write_package(tmp_path / "c.tar.gz", {}, link="PMC1.xml"),
    ):
        with pytest.raises(UserError, match="leads out of it"):
            list(package_members(path))


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        find_raw_files(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no PubMed"):
        find_raw_files(tmp_path)


def test_no_document_left_is_told(tmp_path: Path) -> None:
    write_medline(tmp_path / "raw" / "a.xml.gz", abstract(1))
    with pytest.raises(UserError, match="no_abstract 1"):
        build_corpus(tmp_path / "raw", tmp_path / "out", CONFIG)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_files_apply_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [
        "updatefiles/pubmed25n1275.xml.gz",
        "baseline/pubmed25n0999.xml.gz",
        "baseline/pubmed25n1000.xml.gz",
        "pubmed25n10000.xml.gz",
    ]
    for name in names:
        write_medline(tmp_path / name, abstract(1))
    write_package(tmp_path / "a" / "oa_comm_xml.incr.2024.tar.gz", {"PMC1.xml": b"<article/>"})
    found = [file.path.name for file in find_raw_files(tmp_path)]
    numbered = [f"pubmed25n{number}.xml.gz" for number in ("0999", "1000", "1275", "10000")]
    assert found == [*numbered, "oa_comm_xml.incr.2024.tar.gz"]


def test_licence_groups() -> None:
    assert license_group("oa_comm_xml.PMC003xxxxxx.tar.gz", "NO-CC CODE") == "comm"
    cases = {"CC BY": "comm", "CC0": "comm", "CC BY-NC-ND": "noncomm", "NO-CC CODE": "other", "": ""}
    assert {name: license_group("mine.tar.gz", name) for name in cases} == cases


def test_file_list_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.filelist.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="Article File"):
        read_file_list(path)


def fates(rows: list[tuple[int, int, int, int]], deletions: dict[int, int] | None = None) -> list[str]:
    """`rows`: (pmid, version, revised, file), all MEDLINE with different texts."""
    columns = np.array(rows, dtype=np.int64).T
    index = Index(
        medline=np.ones(len(rows), dtype=bool),
        pmc=np.zeros(len(rows), dtype=bool),
        pmid=columns[0],
        pmcid=np.zeros(len(rows), dtype=np.int64),
        version=columns[1],
        revised=columns[2],
        digest=np.array([f"{number:016d}".encode() for number in range(len(rows))]).view("V16"),
        code=np.zeros(len(rows), dtype=np.uint8),
    )
    ends = {pmid: int(np.count_nonzero(columns[3] <= file)) for pmid, file in (deletions or {}).items()}
    return [REASONS[code] for code in decide(index, ends)]


@pytest.mark.parametrize(
    ("rows", "standing"),
    [
        ([(1, 1, 5, 0), (1, 1, 5, 1)], 1),  # the later file
        ([(1, 1, 5, 0), (1, 1, 5, 0)], 1),  # the later position
        ([(1, 1, 6, 0), (1, 1, 5, 1)], 0),  # the later date before the later file
        ([(1, 1, 5, 0), (1, 1, 0, 1)], 0),  # a date before none
        ([(1, 2, 5, 0), (1, 1, 9, 1)], 0),  # the higher version before all
    ],
)
def test_one_state_of_a_record_stands(rows: list[tuple[int, int, int, int]], standing: int) -> None:
    assert [fate == "" for fate in fates(rows)] == [index == standing for index in range(len(rows))]


def test_withdrawal_holds_until_a_later_file_brings_the_record_back() -> None:
    assert fates([(1, 1, 5, 0)], {1: 0}) == ["deleted"]
    assert fates([(1, 1, 5, 0), (2, 1, 5, 0)], {1: 1}) == ["deleted", ""]
    assert fates([(1, 1, 5, 0), (1, 1, 6, 2)], {1: 1}) == ["superseded", ""]
    assert fates([(1, 1, 5, 0), (1, 1, 4, 2)], {1: 1}) == [
        "deleted",
        "superseded",
    ]  # an old state brings nothing back


def test_reason_codes_fit_their_column() -> None:
    assert len(CODES) == len(REASONS) < 256


def test_real_data_is_accounted_for(
    real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    manifest = build_corpus(real_data / "pubmed", tmp_path / "out", CorpusConfig())
    names = [record["name"] for record in manifest.inputs]
    assert names.index("pubmedsample18n0001.xml.gz") < names.index("pubmedsample_2019.xml.gz")
    assert manifest.counts["records"] == 2031 + 177 + 176
    assert manifest.counts["documents"] + sum(manifest.rejects.values()) == manifest.counts["records"]
    assert manifest.rejects["deleted"] == 7
    assert len({row["id"] for row in documents(tmp_path / "out")}) == manifest.counts["documents"]
    assert read_manifest(tmp_path / "out", "corpus") == manifest and not caplog.records
