"""The bucket's inventory: which state of which article there is, for eight million of them.

A day's inventory is a manifest and the gzip-compressed CSV files that it names. The newest may be half
written. Source: Amazon S3's user guide, "Locating your inventory list".
"""

from __future__ import annotations

import binascii
import hashlib
import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from biobert_scale.corpus.sources.objects import Bucket
from biobert_scale.corpus.transport import NotThere

PREFIX = "inventory-reports/pmc-oa-opendata/metadata/"
_log = logging.getLogger(__name__)
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})T(\d{2})-(\d{2})Z")
_KEY = r"^metadata/PMC0*(?P<pmcid>[1-9][0-9]{0,8})\.(?P<version>[0-9]{1,6})\.json$"
_MD5 = "^[0-9a-f]{32}$"
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The latest version of each article, in the order of their numbers; columns of shape (articles,)."""

    as_of: int
    """The time that it describes, as the number YYYYMMDDHHMMSS."""
    pmcid: NDArray[np.int32]
    version: NDArray[np.int32]
    modified: NDArray[np.uint32]
    """When the article's metadata were last written, in seconds since 1970."""
    etag: NDArray[Any]
    """Which state of the metadata that is: 16 bytes, as dtype V16."""


class _Incomplete(Exception):
    """An inventory that lacks a part, or whose part is damaged."""


def inventories(bucket: Bucket) -> Iterator[Inventory]:
    """Read the complete inventories, newest first; each that is not complete is passed over with a line."""
    days = sorted((name for name in bucket.below(PREFIX) if _DAY.fullmatch(name)), reverse=True)
    for day in days:
        try:
            yield _read(bucket, day)
        except _Incomplete as lack:
            _log.warning("the inventory of %s is passed over: %s", day, lack)


def _read(bucket: Bucket, day: str) -> Inventory:
    manifest = _manifest(bucket, f"{PREFIX}{day}/")
    parts = [
        part
        for file in manifest["files"]
        for part in _rows(_content(bucket, file), manifest["columns"], file["key"])
    ]
    if not parts or not (rows := sum(len(part[0]) for part in parts)):
        raise _Incomplete("it names no article")
    matched = _DAY.fullmatch(day)
    assert matched is not None
    inventory = _latest(int("".join(matched.groups())) * 100, parts)
    _log.info("inventory of %s: %d articles in %d versions", day, len(inventory.pmcid), rows)
    return inventory


def _manifest(bucket: Bucket, directory: str) -> dict[str, Any]:
    """The files and the names of their columns."""
    try:
        content = bucket.get(f"{directory}manifest.json").content
    except NotThere:
        raise _Incomplete("it has no manifest yet") from None
    try:
        manifest = json.loads(bytes(content))
        files = [{name: file[name] for name in ("key", "MD5checksum")} for file in manifest["files"]]
        columns = [name.strip() for name in manifest["fileSchema"].split(",")]
        kind = manifest["fileFormat"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _Incomplete("its manifest is damaged") from None
    if kind != "CSV" or not {"Key", "LastModifiedDate", "ETag"} <= set(columns):
        raise _Incomplete(f"its files are {kind} of {', '.join(columns)}")
    return {"files": files, "columns": columns}


def _content(bucket: Bucket, file: dict[str, str]) -> memoryview:
    """One of its files, checked."""
    try:
        content = bucket.get(file["key"]).content
    except NotThere:
        raise _Incomplete(f"{file['key']} is missing") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != file["MD5checksum"]:
        raise _Incomplete(f"the MD5 of {file['key']} is not the manifest's")
    return content


def _rows(content: memoryview, columns: list[str], name: str) -> Iterator[tuple[NDArray[Any], ...]]:
    """PMCID, version, time and ETag of each article's metadata, in the blocks in which the file is read."""
    try:
        with igzip.open(io.BytesIO(content), "rb") as stream:  # type: ignore[no-untyped-call]
            reader = pyarrow.csv.open_csv(
                stream,
                read_options=pyarrow.csv.ReadOptions(column_names=columns, block_size=_BLOCK_BYTES),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=["Key", "LastModifiedDate", "ETag"],
                    column_types=dict.fromkeys(columns, pa.string()),
                ),
            )
            for batch in reader:
                yield _block(batch)
    except (pa.ArrowInvalid, EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        raise _Incomplete(f"{name} is damaged ({error})") from None


def _block(batch: pa.RecordBatch) -> tuple[NDArray[Any], ...]:
    keys = batch["Key"]
    if pc.any(pc.match_substring(keys, "%")).as_py():  # keys are URL-encoded, which seldom changes them
        keys = pa.array([unquote(key) for key in keys.to_pylist()])
    named = pc.extract_regex(keys, _KEY)
    rows = pa.table({"key": named, "modified": batch["LastModifiedDate"], "etag": batch["ETag"]}).filter(
        pc.is_valid(named)
    )
    key = rows["key"].combine_chunks()
    moments = pc.cast(rows["modified"], pa.timestamp("ms", "UTC"))
    return (
        key.field("pmcid").cast(pa.int32()).to_numpy(),
        key.field("version").cast(pa.int32()).to_numpy(),
        (pc.cast(moments, pa.int64()).to_numpy() // 1000).astype(np.uint32),
        etag_column(rows["etag"].combine_chunks()),
    )


def etag_column(etags: pa.StringArray) -> NDArray[Any]:
    """ETags as 16 bytes each, dtype V16: one that is an MD5 as it is, any other one hashed."""
    if not len(etags):
        return np.empty(0, dtype="V16")
    if not pc.all(pc.match_substring_regex(etags, _MD5)).as_py():
        return np.array([_etag_bytes(etag) for etag in etags.to_pylist()], dtype="V16")
    digits = etags.buffers()[2]
    start, stop = np.frombuffer(etags.buffers()[1], np.int32)[[etags.offset, etags.offset + len(etags)]]
    return np.frombuffer(binascii.unhexlify(digits[start : stop - start]), dtype="V16")


def _etag_bytes(etag: str) -> bytes:
    plain = etag.strip('"')
    if re.fullmatch(_MD5, plain):
        return binascii.unhexlify(plain)
    return hashlib.md5(plain.encode(), usedforsecurity=False).digest()


def _latest(as_of: int, parts: list[tuple[NDArray[Any], ...]]) -> Inventory:
    """Of each article the highest version; of a key that is there twice, what was written last."""
    columns = list(zip(*parts, strict=True))
    pmcid, version, modified = (np.concatenate(column) for column in columns[:3])
    order = np.lexsort((modified, version, pmcid))
    last = order[np.append(np.diff(pmcid[order]) > 0, True)]
    return Inventory(
        as_of=as_of,
        pmcid=pmcid[last],
        version=version[last],
        modified=modified[last],
        etag=np.concatenate(columns[3])[last],
    )
