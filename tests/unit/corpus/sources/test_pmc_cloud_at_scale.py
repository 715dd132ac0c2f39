"""Twenty thousand articles in several versions, a changing inventory, kills, slow-downs and cut lines."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from biobert_scale.corpus.sources.pmc_cloud import CloudConfig, download
from tests.mirror_runs import asked, expanded, members, packages, run_killed_at, withdrawn
from tests.s3_server import PmcBucket, serving

ARTICLES = 20_000
PACKAGE_BYTES = 1_000_000
ROWS = 200
WINDOW = 4 * 4  # articles that a run with four connections has under way


def fill(bucket: PmcBucket) -> None:
    for pmcid in range(1, ARTICLES + 1):
        for version in range(1, 2 + (pmcid % 4 == 0) + (pmcid % 20 == 0)):
            code = "CC BY-NC" if pmcid % 10 == 7 else "CC BY"
            bucket.add(pmcid, version, license_code=code, is_retracted=pmcid % 500 == 1)
    bucket.write_inventory(files=3)


def change(bucket: PmcBucket) -> None:
    """The next day: new versions, new articles, articles on other terms, withdrawals; and a day later an
    inventory that is half written."""
    bucket.next_day()
    for pmcid in range(3, ARTICLES, 60):
        bucket.add(pmcid, 2, words="seventy")
    for pmcid in range(ARTICLES + 1, ARTICLES + 101):
        bucket.add(pmcid)
    for pmcid in range(5, ARTICLES, 200):
        bucket.add(pmcid, license_code="CC0")
    for pmcid in range(6, ARTICLES, 200):
        bucket.remove(pmcid)
    bucket.write_inventory()
    bucket.next_day()
    bucket.add(1, 9)
    bucket.write_inventory()
    bucket.remove_key(f"{bucket.inventory}/manifest.json")


def fault(key: str, number: int) -> str:
    """Of each article's first request a few are answered by SlowDown, and others cut."""
    if not key.startswith(("PMC", "metadata/")):
        return ""
    place = int(key.removeprefix("metadata/").removeprefix("PMC").partition(".")[0])
    if number == 1 + place % 2 and place % 50 < 2:
        return "slow"
    return "cut" if number == 1 and place % 97 == 0 else ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    "downloads of 20,000 articles are killed, slowed down and cut, and the inventory changes",
    "packages and withdrawals are those of an undisturbed run, byte for byte",
    lost="the articles of a few seconds at each kill",
)
def test_a_disturbed_mirror_is_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    with serving() as (bucket, proxy):
        fill(bucket)
        settings = CloudConfig(
            base_url=proxy.direct_url, connections=4, backoff_seconds=0, package_bytes=PACKAGE_BYTES
        )
        download(calm, settings)
        proxy.fault = fault

        def run(request: int) -> int:
            return run_killed_at(proxy, disturbed, request, PACKAGE_BYTES, commit_rows=ROWS)

        for request in (9_000, 12_000):
            assert run(request) == -signal.SIGKILL
        assert run(0) == 0
        faults = sum(1 for key in proxy.requests for number in (1, 2) if fault(key, number))
        articles = {
            key: count for key, count in proxy.requests.items() if key.startswith(("PMC", "metadata/"))
        }
        again = sum(count - 1 for count in articles.values())
        # Each killed run loses the lines that were not yet written, and its window: two objects an article.
        assert again <= faults + 2 * 2 * (ROWS + WINDOW)
        assert len(articles) == ARTICLES + sum(
            1 for pmcid in range(1, ARTICLES + 1) if pmcid % 10 != 7 and pmcid % 500 != 1
        )
        change(bucket)
        download(calm, settings)
        proxy.requests.clear()
        assert run(0) == 0
        assert len(asked(proxy)) == 2 * (334 + 100 + 100)  # new versions, new articles, other terms
    assert [path.name for path in packages(calm)] == [path.name for path in packages(disturbed)]
    assert expanded(packages(calm)) == expanded(packages(disturbed))
    assert withdrawn(calm) == withdrawn(disturbed)
    assert set(withdrawn(calm)) == {f"PMC{pmcid}" for pmcid in range(6, ARTICLES, 200)}
    assert len(members(calm)) > 0.89 * ARTICLES
