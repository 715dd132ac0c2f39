"""Packages of XML files: tar, compressed or not, and zip. Nothing is unpacked to disk."""

from __future__ import annotations

import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from io import BufferedReader
from operator import attrgetter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, NamedTuple, Self, cast

from biobert_scale.corpus.not_read import MEMBER_HIDDEN, MEMBER_NAME, MEMBER_PACKAGE, NotRead, note
from biobert_scale.corpus.opening import (
    MAXIMUM_MEMBER_BYTES,
    REMEDY,
    BoundedReader,
    decompressed,
    open_decompressed,
    reading,
)
from biobert_scale.errors import UserError, printable

XML_SUFFIXES = (".xml", ".nxml", ".xml.gz", ".nxml.gz")
"""Of names in upper and lower case."""
_PACKAGE_SUFFIXES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar", ".tgz", ".tbz2", ".txz", ".zip")
_DRAIN_BYTES = 1 << 20
_ZIP_BEGINNINGS = (b"PK\3\4", b"PK\5\6")
_ENCRYPTED = 1


def package_stem(name: str) -> str | None:
    """A package's name without `.tar.gz`, `.zip` and the like; None for another file's name."""
    suffix = next((suffix for suffix in _PACKAGE_SUFFIXES if name.lower().endswith(suffix)), None)
    return None if suffix is None else name[: -len(suffix)]


@dataclass(frozen=True, kw_only=True)
class Member:
    """An XML file in a package."""

    name: str
    """Its path there."""
    package: Path
    stream: BinaryIO
    """What is in it, decompressed: to be read before the next member is asked for."""

    @property
    def where(self) -> str:
        return f"{self.package}:{self.name}"


class _Entry(NamedTuple):
    name: str
    is_link: bool
    is_directory: bool
    offset: int
    """Where it begins: in the expanded tar archive, or in the zip archive."""
    open: Callable[[], BufferedReader] | None
    """None for a device and the like."""


def package_members(
    path: Path, not_read: NotRead | None = None, *, start: int = 0, stop: int = 0
) -> Generator[Member, None, None]:
    """Stream the XML members of a package.

    Args:
        path: the package. Its first bytes show which kind it is of.
        not_read: receives the members of other names, hidden ones (`._PMC1.xml`, which macOS adds), and
            packages.
        start: of the range of bytes in which the members begin, see `RawFile`; the others are passed over.
        stop: of that range; 0 reads to the package's end, and checks that it is one.

    Raises:
        UserError: the package is damaged or encrypted, or holds a link or a path that leaves it.
    """
    with open(path, "rb") as beginning:
        entries = _zip_entries if beginning.read(4) in _ZIP_BEGINNINGS else _tar_entries
    with reading(path):
        for entry in entries(path):
            if stop and entry.offset >= stop:
                return
            if entry.offset < start:
                continue
            name = PurePosixPath(entry.name)
            climbs = name.is_absolute() or ".." in PureWindowsPath(name).parts or PureWindowsPath(name).drive
            if entry.is_link or climbs:
                what = "the package holds a link or a path that leads out of it"
                raise UserError(what, where=f"{path}:{entry.name}", remedy=REMEDY)
            hidden = name.name.startswith(".")
            if entry.open and not hidden and name.name.lower().endswith(XML_SUFFIXES):
                with entry.open() as stream:
                    yield Member(name=str(name), package=path, stream=decompressed(stream, name.name))
            elif not_read is not None and not entry.is_directory:
                reason = MEMBER_PACKAGE if package_stem(name.name) is not None else MEMBER_NAME
                note(not_read, MEMBER_HIDDEN if hidden else reason, printable(f"{path.name}:{name}"))


def _tar_entries(path: Path) -> Iterator[_Entry]:
    with open_decompressed(path) as stream:
        # Members are bounded by whoever reads them, and those that nobody reads may have any size.
        bounded = BoundedReader(stream, MAXIMUM_MEMBER_BYTES, where=path, what="a header in the tar package")
        with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Header) as package:  # type: ignore[call-overload]
            for member in package:
                bounded.allow_more(skipped_bytes=member.size)
                is_link = member.issym() or member.islnk()
                opened = (lambda: package.extractfile(member)) if member.isfile() else None  # noqa: B023
                yield _Entry(member.name, is_link, member.isdir(), member.offset, opened)
                package.members = []  # tarfile would keep every header
            bounded.left = sys.maxsize
            # To the checksum at the very end, which tar has no need to read.
            while rest := package.fileobj.read(_DRAIN_BYTES):
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("there is more after its end")


class _Header(tarfile.TarInfo):
    """tarfile takes a damaged or missing header for the archive's end, and would leave out all members after
    it without a word."""

    @classmethod
    def fromtarfile(cls, package: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(package)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the block of zeros at the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {package.offset:,}") from None


def _zip_entries(path: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(path) as package:
        end = 0
        for member in sorted(package.infolist(), key=attrgetter("header_offset")):
            if member.header_offset < end:  # a bomb, which is small because its members share their bytes
                raise zipfile.BadZipFile("its members overlap")
            end = member.header_offset + member.compress_size
            if member.flag_bits & _ENCRYPTED:
                where, remedy = f"{path}:{member.filename}", "unpack it with its password, or move it away"
                raise UserError("the zip package is encrypted", where=where, remedy=remedy)
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            opened = lambda: cast(BufferedReader, package.open(member))  # noqa: B023, E731
            content = None if member.is_dir() else opened
            yield _Entry(member.filename, is_link, member.is_dir(), member.header_offset, content)
