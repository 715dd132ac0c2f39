"""A mirror of PMC's bucket, against a real S3 server: complete, checked, resumed, and in the last state."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.corpus.sources.estimate import estimate
from biobert_scale.corpus.sources.pmc_cloud import CloudConfig, download
from biobert_scale.corpus.sources.selection import Selection
from biobert_scale.corpus.synthetic import write_synthetic
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import read_manifest
from tests.mirror_runs import asked, expanded, listed, members, packages, run_killed_at, withdrawn
from tests.s3_server import INVENTORIES, PmcBucket, Proxy, article_xml, serving

ARTICLES = 40


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PmcBucket, Proxy]]:
    """Forty articles, every third one in two versions, and their inventory."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as (bucket, proxy):
        for pmcid in range(1, ARTICLES + 1):
            for version in range(1, 3 if pmcid % 3 == 0 else 2):
                bucket.add(pmcid, version)
        bucket.write_inventory()
        yield bucket, proxy


def config(proxy: Proxy, **changes: Any) -> CloudConfig:
    settings = CloudConfig(
        base_url=proxy.url,
        connections=8,
        retries=3,
        timeout_seconds=20,
        backoff_seconds=0,
        package_bytes=4_000,
    )
    return replace(settings, **changes)


def newest(pmcid: int) -> str:
    return f"PMC{pmcid}.{2 if pmcid % 3 == 0 else 1}"


def objects(*names: str) -> set[str]:
    return {f"metadata/{name}.json" for name in names} | {f"{name}/{name}.xml" for name in names}


def texts(output: Path, name: str = "corpus") -> dict[str, str]:
    """The documents of a corpus of the mirror, by identifier."""
    settings = CorpusConfig(minimum_words=5, near_duplicate_similarity=2.0)
    build_corpus(output, output.parent / name, settings)
    return {row["id"]: row["text"] for row in documents(output.parent / name)}


