"""Tokens of object storage in a directory of this machine, against a real S3 server."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.config import DataConfig
from biobert_scale.data.stream import stream_fingerprint
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import write_json
from biobert_scale.tokens import cached
from biobert_scale.tokens.build import verify_tokens
from biobert_scale.tokens.cached import cached_tokens
from tests.s3_server import BUCKET, PmcBucket, Proxy, serving

ADDRESS = f"s3://{BUCKET}/tokens"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tokens: Path) -> Iterator[tuple[PmcBucket, Proxy]]:
    """A bucket with token shards."""
    with serving() as (bucket, proxy):
        for name, value in proxy.account.items():
            monkeypatch.setenv(name, value)
        for path in tokens.rglob("*"):
            if path.is_file():
                bucket.put(f"tokens/{path.relative_to(tokens)}", path.read_bytes())
        yield bucket, proxy
        release()


def put_made_up(bucket: PmcBucket, prefix: str, byte: bytes) -> None:
    """Something of 10,000 bytes in two files, with a manifest."""
    outputs = dict.fromkeys(("train/a", "b"), hashlib.sha256(byte * 5000).hexdigest())
    for name in outputs:
        bucket.put(f"{prefix}/{name}", byte * 5000)
    bucket.put(f"{prefix}/manifest.json", json.dumps({"outputs": outputs}).encode())


def release() -> None:
    """What the end of a process does."""
    for stream in cached._held:
        stream.close()
    cached._held.clear()


def test_the_copy_is_the_original(service: tuple[PmcBucket, Proxy], tokens: Path, tmp_path: Path) -> None:
    _, proxy = service
    copy = cached_tokens(ADDRESS, tmp_path)
    verify_tokens(copy)
    assert copy.name == "tokens"
    assert stream_fingerprint(copy, DataConfig(), seed=1) == stream_fingerprint(tokens, DataConfig(), seed=1)
    before = proxy.requests.total()
    assert cached_tokens(ADDRESS, tmp_path) == copy
    assert proxy.requests.total() == before + 1, "only the manifest is read again"


@pytest.mark.fault("a mirrored token shard has a flipped bit", "refused by name; nothing of it is kept")
def test_a_corrupted_shard_is_refused_and_fetched_once_it_is_whole(
    service: tuple[PmcBucket, Proxy], tmp_path: Path
) -> None:
    _, proxy = service
    name = "train/data-00001-of-00002.arrow"
    proxy.fault = lambda key, number: "flip" if key.endswith(name) else ""
    with pytest.raises(RunFailed, match=rf"corrupted.*{name}"):
        cached_tokens(ADDRESS, tmp_path)
    assert len(list(tmp_path.rglob(f"*{Path(name).name}*"))) == 1, "that of the other split"
    assert not list(tmp_path.rglob("manifest.json"))
    proxy.fault = lambda key, number: ""
    verify_tokens(cached_tokens(ADDRESS, tmp_path))


@pytest.mark.fault("the connection breaks in the middle of a token shard", "the request is made again")
def test_a_broken_connection_is_survived(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    _, proxy = service
    proxy.fault = lambda key, number: "down" if ".arrow" in key and number == 1 else ""
    verify_tokens(cached_tokens(ADDRESS, tmp_path))


def _use(cache: Path, results: str, account: dict[str, str]) -> None:
    os.environ.update(account)
    copy = cached_tokens(ADDRESS, cache)
    verify_tokens(copy)
    write_json(Path(results), str(copy))


def test_processes_of_a_machine_fetch_once(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    _, proxy = service
    context, cache = multiprocessing.get_context("forkserver"), tmp_path / "cache"
    ranks = [
        context.Process(target=_use, args=(cache, str(tmp_path / name), proxy.account)) for name in "abc"
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert (tmp_path / "a").read_text() == (tmp_path / "c").read_text()
    assert {number for key, number in proxy.requests.items() if key.endswith(".arrow")} == {1}


def test_what_was_not_used_for_longest_goes(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    bucket, _ = service
    copies = {}
    for name in ("first", "second", "third"):
        put_made_up(bucket, name, name[0].encode())
    for name, used in (("first", 2), ("second", 1)):
        copies[name] = cached_tokens(f"s3://{BUCKET}/{name}", tmp_path)
        release()
        os.utime(copies[name].parent / ".use", (used, used))
    third = cached_tokens(f"s3://{BUCKET}/third", tmp_path, limit_bytes=27_000)
    assert (copies["first"] / "b").exists() and (copies["first"] / "train" / "a").exists()
    assert not (copies["second"] / "manifest.json").exists(), "no stage any more"
    assert sum((copies["second"] / name).exists() for name in ("b", "train/a")) == 1
    assert (third / "b").read_bytes() == b"t" * 5000


def test_what_a_process_uses_stays(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    bucket, _ = service
    put_made_up(bucket, "first", b"1")
    put_made_up(bucket, "second", b"2")
    first = cached_tokens(f"s3://{BUCKET}/first", tmp_path)
    with pytest.raises(RunFailed, match="are in use"):
        cached_tokens(f"s3://{BUCKET}/second", tmp_path, limit_bytes=12_000)
    with pytest.raises(UserError, match="training reads all of them"):
        cached_tokens(f"s3://{BUCKET}/second", tmp_path, limit_bytes=9_000)
    assert (first / "b").exists()
    release()
    assert cached_tokens(f"s3://{BUCKET}/second", tmp_path, limit_bytes=12_000).exists()
    assert not (first / "b").exists()


def test_an_address_without_tokens_is_refused(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished token shards"):
        cached_tokens(f"s3://{BUCKET}/elsewhere", tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tokens", "inspect", "s3://bucket/tokens"],
        ["export", "run", "--tokens", "s3://bucket/tokens", "--output", "model"],
        ["doctor", "--tokens=s3://bucket/tokens"],
        ["train", "--continue-from", "s3://bucket/run", "--output", "o", "--tokens", "t"],
        ["train", "--dry-run", "--tokens", "s3://bucket/tokens"],
    ],
)
def test_other_commands_refuse_an_address(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
