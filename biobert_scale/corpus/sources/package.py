"""Articles in packages: the one that is being written, and what a finished one consists of.

A package is a `.tar.gz` of one gzip member an article, so that it is written by appending, resumed by
cutting off what its record does not name, and compressed by many threads at once. It is finished when
`NAME.tar.gz` is there; until then it is `.mirror/NAME.tar.gz.part`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

from isal import isal_zlib

from biobert_scale.corpus.part import md5_path
from biobert_scale.corpus.raw import MIRROR_DIRECTORY
from biobert_scale.corpus.sources import record
from biobert_scale.corpus.sources.facts import FLAGS, GROUP, RETRACTED, TAKEN
from biobert_scale.corpus.sources.record import Row
from biobert_scale.files import make_directory, sync, write_atomically

LIST_COLUMNS = (
    "Article File",
    "AccessionID",
    "Version",
    "LastUpdated (YYYY-MM-DD HH:MM:SS)",
    "PMID",
    "License",
    "Retracted",
    "AsOf",
)
"""The columns of NCBI's own lists that are in use, the version, and the time of the inventory."""
_ROWS = 200_000
"""Lines of a record at most: where few articles are selected, packages are smaller."""
_COMMIT_ROWS, _COMMIT_SECONDS = 2000, 5.0
_LEVEL, _GZIP = 2, 31
_END = bytes(2 * tarfile.BLOCKSIZE)


def package_path(directory: Path, number: int) -> Path:
    return directory / f"{GROUP}-{number:05d}.tar.gz"


def list_path(package: Path) -> Path:
    return package.with_name(package.name.removesuffix(".tar.gz") + ".filelist.csv")


def member_name(pmcid: int, version: int) -> str:
    return f"PMC{pmcid}.{version}.xml"


def packed(name: str, content: bytes | memoryview, modified: int) -> bytes:
    """A package's bytes of one member: its header and its content, compressed."""
    header = tarfile.TarInfo(name)
    header.size, header.mtime = len(content), modified
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return isal_zlib.compress(b"".join((header.tobuf(), content, padding)), _LEVEL, _GZIP)


class Packages:
    """Appends articles to the last package, and begins another one whenever it is full."""

    def __init__(self, directory: Path, *, package_bytes: int) -> None:
        """Continue what an earlier run left.

        Args:
            directory: the group's; `.mirror` is made in it.
            package_bytes: XML, uncompressed, that a package has at least when the next one is begun: the same
                articles make the same packages, whatever the compressor makes of them.
        """
        self.directory, self.package_bytes = directory, package_bytes
        make_directory(directory / MIRROR_DIRECTORY)
        self._clean()
        numbers = record.numbers(directory)
        self.number = numbers[-1] if numbers else 1
        if numbers and not self.part.exists():
            self.number += 1
        self._open()

    @property
    def part(self) -> Path:
        return record.part_path(package_path(self.directory, self.number))

    def append(self, row: Row, member: bytes = b"") -> None:
        """Add a line to the record, and to the package what `packed` made of the article that it names."""
        if self._xml_bytes >= self.package_bytes or self._rows >= _ROWS:
            self._seal()
            self.number += 1
            self._open()
        self._stream.write(member)
        self._size += len(member)
        self._xml_bytes += row.bytes if member else 0
        self._pending.append(row._replace(end=self._size if member else 0))
        self._rows += 1
        if len(self._pending) >= _COMMIT_ROWS or time.monotonic() > self._committed + _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Have all that was appended survive a power failure: first the articles, then the lines."""
        if self._pending:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            record.append(record.record_path(self.directory, self.number), self._pending)
            self._pending.clear()
        self._committed = time.monotonic()

    def finish(self) -> None:
        """Make a package of what was appended, however small."""
        self._seal()

    def close(self) -> None:
        """Keep what was appended, for the next run to continue."""
        if not self._stream.closed:
            self.commit()
            self._stream.close()
            if not self._rows:
                self.part.unlink()

    def _clean(self) -> None:
        """Remove parts that are not what their record says: it names nothing of them, or more."""
        for path in (self.directory / MIRROR_DIRECTORY).glob(f"{GROUP}-*.tar.gz.part"):
            number = int(path.name.removeprefix(f"{GROUP}-").partition(".")[0])
            lines = record.record_path(self.directory, number)
            record.mend(lines)
            if not lines.exists() or path.stat().st_size < max(row.end for row in record.read(lines)):
                path.unlink()

    def _open(self) -> None:
        """Begin the package, or cut what is there of it to the end of the last article of its record."""
        lines = record.record_path(self.directory, self.number)
        rows = list(record.read(lines)) if lines.exists() else []
        self._size, self._rows = max((row.end for row in rows), default=0), len(rows)
        self._xml_bytes = sum(row.bytes for row in rows if row.end)
        self._pending: list[Row] = []
        self._committed = time.monotonic()
        self._stream: io.BufferedRandom = open(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")  # noqa: SIM115
        self._stream.truncate(self._size)
        self._stream.seek(self._size)
        sync(self.part.parent)

    def _seal(self) -> None:
        """Finish the package: its list and its checksum first, then its name. One without articles goes."""
        self.commit()
        target = package_path(self.directory, self.number)
        if self._size:
            self._stream.write(isal_zlib.compress(_END, _LEVEL, _GZIP))
            self._stream.flush()
            os.fsync(self._stream.fileno())
            rows = record.read(record.record_path(self.directory, self.number))
            write_atomically(list_path(target), _listed([row for row in rows if row.end]))
            self._stream.seek(0)
            digest = hashlib.file_digest(self._stream, lambda: hashlib.md5(usedforsecurity=False))
            write_atomically(md5_path(target), f"{digest.hexdigest()}  {target.name}\n")
            os.replace(self.part, target)
            sync(target.parent)
        else:
            self.part.unlink()
        self._stream.close()


def _listed(rows: list[Row]) -> str:
    """The list of a package's articles."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LIST_COLUMNS)
    for row in rows:
        assert row.state == TAKEN
        updated = datetime.fromtimestamp(row.updated, UTC).strftime("%Y-%m-%d %H:%M:%S")
        retracted = "yes" if row.flags & FLAGS[RETRACTED] else "no"
        name = member_name(row.pmcid, row.version)
        writer.writerow(
            (name, f"PMC{row.pmcid}", row.version, updated, row.pmid or "", row.license, retracted, row.as_of)
        )
    return text.getvalue()
