"""What the mirror knows of each article: a line for every one that was asked for, beside the packages.

Package N has the record `.mirror/N.csv`, which is only appended to, and only after the articles that it
names are on the disk. A later line of the same article replaces an earlier one.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from biobert_scale.corpus.raw import MIRROR_DIRECTORY
from biobert_scale.corpus.sources.facts import NO_MD5, STATES, TAKEN
from biobert_scale.corpus.sources.inventory import etag_column
from biobert_scale.files import sync


class Row(NamedTuple):
    """One line of a record."""

    pmcid: int
    version: int
    state: str
    """One of `facts.STATES`."""
    as_of: int
    """The time of the inventory that named the article, as the number YYYYMMDDHHMMSS."""
    etag: str = NO_MD5
    """Of the metadata."""
    modified: int = 0
    """Of the metadata, in seconds since 1970."""
    pmid: int = 0
    license: str = ""
    flags: int = 0
    md5: str = NO_MD5
    """Of the XML."""
    updated: int = 0
    """When the XML was written, in seconds since 1970."""
    bytes: int = 0
    """Of the XML."""
    end: int = 0
    """Bytes of the package up to the end of the article; 0 where it has none of it."""


class Known(NamedTuple):
    """The last state of each article that was ever asked for, in the order of their numbers; columns of
    shape (articles,)."""

    pmcid: NDArray[np.int32]
    version: NDArray[np.int32]
    state: NDArray[np.uint8]
    """A place in `facts.STATES`."""
    as_of: NDArray[np.int64]
    etag: NDArray[Any]
    """Dtype V16."""
    modified: NDArray[np.uint32]
    pmid: NDArray[np.int32]
    license: NDArray[np.int32]
    """A place in `Records.licenses`."""
    flags: NDArray[np.uint8]
    md5: NDArray[Any]
    """Dtype V16."""
    bytes: NDArray[np.int32]
    package: NDArray[np.int32]
    """The number of the package that holds its text, whatever its state; 0 where none does."""


@dataclass(frozen=True)
class Records:
    """All that the mirror knows."""

    known: Known
    licenses: list[str]

    def row(self, place: int) -> Row:
        """An article's last line, without what concerns its package."""
        known = self.known
        return Row(
            pmcid=int(known.pmcid[place]),
            version=int(known.version[place]),
            state=STATES[known.state[place]],
            as_of=int(known.as_of[place]),
            etag=known.etag[place].tobytes().hex(),
            modified=int(known.modified[place]),
            pmid=int(known.pmid[place]),
            license=self.licenses[known.license[place]],
            flags=int(known.flags[place]),
            md5=known.md5[place].tobytes().hex(),
            bytes=int(known.bytes[place]),
        )


_TYPES = {
    name: pa.string() if name in ("state", "etag", "license", "md5") else pa.int64() for name in Row._fields
}


def record_path(directory: Path, number: int) -> Path:
    return directory / MIRROR_DIRECTORY / f"{number:05d}.csv"


def part_path(package: Path) -> Path:
    """A package while it is written."""
    return package.with_name(MIRROR_DIRECTORY) / f"{package.name}.part"


def numbers(directory: Path) -> list[int]:
    """The numbers of the packages that have a record, in order."""
    named = (
        re.fullmatch(r"(\d{5,})\.csv", path.name) for path in (directory / MIRROR_DIRECTORY).glob("*.csv")
    )
    return sorted(int(found[1]) for found in named if found)


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add lines to a record that survive a power failure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_new = not path.exists()
    if is_new:
        writer.writerow(Row._fields)
    writer.writerows(rows)
    with open(path, "ab") as stream:
        stream.write(text.getvalue().encode())
        stream.flush()
        os.fsync(stream.fileno())
    if is_new:
        sync(path.parent)


def read(path: Path) -> Iterator[Row]:
    """The lines of a record."""
    with open(path, encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream)
        next(lines)  # the columns' names
        for line in lines:
            yield Row._make(
                value if kind == pa.string() else int(value)
                for value, kind in zip(line, _TYPES.values(), strict=True)
            )


def mend(path: Path) -> None:
    """Remove what a killed run wrote of a line."""
    if path.exists():
        with open(path, "r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)
            lines = stream.seek(0) or stream.read().count(b"\n")
        if lines < 2:  # no more than the columns' names
            path.unlink()


def load(directory: Path, gone: frozenset[int]) -> Records:
    """The last state of every article.

    Args:
        gone: packages that are not there any more: their articles are not, either.
    """
    columns: list[Known] = []
    licenses: dict[str, int] = {}
    for number in numbers(directory):
        content = record_path(directory, number).read_bytes()
        whole = pa.BufferReader(memoryview(content)[: content.rfind(b"\n") + 1])  # a line may be under way
        options = pyarrow.csv.ConvertOptions(column_types=_TYPES)
        columns.append(_columns(pyarrow.csv.read_csv(whole, convert_options=options), number, licenses))
    return Records(_last_states(columns or [_columns(_empty(), 0, {})], gone), list(licenses))


def _empty() -> pa.Table:
    return pa.schema(list(_TYPES.items())).empty_table()


def _columns(table: pa.Table, number: int, licenses: dict[str, int]) -> Known:
    def integers(name: str, kind: type) -> NDArray[Any]:
        return np.asarray(table[name].to_numpy(), dtype=kind)

    def coded(name: str, codes: dict[str, int]) -> NDArray[np.int64]:
        """Each text as its number; new texts get the next."""
        column = table[name].combine_chunks().dictionary_encode()
        meaning = [codes.setdefault(text, len(codes)) for text in column.dictionary.to_pylist()]
        return np.asarray(np.array(meaning, dtype=np.int64)[column.indices.to_numpy()])

    state = coded("state", {state: code for code, state in enumerate(STATES)}).astype(np.uint8)
    holds = (state == STATES.index(TAKEN)) & (integers("end", np.int64) > 0)
    return Known(
        pmcid=integers("pmcid", np.int32),
        version=integers("version", np.int32),
        state=state,
        as_of=integers("as_of", np.int64),
        etag=etag_column(table["etag"].combine_chunks()),
        modified=integers("modified", np.uint32),
        pmid=integers("pmid", np.int32),
        license=coded("license", licenses).astype(np.int32),
        flags=integers("flags", np.uint8),
        md5=etag_column(table["md5"].combine_chunks()),
        bytes=integers("bytes", np.int32),
        package=np.where(holds, number, 0).astype(np.int32),
    )


def _last_states(parts: list[Known], gone: frozenset[int]) -> Known:
    """Of each article the last line, and the package of its last line that has one."""
    columns = list(zip(*parts, strict=True))
    order = np.argsort(np.concatenate(columns[0]), kind="stable")  # within an article, as written
    pmcid, package = (np.concatenate(columns[place])[order] for place in (0, -1))
    last = np.append(np.diff(pmcid) > 0, True)[: len(pmcid)]
    first = np.append(True, last[:-1])[: len(pmcid)]
    position = np.arange(len(pmcid))
    start = np.maximum.accumulate(np.where(first, position, 0))
    holder = np.maximum.accumulate(np.where(package > 0, position, -1))
    package = np.where(holder >= start, package[holder], 0)[last]
    package[np.isin(package, list(gone))] = 0
    # A column at a time: of eight million articles all of them twice would be much.
    return Known._make([*(np.concatenate(column)[order[last]] for column in columns[:-1]), package])
