from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.corpus.listing import MirrorConfig, data_names, listed_names, parse_md5
from biobert_scale.corpus.mirror import download, plan_download
from biobert_scale.corpus.part import damage
from biobert_scale.corpus.raw import find_raw_files
from biobert_scale.corpus.transport import seconds_to_wait
from biobert_scale.errors import RunFailed, UserError
from tests.ncbi_server import MADE, Fault, NcbiServer, listing, medline, package, serving

FIRST, SECOND, UPDATE = (
    "/pubmed/baseline/pubmed25n0001.xml.gz",
    "/pubmed/baseline/pubmed25n0002.xml.gz",
    "/pubmed/updatefiles/pubmed25n1275.xml.gz",
)
BASE = "/pub/pmc/oa_bulk/oa_comm/xml/oa_comm_xml.PMC003xxxxxx.baseline.2024-12-18"
DAILY = "/pub/pmc/oa_bulk/oa_comm/xml/oa_comm_xml.incr.2024-12-19"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NcbiServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        server.add_medline(FIRST, 1, 2, filler=40_000)
        server.add_medline(SECOND, 3)
        server.add_medline(UPDATE, 4)
        server.add_package(BASE, 10, 11, filler=20_000)
        server.add_package(DAILY, 12)
        server.files["/pubmed/baseline/README.txt"] = b"Terms.\n"
        server.files["/pubmed/updatefiles/pubmed25n1275_stats.html"] = b"<html></html>"
        yield server


