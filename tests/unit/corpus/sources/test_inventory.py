"""The inventory: the latest version of each article, in little memory; half-written ones never count."""

from __future__ import annotations

import gzip
import hashlib
import json
import tracemalloc
from typing import cast

import numpy as np
import pytest

from biobert_scale.corpus.sources.inventory import PREFIX, Inventory, inventories
from biobert_scale.corpus.sources.objects import Bucket, Fetched
from biobert_scale.corpus.transport import NotThere

DAY = "2026-06-01T01-00Z"
COLUMNS = ("Bucket", "Key", "LastModifiedDate", "ETag")


class Memory:
    """A bucket in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def below(self, prefix: str) -> list[str]:
        return sorted(
            {key.removeprefix(prefix).split("/")[0] for key in self.objects if key.startswith(prefix)}
        )

    def get(self, key: str) -> Fetched:
        if key not in self.objects:
            raise NotThere("no such object", where=key, remedy="none")
        return Fetched(content=memoryview(self.objects[key]), etag="", modified=0)

    def url(self, key: str) -> str:
        return key


def row(
    key: str, modified: str = "2026-05-01T02:03:04.000Z", etag: str = "0" * 32, *, quoted: bool = True
) -> str:
    cells = {"Bucket": "b", "Key": key, "LastModifiedDate": modified, "ETag": etag}
    return ",".join(f'"{cells[name]}"' if quoted else cells[name] for name in COLUMNS) + "\n"


def bucket_of(*files: str, schema: str = ", ".join(COLUMNS)) -> Bucket:
    """One day's inventory."""
    contents = {f"data/{number}.csv.gz": gzip.compress(text.encode()) for number, text in enumerate(files)}
    named = [
        {"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()}
        for key, content in contents.items()
    ]
    manifest = {"fileFormat": "CSV", "fileSchema": schema, "files": named}
    stored = {**contents, f"{PREFIX}{DAY}/manifest.json": json.dumps(manifest).encode()}
    return cast(Bucket, Memory(stored))


def read(*files: str, schema: str = ", ".join(COLUMNS)) -> list[Inventory]:
    return list(inventories(bucket_of(*files, schema=schema)))


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_the_highest_version_of_each_article_counts(quoted: bool, slash: str) -> None:
    lines = [
        row(f"metadata{slash}PMC{pmcid}.{version}.json", etag=f"{version:032x}", quoted=quoted)
        for pmcid, version in [(12, 1), (3, 2), (3, 10), (12, 2), (3, 1), (5, 1)]
    ]
    (found,) = read("".join(lines[:4]), "".join(lines[4:]))
    assert found.as_of == 20260601010000
    assert found.pmcid.tolist() == [3, 5, 12] and found.version.tolist() == [10, 1, 2]
    assert [etag.tobytes()[-1] for etag in found.etag] == [10, 1, 2]
    assert set(found.modified.tolist()) == {1_777_600_984}


@pytest.mark.parametrize(
    "key",
    [
        "metadata/",
        "metadata/PMC1.json",
        "metadata/PMC0.1.json",
        "PMC1.1/PMC1.1.xml",
        "metadata/PMC1.1.txt",
        "",
    ],
)
def test_other_keys_are_no_articles(key: str) -> None:
    (found,) = read(row(key) + row("metadata/PMC7.1.json"))
    assert found.pmcid.tolist() == [7]


def test_etags_that_are_no_md5_differ_too() -> None:
    etags = ["a" * 32, "b" * 31 + "-2", "short", "short"]
    (found,) = read(
        "".join(row(f"metadata/PMC{n}.1.json", etag=etag) for n, etag in enumerate(etags, start=1))
    )
    assert found.etag[0].tobytes() == bytes.fromhex("a" * 32)
    assert len(np.unique(found.etag)) == 3


@pytest.mark.parametrize(
    "text", ["", row("metadata/none"), 'a,"b\n', "one\n", row("metadata/PMC1.1.json", modified="yesterday")]
)
def test_one_that_makes_no_sense_is_passed_over(text: str) -> None:
    assert read(text) == []


def test_columns_are_found_by_the_manifests_names() -> None:
    (found,) = read(
        '"metadata/PMC1.1.json","x","e","2026-05-01T00:00:00Z"\n', schema="Key, Size, ETag, LastModifiedDate"
    )
    assert found.pmcid.tolist() == [1]


def test_memory_is_a_hundred_bytes_or_so_an_article() -> None:
    articles = 200_000
    bucket = bucket_of("".join(row(f"metadata/PMC{number}.1.json") for number in range(1, articles + 1)))
    tracemalloc.start()
    (found,) = inventories(bucket)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.pmcid) == articles
    assert peak / articles < 150