def test_the_latest_version_of_every_article_arrives_packed_and_listed(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    _, proxy = service
    output = tmp_path / "raw"
    download(output, config(proxy))
    names = [newest(pmcid) for pmcid in range(1, ARTICLES + 1)]
    versions = [int(name.rpartition(".")[2]) for name in names]
    expected = [
        article_xml(pmcid, f"sixty of version {version}") for pmcid, version in enumerate(versions, start=1)
    ]
    assert members(output) == {f"{name}.xml": [xml] for name, xml in zip(names, expected, strict=True)}
    assert list(members(output)) == [f"{name}.xml" for name in names], "in the order of their numbers"
    assert [row["Article File"] for row in listed(output)] == [f"{name}.xml" for name in names]
    first = listed(output)[0]
    assert first == {
        "Article File": "PMC1.1.xml",
        "AccessionID": "PMC1",
        "Version": "1",
        "LastUpdated (YYYY-MM-DD HH:MM:SS)": "2026-06-01 00:00:00",
        "PMID": "90000001",
        "License": "CC BY",
        "Retracted": "no",
        "AsOf": "20260601010000",
    }
    paths = packages(output)
    assert len(paths) > 2
    for path in paths:
        stated = path.with_name(f"{path.name}.md5").read_text().split()[0]
        assert hashlib.md5(path.read_bytes()).hexdigest() == stated
    assert [file.path for file in find_raw_files(output)] == paths, "nothing else is taken for a raw file"
    assert set(proxy.requests.values()) == {1}, "nothing is asked for twice"
    assert asked(proxy) == objects(*names)


def test_the_corpus_has_them_with_their_identifiers_and_licences(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    _, proxy = service
    download(tmp_path / "raw", config(proxy))
    found = texts(tmp_path / "raw")
    assert sorted(found) == sorted(f"pmcid:PMC{pmcid}" for pmcid in range(1, ARTICLES + 1))
    assert "sixty of version 2" in found["pmcid:PMC3"] and "sixty of version 1" in found["pmcid:PMC4"]
    row = next(iter(documents(tmp_path / "corpus")))
    assert (row["license"], row["pmid"]) == ("comm", "90000001")
    assert row["origin"] == "pmc-cloud-00001.tar.gz:PMC1.1.xml"


def test_a_second_run_asks_for_the_inventory_alone(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    _, proxy = service
    download(tmp_path, config(proxy))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    asked(proxy)
    download(tmp_path, config(proxy))
    assert asked(proxy) == set()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.fault(
    "a download of articles is killed twice (SIGKILL)",
    "resumes behind the last article on the disk; the packages hold the same",
    lost="the articles of a few seconds",
)
def test_packages_of_a_run_killed_twice_hold_what_those_of_an_undisturbed_one_hold(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    _, proxy = service
    download(tmp_path / "whole", config(proxy))
    asked(proxy)
    for request in (32, 40):
        assert run_killed_at(proxy, tmp_path / "killed", request) == -signal.SIGKILL
    assert run_killed_at(proxy, tmp_path / "killed", 0) == 0
    whole, killed = packages(tmp_path / "whole"), packages(tmp_path / "killed")
    assert [path.name for path in whole] == [path.name for path in killed]
    assert expanded(whole) == expanded(killed)
    assert listed(tmp_path / "whole") == listed(tmp_path / "killed")
    again = sum(count - 1 for key, count in proxy.requests.items() if key.startswith(("PMC", "metadata/")))
    # Each killed run loses what was not yet written down: five lines, and a window of sixteen articles.
    assert again <= 2 * 2 * (5 + 4 * 4)


@pytest.mark.fault("Ctrl-C in a download of articles", "what was fetched is kept, and the rest resumes")
def test_ctrl_c_keeps_what_was_fetched(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    _, proxy = service
    assert run_killed_at(proxy, tmp_path, 60, 1_000_000, by=signal.SIGINT) != 0
    assert not packages(tmp_path), "what is under way is no package"
    first = asked(proxy)
    assert run_killed_at(proxy, tmp_path, 0, 1_000_000) == 0
    assert len(first & asked(proxy)) <= 2 * 4 * 4 + 4, "no more than the window is asked for again"
    assert len(members(tmp_path)) == ARTICLES


@pytest.mark.fault(
    "the object store answers SlowDown, cuts connections, or sends other bytes",
    "the article is asked for again; the packages hold the same",
)
def test_slow_downs_cuts_and_flipped_bits_change_nothing(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    _, proxy = service
    download(tmp_path / "whole", config(proxy))
    undisturbed = proxy.requests.total()
    proxy.requests.clear()
    faults = {"PMC7.1/PMC7.1.xml": ["slow", "slow", "cut"], "metadata/PMC9.2.json": ["cut", "slow"]}
    faults |= {"PMC11.1/PMC11.1.xml": ["flip"], "metadata/PMC12.2.json": ["flip"]}
    faults |= {f"{INVENTORIES}/data/0000-0.csv.gz": ["slow", "cut"]}
    proxy.fault = lambda key, number: dict(enumerate(faults.get(key, []), start=1)).get(number, "")
    download(tmp_path / "disturbed", config(proxy))
    whole, disturbed = packages(tmp_path / "whole"), packages(tmp_path / "disturbed")
    assert expanded(whole) == expanded(disturbed)
    repeated = proxy.requests.total() - undisturbed
    assert sum(map(len, faults.values())) <= repeated <= sum(map(len, faults.values())) + 5


def test_an_article_that_never_comes_fails_alone(
    service: tuple[PmcBucket, Proxy], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, proxy = service
    proxy.fault = lambda key, number: "flip" if key == "PMC5.1/PMC5.1.xml" else ""
    with pytest.raises(RunFailed, match="1 articles failed"):
        download(tmp_path, config(proxy))
    assert "the MD5 of its XML" in caplog.text and len(members(tmp_path)) == ARTICLES - 1
    proxy.fault = lambda key, number: ""
    asked(proxy)
    download(tmp_path, config(proxy))
    assert asked(proxy) == {"metadata/PMC5.1.json", "PMC5.1/PMC5.1.xml"}
    assert len(members(tmp_path)) == ARTICLES


def test_a_server_that_is_gone_ends_the_run_and_loses_nothing(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    _, proxy = service
    gone = [key for key in (f"metadata/{newest(pmcid)}.json" for pmcid in range(10, ARTICLES + 1))]
    proxy.fault = lambda key, number: "slow" if key in gone else ""
    with pytest.raises(RunFailed, match="20 articles in a row failed"):
        download(tmp_path, config(proxy, package_bytes=1_000_000))
    assert not packages(tmp_path), "what is under way is no package yet"
    proxy.fault = lambda key, number: ""
    asked(proxy)
    download(tmp_path, config(proxy, package_bytes=1_000_000))
    assert not {key for key in asked(proxy) if key.startswith(("metadata/PMC9.", "PMC9."))}
    assert len(members(tmp_path)) == ARTICLES


def test_the_same_articles_in_a_package_from_europe_pmc_and_from_the_cloud_are_the_same_documents(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    bucket, proxy = service
    write_synthetic(tmp_path / "made", seed=3, abstracts=40, full_texts=12)
    (made,) = (file for file in find_raw_files(tmp_path / "made") if file.source == "pmc")
    assert made.file_list is not None
    bodies = {int(Path(member.name).stem[3:]): member.stream.read() for member in package_members(made.path)}
    for name in ("package", "europe"):
        (tmp_path / name).mkdir()
    shutil.copy(made.path, tmp_path / "package")
    shutil.copy(made.file_list, tmp_path / "package")
    elements = (content[content.index(b"<article") :] for content in bodies.values())
    together = b"<articles>\n" + b"\n".join(elements) + b"</articles>\n"
    (tmp_path / "europe" / "PMC1_PMC9.xml.gz").write_bytes(gzip.compress(together))
    bucket.clear()
    for pmcid, content in bodies.items():
        bucket.add_xml(content, pmcid, 1, "CC BY")
    bucket.write_inventory()
    download(tmp_path / "cloud", config(proxy))
    package, europe, cloud = (
        texts(tmp_path / name, f"{name}-corpus") for name in ("package", "europe", "cloud")
    )
    assert len(package) == 12 and package == europe == cloud


# --- the next day's inventory


def test_new_versions_new_articles_and_withdrawals_reach_the_corpus(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    bucket, proxy = service
    output = tmp_path / "raw"
    bucket.next_day()
    bucket.add(6, 3)
    bucket.write_inventory()
    download(output, config(proxy))
    bucket.next_day()
    bucket.add(2, 2, words="seventy")
    bucket.add(5, 1, words="eighty")  # the same version, replaced
    bucket.add(99, 1, words="ninety")
    bucket.add(8, 2, xml_url=None)  # the text of the first one stays
    bucket.remove(6, 3)  # its second version, which is older, is the latest one again
    bucket.remove(7, 1)
    bucket.write_inventory()
    asked(proxy)
    download(output, config(proxy))
    assert asked(proxy) == {
        *objects("PMC2.2", "PMC5.1", "PMC6.2", "PMC99.1"),
        "metadata/PMC8.2.json",
    }
    assert withdrawn(output) == {"PMC7": "withdrawn"}
    found = texts(output)
    assert "seventy of version 2" in found["pmcid:PMC2"] and "eighty" in found["pmcid:PMC5"]
    assert "version 2" in found["pmcid:PMC6"] and "pmcid:PMC99" in found and "pmcid:PMC7" not in found
    assert len(found) == ARTICLES

    bucket.next_day()
    bucket.add(7, 1, words="again")
    bucket.write_inventory()
    download(output, config(proxy))
    assert withdrawn(output) == {}
    assert "again" in texts(output, "corpus-again")["pmcid:PMC7"]


def test_an_abstract_is_back_when_its_full_text_is_withdrawn(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    bucket, proxy = service
    output = tmp_path / "raw"
    (output / "baseline").mkdir(parents=True)
    (output / "baseline" / "pubmed26n0001.xml").write_text(
        "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>90000007</PMID><Article><Abstract><AbstractText>"
        "The hens of that yard were fed with grain, and so were the hens of the other one.</AbstractText>"
        "</Abstract></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"
    )
    download(output, config(proxy))
    assert "pmid:90000007" not in texts(output, "before")
    bucket.next_day()
    bucket.remove(7)
    bucket.write_inventory()
    download(output, config(proxy))
    after = texts(output, "after")
    assert "pmid:90000007" in after and "pmcid:PMC7" not in after
    rejects = read_manifest(tmp_path / "after").rejects
    assert rejects["deleted"] == 1 and rejects["superseded"] == 1


def test_changed_metadata_are_read_and_the_text_is_fetched_only_where_the_terms_changed(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    bucket, proxy = service
    output = tmp_path / "raw"
    download(output, config(proxy))
    bucket.next_day()
    bucket.add(1, title="Other words of the title")
    bucket.add(2, license_code="CC0")
    bucket.add(4, license_code="CC BY-NC")
    bucket.add(5, is_retracted=True)
    bucket.write_inventory()
    asked(proxy)
    download(output, config(proxy))
    assert asked(proxy) == {*(f"metadata/PMC{pmcid}.1.json" for pmcid in (1, 2, 4, 5)), "PMC2.1/PMC2.1.xml"}
    assert withdrawn(output) == {"PMC4": "license", "PMC5": "retracted"}
    assert sorted(texts(output)) == sorted(
        f"pmcid:PMC{pmcid}" for pmcid in range(1, ARTICLES + 1) if pmcid not in (4, 5)
    )
    assert [row["License"] for row in listed(output) if row["AccessionID"] == "PMC2"] == ["CC BY", "CC0"]
    download(output, config(proxy))
    assert asked(proxy) == set()


@pytest.mark.parametrize("lacks", ["manifest", "file", "bytes", "sense", "schema"])
@pytest.mark.fault("the newest inventory is half written", "the one before is used, with a line")
def test_a_half_written_inventory_is_passed_over(
    service: tuple[PmcBucket, Proxy], tmp_path: Path, caplog: pytest.LogCaptureFixture, lacks: str
) -> None:
    bucket, proxy = service
    bucket.next_day()
    bucket.add(100)
    bucket.write_inventory()
    manifest, part = f"{bucket.inventory}/manifest.json", f"{INVENTORIES}/data/0001-0.csv.gz"
    match lacks:
        case "manifest":
            bucket.remove_key(manifest)
        case "file":
            bucket.remove_key(part)
        case "bytes":
            bucket.put(part, bucket.read(part)[:-9])
        case "sense":
            bucket.put(manifest, bucket.read(manifest)[:-9])
        case "schema":
            bucket.put(manifest, bucket.read(manifest).replace(b"CSV", b"ORC"))
    download(tmp_path, config(proxy))
    assert len(members(tmp_path)) == ARTICLES
    assert "the inventory of 2026-06-02T01-00Z is passed over" in caplog.text


def test_an_inventory_that_lacks_most_of_what_is_held_withdraws_nothing(
    service: tuple[PmcBucket, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biobert_scale.corpus.sources.plan._FEW", 3)
    bucket, proxy = service
    download(tmp_path, config(proxy))
    bucket.next_day()
    for pmcid in range(1, 31):
        bucket.remove(pmcid, 2 if pmcid % 3 == 0 else 1)
    for pmcid in range(3, 31, 3):
        bucket.remove(pmcid, 1)
    bucket.write_inventory()
    download(tmp_path, config(proxy))
    assert withdrawn(tmp_path) == {} and len(members(tmp_path)) == ARTICLES


def test_without_an_inventory_nothing_is_done(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    bucket, proxy = service
    bucket.remove_key(f"{bucket.inventory}/manifest.json")
    with pytest.raises(RunFailed, match="no complete inventory"):
        download(tmp_path, config(proxy))


# --- which articles


def test_what_is_not_selected_is_known_and_fetched_without_asking_again_when_it_is(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    bucket, proxy = service
    bucket.add(200, license_code="CC BY-NC")
    bucket.add(201, license_code="TDM", is_manuscript=True)
    bucket.add(202, is_retracted=True)
    bucket.add(203, is_historical_ocr=True)
    bucket.add(204, xml_url=None)
    bucket.write_inventory()
    download(tmp_path, config(proxy))
    assert len(members(tmp_path)) == ARTICLES
    assert not asked(proxy) & {f"PMC{pmcid}.1/PMC{pmcid}.1.xml" for pmcid in range(200, 205)}
    wide = Selection(licenses=("any",), retracted=True, historical_ocr=True)
    download(tmp_path, config(proxy, selection=wide))
    assert asked(proxy) == {f"PMC{pmcid}.1/PMC{pmcid}.1.xml" for pmcid in range(200, 204)}
    assert [row["Retracted"] for row in listed(tmp_path)].count("yes") == 1
    download(tmp_path, config(proxy))
    assert asked(proxy) == set() and withdrawn(tmp_path) == {}, (
        "options decide what is fetched, not what stays"
    )


def test_an_object_that_is_missing_is_asked_for_again_with_the_next_inventory_only(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    bucket, proxy = service
    bucket.remove(8, metadata_too=False)
    bucket.remove(10)  # after the inventory was written
    download(tmp_path, config(proxy))
    assert len(members(tmp_path)) == ARTICLES - 2
    asked(proxy)
    download(tmp_path, config(proxy))
    assert asked(proxy) == set()
    bucket.next_day()
    bucket.add(8)
    bucket.write_inventory()
    download(tmp_path, config(proxy))
    assert asked(proxy) == {"metadata/PMC8.1.json", "PMC8.1/PMC8.1.xml"}


def test_the_limit_is_a_number_of_articles_held(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    bucket, proxy = service
    bucket.add(2, license_code="CC BY-NC")
    bucket.write_inventory()
    for limit in (3, 3, 5):
        download(tmp_path, config(proxy, limit=limit))
        assert len(members(tmp_path)) == limit
    assert len(asked(proxy)) <= 2 * 7, "and no more is asked for"


def test_a_package_that_is_damaged_or_gone_is_fetched_again(
    service: tuple[PmcBucket, Proxy], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, proxy = service
    download(tmp_path, config(proxy))
    whole, (first, second, *_) = members(tmp_path), packages(tmp_path)
    content = bytearray(first.read_bytes())
    content[100] ^= 1
    first.write_bytes(content)
    second.unlink()
    asked(proxy)
    download(tmp_path, config(proxy))
    assert members(tmp_path) == whole and "its articles are fetched again" in caplog.text
    assert all(not key.startswith("metadata/") for key in asked(proxy)), "their metadata are known"


def test_a_dry_run_counts_and_estimates_and_writes_nothing(
    service: tuple[PmcBucket, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, proxy = service
    for pmcid in range(300, 310):
        bucket.add(pmcid, license_code="CC BY-NC")
    bucket.write_inventory()
    table = estimate(tmp_path / "out", config(proxy)).splitlines()
    assert "50 articles: 0 are held, 50 to ask for, 0 withdrawn" in table[0]
    assert [line.split()[-4:-1] for line in table[2:4]] == [["BY", "40", "40"], ["BY-NC", "10", "0"]]
    assert table[-1] == "from the metadata that are held, and of the 50 other articles"
    monkeypatch.setattr("biobert_scale.corpus.sources.estimate.DRAWN", 20)
    drawn = estimate(tmp_path / "out", config(proxy)).splitlines()
    assert drawn[-2].split()[:2] == ["total", "50"]
    assert drawn[-1].startswith("an estimate: 50 articles were never asked for; 20 of them")
    assert not (tmp_path / "out").exists()
    download(tmp_path / "out", config(proxy))
    asked(proxy)
    known = estimate(tmp_path / "out", config(proxy)).splitlines()
    assert asked(proxy) == set() and known[-1] == "from the metadata that are held"
    assert known[-2].split() == ["total", "50", "0", "0.00B"]


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://127.0.0.1:1", r"\(Connection refused\) \(attempts without progress: 2\)"),
        ("http://no-such-host.invalid", r"Name or service not known\): http://no-such-host.invalid/"),
        ("s3://pmc-oa-opendata", "no http or https address"),
    ],
)
def test_a_server_out_of_reach_is_named_in_one_line(tmp_path: Path, base_url: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as failure:
        download(tmp_path, CloudConfig(base_url=base_url, retries=1, backoff_seconds=0))
    assert "\n" not in str(failure.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_accounts_settings_are_not_in_the_way(
    service: tuple[PmcBucket, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, proxy = service
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name, value in {
        "AWS_REGION": "eu-1",
        "AWS_BUCKET": "b",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")
    download(tmp_path, config(proxy, limit=2))
    assert len(members(tmp_path)) == 2


def test_two_runs_at_once_are_refused(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    _, proxy = service
    refusals = []

    def second_run(number: int) -> None:
        if number == 5:
            with pytest.raises(UserError) as refusal:
                download(tmp_path, config(proxy))
            refusals.append(str(refusal.value))

    proxy.before = second_run
    download(tmp_path, config(proxy))
    assert len(refusals) == 1 and "corpus download" in refusals[0]


# --- the command


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--groups", "pmc-cloud", "baseline"], "--base-url for groups of several servers"),
        (["--groups", "pmc-cloud", "--include", "*1*"], "pmc-cloud has articles"),
        (["--groups", "baseline", "--licenses", "CC0"], "options for articles without --groups pmc-cloud"),
        (["--groups", "pmc-clod"], "no group 'pmc-clod': command line; the groups are"),
        (["--groups", "pmc-cloud", "--limit", "0"], "--limit cannot be 0"),
        (["--groups", "pmc-cloud", "--base-url", ""], "no http or https address"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    output = tmp_path / "out"
    base = ["corpus", "download", "--output", str(output)]
    assert main([*base, "--base-url", "http://127.0.0.1:1", *arguments]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("biobert-scale:")]
    assert len(lines) == 1 and says in lines[0]
    assert not output.exists()


def test_the_command_mirrors_and_counts(
    service: tuple[PmcBucket, Proxy], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, proxy = service
    base = ["corpus", "download", "--output", str(tmp_path / "raw"), "--base-url", proxy.url]
    base += ["--groups", "pmc-cloud", "--connections", "3"]
    assert main([*base, "--limit", "6", "--licenses", "cc-by"]) == 0
    assert len(members(tmp_path / "raw")) == 6
    assert main([*base, "--dry-run"]) == 0
    assert "40 articles: 6 are held, 34 to ask for" in capfd.readouterr().out
    assert main([*base[:-4], "--base-url", "http://127.0.0.1:1", *base[-4:], "--retries", "0"]) == 1
