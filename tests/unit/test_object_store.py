"""Objects in a real S3 server: whole, also in parts; what fails is one line."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.files import sha256_file
from biobert_scale.object_address import parse_address
from biobert_scale.object_store import NoObject, ObjectStore, StoreFailed
from tests.s3_server import BUCKET, PmcBucket, Proxy, serving


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PmcBucket, Proxy]]:
    """An empty bucket behind a proxy, and the environment that leads there."""
    with serving() as (bucket, proxy):
        for name, value in proxy.account.items():
            monkeypatch.setenv(name, value)
        yield bucket, proxy


def test_a_large_file_goes_in_parts_and_comes_back(service: tuple[PmcBucket, Proxy], tmp_path: Path) -> None:
    bucket, proxy = service
    store = ObjectStore(f"s3://{BUCKET}/a/b/")
    (tmp_path / "file").write_bytes(random.Random(0).randbytes((8 << 20) + 1))
    store.put("x/file", tmp_path / "file")
    store.put("x/small", b"few bytes")
    assert sum("partNumber" in key for key in proxy.requests) == 2
    assert store.sizes("x/") == {"x/file": (8 << 20) + 1, "x/small": 9}
    assert store.fetch("x/file", tmp_path / "copy") == sha256_file(tmp_path / "file")
    assert sha256_file(tmp_path / "copy") == sha256_file(tmp_path / "file")
    assert bucket.read("a/b/x/small") == store.read("x/small") == b"few bytes"
    store.delete(["x/file", "x/not-there"])
    assert store.sizes() == {"x/small": 9}


def test_each_object_is_sent_with_its_checksum(
    service: tuple[PmcBucket, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, proxy = service
    sent: list[str] = []
    handler = proxy.RequestHandlerClass
    answer = handler.do_PUT  # type: ignore[attr-defined]

    def noting(self: object) -> None:
        sent.append(self.headers.get("x-amz-checksum-sha256"))  # type: ignore[attr-defined]
        answer(self)

    monkeypatch.setattr(handler, "do_PUT", noting)
    ObjectStore(f"s3://{BUCKET}/a").put("key", b"content")
    assert sent == [base64.b64encode(hashlib.sha256(b"content").digest()).decode()]


@pytest.mark.fault("a busy object store, or a connection that ends without a reply", "asked again")
@pytest.mark.parametrize("fault", ["slow", "down"])
def test_a_passing_failure_is_waited_out(fault: str, service: tuple[PmcBucket, Proxy]) -> None:
    _, proxy = service
    proxy.fault = lambda key, number: fault if number == 1 else ""
    store = ObjectStore(f"s3://{BUCKET}/a")
    store.put("key", b"content")
    assert store.read("key") == b"content"


def test_what_fails_is_one_line(service: tuple[PmcBucket, Proxy]) -> None:
    _, proxy = service
    store = ObjectStore(f"s3://{BUCKET}/a")
    with pytest.raises(NoObject, match=f"no such object: s3://{BUCKET}/a/key"):
        store.read("key")
    proxy.fault = lambda key, number: "full"
    with pytest.raises(StoreFailed, match="507") as failed:
        store.put("key", b"content")
    assert "\n" not in str(failed.value)


def test_addresses() -> None:
    assert parse_address("s3://bucket/a/b.c/", where="here") == ("bucket", "a/b.c")
    for text in (
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket//a",
        "gs://bucket/a",
        "s3:/bucket/a",
        "s3://B/a",
    ):
        with pytest.raises(UserError, match="no address of object storage: here"):
            parse_address(text, where="here")