def config(server: NcbiServer, *groups: str, **changes: object) -> MirrorConfig:
    settings = MirrorConfig(
        groups=groups or ("baseline",),
        base_url=server.url,
        connections=2,
        retries=3,
        timeout_seconds=20,
        backoff_seconds=0,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def served(server: NcbiServer, *paths: str) -> list[bytes]:
    return [server.files[path] for path in paths]


def test_every_group_arrives_with_checksums_and_file_lists_and_is_what_the_corpus_build_finds(
    server: NcbiServer, tmp_path: Path
) -> None:
    download(tmp_path, config(server, "updatefiles", "comm", "baseline"))
    expected = {
        **{
            f"baseline/{path.rsplit('/')[-1]}": server.files[path]
            for path in (FIRST, f"{FIRST}.md5", SECOND, f"{SECOND}.md5")
        },
        **{f"updatefiles/{path.rsplit('/')[-1]}": server.files[path] for path in (UPDATE, f"{UPDATE}.md5")},
        **{
            f"comm/{(path + end).rsplit('/')[-1]}": server.files[path + end]
            for path in (BASE, DAILY)
            for end in (".tar.gz", ".filelist.csv")
        },
    }
    assert contents(tmp_path) == expected
    (tmp_path / "baseline" / ".pubmed25n0003.xml.gz.part").write_bytes(b"unfinished")
    names = [path.rsplit("/", 1)[1] for path in (FIRST, SECOND, UPDATE, f"{BASE}.tar.gz", f"{DAILY}.tar.gz")]
    found = find_raw_files(tmp_path)
    assert [file.path.name for file in found] == names
    assert all(file.file_list is not None for file in found if file.source == "pmc")


def test_a_second_run_fetches_nothing_and_checks_what_is_there_without_the_network(
    server: NcbiServer, tmp_path: Path
) -> None:
    settings = config(server, "baseline", "comm")
    download(tmp_path, settings)
    before = contents(tmp_path)
    server.requests.clear()
    download(tmp_path, settings)
    assert contents(tmp_path) == before
    assert {seen.path for seen in server.requests if seen.method == "GET"} == {
        "/pubmed/baseline/",
        "/pub/pmc/oa_bulk/oa_comm/xml/",
    }


@pytest.mark.parametrize(
    ("path", "local"),
    [(FIRST, "baseline/pubmed25n0001.xml.gz"), (f"{BASE}.tar.gz", f"comm/{BASE.rsplit('/')[-1]}.tar.gz")],
)
@pytest.mark.fault("one bit of a downloaded file flipped on the disk", "found by its checksum, fetched again")
def test_a_file_damaged_on_the_disk_is_found_and_fetched_again(
    server: NcbiServer, tmp_path: Path, path: str, local: str
) -> None:
    settings = config(server, "baseline", "comm")
    download(tmp_path, settings)
    damaged = bytearray(server.files[path])
    damaged[-6] ^= 1  # in the gzip trailer: only a check to the very end sees it
    (tmp_path / local).write_bytes(damaged)
    download(tmp_path, replace(settings, verify=False))
    assert (tmp_path / local).read_bytes() == damaged
    download(tmp_path, settings)
    assert (tmp_path / local).read_bytes() == server.files[path]


@pytest.mark.fault("a file changes on the server, same length", "fetched again")
def test_a_file_that_changed_on_the_server_is_fetched_again(server: NcbiServer, tmp_path: Path) -> None:
    download(tmp_path, config(server))
    local = tmp_path / "baseline" / "pubmed25n0002.xml.gz"
    assert int(local.stat().st_mtime) == MADE
    server.add_medline(SECOND, 5)  # as long as before: only its time tells
    assert len(server.files[SECOND]) == local.stat().st_size
    server.modified[SECOND] = MADE + 60
    server.requests.clear()
    download(tmp_path, config(server))
    assert local.read_bytes() == medline(5)
    assert [
        seen.path for seen in server.requests if seen.path.endswith(".xml.gz") and seen.method == "GET"
    ] == [SECOND]


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.fault(
    "the server breaks off in the middle of a file, twice",
    "resumes at the byte, with and without entity tags",
)
def test_a_dropped_transfer_goes_on_at_the_byte_where_it_broke_off(
    server: NcbiServer, tmp_path: Path, etags: bool
) -> None:
    server.etags = etags
    server.faults[FIRST] += [Fault(drop_after=10_000), Fault(drop_after=7_000)]
    download(tmp_path, config(server))
    whole = server.files[FIRST]
    assert (tmp_path / "baseline" / "pubmed25n0001.xml.gz").read_bytes() == whole
    assert [(seen.range, seen.status) for seen in server.gets(FIRST)] == [
        (None, 200),
        ("bytes=10000-", 206),
        ("bytes=17000-", 206),
    ]
    assert [seen.sent for seen in server.gets(FIRST)] == [10_000, 7_000, len(whole) - 17_000]
    assert (server.gets(FIRST)[1].if_range or "").startswith('"') == etags


@pytest.mark.fault("SIGKILL of a download", "the next one resumes at the byte")
def test_a_killed_run_is_continued_by_the_next(server: NcbiServer, tmp_path: Path) -> None:
    server.faults[FIRST].append(Fault(hold_after=12_000))
    command = [
        sys.executable,
        "-m",
        "biobert_scale.cli",
        "corpus",
        "download",
        "--output",
        str(tmp_path),
        "--groups",
        "baseline",
        "--limit",
        "1",
    ]
    root = Path(__file__).parents[3]
    run = subprocess.Popen(
        [*command, "--base-url", server.url],
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    part = tmp_path / "baseline" / ".pubmed25n0001.xml.gz.part"
    while run.poll() is None and not (part.exists() and part.stat().st_size == 12_000):
        os.sched_yield()
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, run.communicate()
    server.go_on.set()
    assert not (tmp_path / "baseline" / "pubmed25n0001.xml.gz").exists()
    download(tmp_path, config(server, limit=1))
    last = server.gets(FIRST)[-1]
    assert (last.range, last.status, last.sent) == ("bytes=12000-", 206, len(server.files[FIRST]) - 12_000)
    assert [*contents(tmp_path)] and contents(tmp_path)["baseline/pubmed25n0001.xml.gz"] == server.files[
        FIRST
    ]
    assert not part.exists() and len(contents(tmp_path)) == 2


@pytest.mark.fault("killed between a file's last byte and its renaming", "no byte is fetched again")
def test_a_run_stopped_between_the_last_byte_and_the_rename_fetches_no_byte_again(
    server: NcbiServer, tmp_path: Path
) -> None:
    whole = server.files[f"{BASE}.tar.gz"]
    name, settings = f"{BASE.rsplit('/')[-1]}.tar.gz", config(server, "comm", limit=1, retries=0)
    server.faults[f"{BASE}.tar.gz"].append(Fault(drop_after=100))
    with pytest.raises(RunFailed):
        download(tmp_path, settings)
    (tmp_path / "comm" / f".{name}.part").write_bytes(whole)
    server.requests.clear()
    download(tmp_path, settings)
    assert (tmp_path / "comm" / name).read_bytes() == whole
    assert not server.gets(f"{BASE}.tar.gz")


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.fault(
    "a file changes on the server between two parts",
    "begun anew, never mixed",
    lost="the part",
)
def test_a_part_of_a_file_that_has_changed_since_is_thrown_away(
    server: NcbiServer, tmp_path: Path, etags: bool
) -> None:
    server.etags = etags
    path = f"{BASE}.tar.gz"

    def replace_file(requested: str) -> None:
        if requested == path and len(server.gets(path)) == 1:
            server.files[path], server.modified[path] = package(20, 21, filler=30_000), MADE + 60

    server.before_get = replace_file
    server.faults[path].append(Fault(drop_after=5_000))
    download(tmp_path, config(server, "comm"))
    local = tmp_path / "comm" / path.rsplit("/", 1)[1]
    assert local.read_bytes() == package(20, 21, filler=30_000) and int(local.stat().st_mtime) == MADE + 60
    assert [(seen.range, seen.status) for seen in server.gets(path)] == [(None, 200), ("bytes=5000-", 200)]


@pytest.mark.fault("the server ignores ranges", "begun anew", lost="the part")
def test_a_server_that_ignores_ranges_sends_the_file_from_its_beginning(
    server: NcbiServer, tmp_path: Path
) -> None:
    server.faults[FIRST] += [Fault(drop_after=10_000), Fault(ignore_range=True)]
    download(tmp_path, config(server))
    assert (tmp_path / "baseline" / "pubmed25n0001.xml.gz").read_bytes() == server.files[FIRST]
    assert [(seen.range, seen.status) for seen in server.gets(FIRST)] == [(None, 200), ("bytes=10000-", 200)]


@pytest.mark.fault("a part is longer than its file", "begun anew", lost="the part")
def test_a_part_longer_than_its_file_is_begun_anew(server: NcbiServer, tmp_path: Path) -> None:
    server.faults[FIRST].append(Fault(drop_after=100))
    with pytest.raises(RunFailed):
        download(tmp_path, config(server, retries=0))
    (tmp_path / "baseline" / ".pubmed25n0001.xml.gz.part").write_bytes(server.files[FIRST] + b"more")
    download(tmp_path, config(server))
    assert (tmp_path / "baseline" / "pubmed25n0001.xml.gz").read_bytes() == server.files[FIRST]


@pytest.mark.fault("the server breaks off nine times, a little further each time", "arrives with one retry")
def test_only_attempts_without_progress_use_up_the_retries(server: NcbiServer, tmp_path: Path) -> None:
    server.faults[FIRST] += [Fault(drop_after=1_000)] * 9
    download(tmp_path, config(server, retries=1))
    assert (tmp_path / "baseline" / "pubmed25n0001.xml.gz").read_bytes() == server.files[FIRST]


@pytest.mark.fault("a file arrives corrupted once", "fetched again")
def test_a_body_corrupted_once_is_fetched_again(server: NcbiServer, tmp_path: Path) -> None:
    package_path = f"{BASE}.tar.gz"
    for path in (FIRST, package_path):
        corrupted = bytearray(server.files[path])
        corrupted[-6] ^= 1
        server.faults[path].append(Fault(body=bytes(corrupted)))
    download(tmp_path, config(server, "baseline", "comm"))
    assert set(served(server, FIRST, package_path)) <= set(contents(tmp_path).values())
    assert all(
        len(server.gets(path)) == 2 and server.gets(path)[1].range is None for path in (FIRST, package_path)
    )


@pytest.mark.fault(
    "a file arrives corrupted each time",
    "named, tried a bounded number of times; the others arrive",
)
def test_one_file_corrupted_for_good_is_named_and_the_others_arrive(
    server: NcbiServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.always[FIRST] = Fault(body=server.files[FIRST][:-1] + b"x")
    arguments = ["corpus", "download", "--output", str(tmp_path), "--base-url", server.url, "--retries", "0"]
    assert main(arguments) == 1
    told = capfd.readouterr().err
    failed = [
        line for line in told.splitlines() if " failed: " in line and not line.startswith("biobert-scale:")
    ]
    assert len(failed) == 1 and FIRST in failed[0] and "MD5" in failed[0]
    assert "\nbiobert-scale: 1 of 3 files failed" in told
    assert sorted(path.name for path in tmp_path.rglob("*.gz")) == [
        "pubmed25n0002.xml.gz",
        "pubmed25n1275.xml.gz",
    ]
    assert not [path for path in tmp_path.rglob(".*")], "a damaged part must not be resumed"
    del server.always[FIRST]
    assert main(arguments) == 0


def test_a_corrupted_file_is_tried_a_bounded_number_of_times(server: NcbiServer, tmp_path: Path) -> None:
    server.always[SECOND] = Fault(body=b"\x1f\x8bnonsense")
    with pytest.raises(RunFailed, match="1 of 2 files failed"):
        download(tmp_path, config(server, retries=3))
    assert len(server.gets(SECOND)) == 4


@pytest.mark.fault("the server answers 429 and 503", "waits as long as it asks for")
def test_a_busy_server_is_given_the_time_it_asks_for(server: NcbiServer, tmp_path: Path) -> None:
    server.faults["/pubmed/baseline/"].append(Fault(status=429, headers={"Retry-After": "11"}))
    server.faults[FIRST].append(Fault(status=503, headers={"Retry-After": "7"}))
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)
    server.faults[SECOND].append(Fault(status=503, headers={"Retry-After": later}))
    waited: list[float] = []
    download(tmp_path, config(server), wait=waited.append)
    assert sorted(waited)[:2] == [7.0, 11.0] and 1500 < max(waited) <= 1800
    assert set(served(server, FIRST, SECOND)) <= set(contents(tmp_path).values())


def test_waiting_doubles_with_jitter_up_to_a_minute() -> None:
    for failures, longest in ((1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (1000, 60.0)):
        drawn = {seconds_to_wait(failures, 0.0, 2.0) for _ in range(50)}
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert seconds_to_wait(1, 1e9, 2.0) == 3600.0


@pytest.mark.fault("the server answers 404 for a file it lists", "fails alone, is not tried again")
def test_a_file_that_the_server_lists_but_has_not_fails_alone(server: NcbiServer, tmp_path: Path) -> None:
    server.always[UPDATE] = Fault(status=404)
    with pytest.raises(RunFailed, match="1 of 3 files failed"):
        download(tmp_path, config(server, "baseline", "updatefiles"))
    assert len(server.gets(UPDATE)) == 1, "a 404 does not pass by waiting"
    assert set(served(server, FIRST, SECOND)) <= set(contents(tmp_path).values())


def test_as_many_transfers_run_at_once_as_there_are_connections_and_no_more(
    server: NcbiServer, tmp_path: Path
) -> None:
    for number in range(3, 8):
        server.add_medline(f"/pubmed/baseline/pubmed25n000{number}.xml.gz", number)
    server.files = {path: content for path, content in server.files.items() if not path.endswith(".md5")}
    together = threading.Barrier(3)

    def wait_for_the_others(path: str) -> None:
        if path.endswith(".gz"):
            together.wait(timeout=30)

    server.before_get = wait_for_the_others
    download(tmp_path, config(server, connections=3, limit=6))
    assert server.most_active == 3 and len(list(tmp_path.rglob("*.gz"))) == 6


@pytest.mark.fault("two downloads into one directory", "the second does not touch the first one's part")
def test_two_runs_into_one_directory_leave_sound_files(server: NcbiServer, tmp_path: Path) -> None:
    server.faults[FIRST].append(Fault(hold_after=9_000))
    outcomes: list[str] = []

    def first_run() -> None:
        download(tmp_path, config(server))
        outcomes.append("first run finished")

    thread = threading.Thread(target=first_run)
    thread.start()
    part = tmp_path / "baseline" / ".pubmed25n0001.xml.gz.part"
    while thread.is_alive() and not (part.exists() and part.stat().st_size == 9_000):
        os.sched_yield()
    with pytest.raises(RunFailed):
        download(tmp_path, config(server))
    assert part.stat().st_size == 9_000, "the second run must not touch the first one's part"
    server.go_on.set()
    thread.join()
    assert outcomes == ["first run finished"] and len(server.gets(FIRST)) == 1
    assert sorted(contents(tmp_path).values()) == sorted(
        served(server, FIRST, f"{FIRST}.md5", SECOND, f"{SECOND}.md5")
    )


def test_a_dry_run_tells_exact_sizes_and_writes_nothing(
    server: NcbiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "not" / "yet"
    arguments = [
        "corpus",
        "download",
        "--output",
        str(output),
        "--base-url",
        server.url,
        "--groups",
        "baseline",
        "comm",
        "--dry-run",
    ]
    assert main(arguments) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in table[:4]] == [
        ["group", "files"],
        ["baseline", "2"],
        ["comm", "4"],
        ["total", "6"],
    ]
    assert not (tmp_path / "not").exists() and not [
        seen for seen in server.requests if seen.method == "GET" and not seen.path.endswith("/")
    ]
    sizes = [
        len(content)
        for path, content in server.files.items()
        if path.startswith(("/pubmed/baseline/pubmed", "/pub/pmc")) and "md5" not in path
    ]
    plan = plan_download(output, config(server, "baseline", "comm"))
    assert sum(file.size for file in plan.files) == plan.missing_bytes == sum(sizes)
    download(output, config(server, "baseline"))
    again = plan_download(output, config(server, "baseline", "comm"))
    assert len(again.present) == 2 and again.missing_bytes == sum(sizes) - len(server.files[FIRST]) - len(
        server.files[SECOND]
    )


def test_patterns_and_the_limit_choose_files_by_name_with_numbers_by_value(
    server: NcbiServer, tmp_path: Path
) -> None:
    server.add_medline("/pubmed/baseline/pubmed25n0010.xml.gz", 9)

    def chosen(*groups: str, **changes: object) -> list[str]:
        return [file.name for file in plan_download(tmp_path, config(server, *groups, **changes)).files]

    assert chosen(limit=2) == ["pubmed25n0001.xml.gz", "pubmed25n0002.xml.gz"]
    assert chosen(exclude=("*n0001*",), limit=1) == ["pubmed25n0002.xml.gz"]
    assert chosen("baseline", "updatefiles", include=("updatefiles/*", "*0010*")) == [
        "pubmed25n0010.xml.gz",
        "pubmed25n1275.xml.gz",
    ]
    assert chosen("comm", include=("*incr*",)) == [
        f"{DAILY.rsplit('/')[-1]}.{end}" for end in ("tar.gz", "filelist.csv")
    ]
    with pytest.raises(UserError, match="no file matches"):
        chosen(include=("nothing*",))


def test_a_group_is_found_where_its_path_is_said_to_be(server: NcbiServer, tmp_path: Path) -> None:
    server.files = {
        path.replace("/pub/pmc/", "/mirror/pmc/deprecated/"): content
        for path, content in server.files.items()
    }
    arguments = [
        "corpus",
        "download",
        "--output",
        str(tmp_path),
        "--base-url",
        f"{server.url}/mirror/",
        "--groups",
        "comm",
    ]
    assert main(arguments) == 2
    assert main([*arguments, "--paths", "comm", "pmc/deprecated/oa_bulk/oa_comm/xml"]) == 0
    assert len(list((tmp_path / "comm").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["--base-url", "{url}/elsewhere"],
            2,
            "no such directory: {url}/elsewhere/pubmed/baseline/; check --base-url",
        ),
        (["--base-url", "http://no-such-host.invalid"], 1, "http://no-such-host.invalid/pubmed/baseline/"),
        (["--base-url", "http://127.0.0.1:1"], 1, "refused"),
        (["--base-url", "ftp://ftp.ncbi.nlm.nih.gov"], 2, "no http or https address"),
        (
            ["--groups", "basline"],
            2,
            "no group 'basline': command line; the groups are baseline, updatefiles, comm, noncomm, other",
        ),
        (["--groups", "noncomm"], 2, "August 2026"),
        (["--connections", "0"], 2, "connections cannot be 0"),
        (["--include", "*.zip"], 2, "no file matches"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    server: NcbiServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    output = tmp_path / "out"
    base = ["corpus", "download", "--output", str(output), "--retries", "0", "--base-url", server.url]
    assert main([*base, *(argument.format(url=server.url) for argument in arguments)]) == code
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("biobert-scale:")]
    assert len(told) == 1 and says.format(url=server.url) in told[0]
    assert not output.exists()


@pytest.mark.fault("the disk is too small for a download", "refused before anything is fetched")
def test_a_disk_too_small_is_told_before_anything_is_fetched(server: NcbiServer, tmp_path: Path) -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 10**18 - 1

    server.files["/pubmed/baseline/pubmed25n0003.xml.gz"] = Huge()
    with pytest.raises(RunFailed, match="EB are to be fetched"):
        download(tmp_path / "out", config(server))
    assert not (tmp_path / "out").exists()


def test_last_years_files_are_reported_and_kept(
    server: NcbiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "baseline" / "pubmed24n0001.xml.gz"
    old.parent.mkdir()
    old.write_bytes(medline(1))
    download(tmp_path, config(server))
    assert [record.getMessage() for record in caplog.records if "pubmed24n0001.xml.gz" in record.getMessage()]
    assert old.read_bytes() == medline(1)


def test_a_listing_gives_names_of_its_own_directory_only() -> None:
    url = "https://example.org/pubmed/baseline/"
    files = {
        "/pubmed/baseline/pubmed25n0002.xml.gz": b"",
        "/pubmed/baseline/pubmed25n0010.xml.gz": b"",
        "/pubmed/baseline/README.txt": b"",
    }
    page = listing(files, "/pubmed/baseline/").decode()
    page += (
        '<a href="/pubmed/baseline/pubmed25n0001.xml.gz">absolute</a> <a'
        ' href="https://evil.example/x.xml.gz">x</a> <a>none</a>'
    )
    page += '<a href="../x.xml.gz">up</a> <a href="%2e%2e%2fpasswd.xml.gz">trick</a>'
    page += '<a href=".hidden.xml.gz">h</a> <a href="a%20b.tar.gz">b</a>'
    names = listed_names(page, url)
    assert names == {
        "pubmed25n0001.xml.gz",
        "pubmed25n0002.xml.gz",
        "pubmed25n0010.xml.gz",
        "README.txt",
        "a b.tar.gz",
    }
    assert data_names(names) == [
        "a b.tar.gz",
        "pubmed25n0001.xml.gz",
        "pubmed25n0002.xml.gz",
        "pubmed25n0010.xml.gz",
    ]


def test_both_forms_of_an_md5_file_are_read_and_another_files_is_not() -> None:
    digest, name = hashlib.md5(b"x").hexdigest(), "pubmed25n0001.xml.gz"
    for line in (
        f"MD5({name})= {digest}",
        f"MD5 ({name}) = {digest.upper()}",
        f"{digest}  {name}",
        f"{digest} *./{name}",
        f"\n{digest}  {name}\n",
    ):
        assert parse_md5(line, name) == digest
    for line in (
        "",
        f"MD5(pubmed25n0002.xml.gz)= {digest}",
        f"{digest[:-1]}  {name}",
        "<html>not found</html>",
    ):
        assert parse_md5(line, name) is None


def test_damage_is_seen_in_the_middle_at_the_end_and_in_an_empty_file(tmp_path: Path) -> None:
    whole, path = package(1, filler=1000), tmp_path / "p.tar.gz"
    for content, sound in (
        (whole, True),
        (whole[:-4], False),
        (whole[: len(whole) // 2], False),
        (b"", False),
        (b"<html>", False),
    ):
        path.write_bytes(content)
        assert (damage(path, None) == "") is sound
    path.write_bytes(whole)
    assert damage(path, hashlib.md5(whole).hexdigest()) == "" and "MD5" in damage(path, "0" * 32)
