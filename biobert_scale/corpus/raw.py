"""Finds the raw files, and opens them: gzip, tar packages, and what to tell when one of them is damaged."""

from __future__ import annotations

import csv
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from isal import igzip, isal_zlib
from lxml import etree

from biobert_scale.corpus.markup import PARSER_OPTIONS, local_name
from biobert_scale.errors import UserError

_REMEDY = "download it again and compare its checksum with the source's, or move it out of the directory"
_PACKAGE_NAME = re.compile(r"oa_(comm|noncomm|other)_")
_COMMERCIAL = frozenset({"CC0", "CC BY", "CC BY-SA", "CC BY-ND"})
_MEDLINE_ROOTS = ("PubmedArticleSet", "MedlineCitationSet")
_DRAIN_BYTES = 1 << 20

MAXIMUM_MEMBER_BYTES = 128_000_000
"""What one member of a package may take up once expanded; larger is a mistake or an attack (a long article
has some MB)."""

MAXIMUM_RECORD_BYTES = 32_000_000
"""The same for one record of a MEDLINE file. A file of many members or records may have any size."""


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One input file of the corpus stage."""

    path: Path
    source: str
    """`medline` or `pmc`."""
    file_list: Path | None = None
    """The package's `.filelist.csv`, where one stands beside it."""


@dataclass(frozen=True, kw_only=True)
class ListedArticle:
    """What a package's file list says of one article."""

    pmid: str = ""
    license: str = ""
    updated: int = 0
    """Time of the last update as the number YYYYMMDDHHMMSS; 0 where the list names none."""


def find_raw_files(raw: Path) -> list[RawFile]:
    """Find the MEDLINE files and PMC packages under a directory, in the order in which they apply.

    MEDLINE files are `.xml` and `.xml.gz` files whose root element is PubmedArticleSet or MedlineCitationSet;
    they come first. PMC packages are `.tar.gz` files that hold XML. Within each kind files are ordered by
    name, numbers by value (`pubmed25n0001` before `pubmed25n1275`: NCBI numbers its update files after the
    baseline), then by path. All other files are ignored.

    Raises:
        UserError: no such directory, or no such files in it.
    """
    if not raw.is_dir():
        raise UserError(
            "no such directory",
            where=raw,
            remedy="name the directory that holds the raw PubMed and PMC files",
        )
    found = [file for path in sorted(_walk(raw), key=_order) if (file := _recognise(path)) is not None]
    if not found:
        raise UserError(
            "no PubMed (*.xml.gz) and no PMC (*.tar.gz) files",
            where=raw,
            remedy="check the path, or download some first",
        )
    return [file for source in ("medline", "pmc") for file in found if file.source == source]


def _walk(raw: Path) -> Iterator[Path]:
    """All files, also those behind links to directories; a directory is entered once."""

    def refuse(error: OSError) -> None:
        raise error

    entered: set[tuple[int, int]] = set()
    for directory, below, names in os.walk(raw, followlinks=True, onerror=refuse):
        found = os.stat(directory)
        if (found.st_dev, found.st_ino) in entered:
            below.clear()
            continue
        entered.add((found.st_dev, found.st_ino))
        yield from (Path(directory, name) for name in names if not name.startswith("."))


def _order(path: Path) -> tuple[list[tuple[str, int]], str]:
    pieces = re.findall(r"(\D*)(\d*)", path.name)
    return [(text, int(digits or 0)) for text, digits in pieces], str(path)


def _recognise(path: Path) -> RawFile | None:
    """What a file is. One that is too damaged to tell counts by its name: whoever reads it tells what is
    wrong with it."""
    try:
        return _look_into(path)
    except UserError:
        return RawFile(path=path, source="pmc" if path.name.endswith(".tar.gz") else "medline")


def _look_into(path: Path) -> RawFile | None:
    if path.name.endswith((".xml", ".xml.gz")):
        return RawFile(path=path, source="medline") if _root_name(path) in _MEDLINE_ROOTS else None
    if path.name.endswith(".tar.gz"):
        listed = path.with_name(path.name.removesuffix(".tar.gz") + ".filelist.csv")
        file_list = listed if listed.is_file() else None
        if (
            file_list is not None
            or _PACKAGE_NAME.match(path.name)
            or next(package_members(path), None) is not None
        ):
            return RawFile(path=path, source="pmc", file_list=file_list)
    return None


def _root_name(path: Path) -> str:
    with open_decompressed(path) as stream, reading(path):
        for _, element in etree.iterparse(stream, events=("start",), **PARSER_OPTIONS):
            return local_name(element)
    return ""


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, through gzip where its name ends in `.gz`."""
    with igzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as stream:
        yield stream


class BoundedReader:
    """Hands a stream's bytes on, but not more of them at a stretch than one item may have: a gzip bomb ends
    here.

    Args:
        limit: bytes of one item.
        where: the file that the error names.
        what: the item that the error names.
    """

    def __init__(self, stream: BinaryIO, limit: int, *, where: str | Path, what: str) -> None:
        self.stream, self.limit, self.where, self.what = stream, limit, where, what
        self.left = limit

    def allow_more(self, skipped_bytes: int = 0) -> None:
        """The item is done: the next may be as large, and so may `skipped_bytes` that nobody keeps."""
        self.left = self.limit + skipped_bytes

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise _too_large(self.what, self.limit, self.where)
        return data


def _too_large(what: str, limit: int, where: str | Path) -> UserError:
    return UserError(f"{what} is larger than {limit:,} bytes", where=where, remedy=_REMEDY)


@contextmanager
def reading(where: str | Path, *, within: str = "") -> Iterator[None]:
    """Turn what the decompressor, tar and XML readers raise on damaged input into one line that names the
    file.

    Args:
        where: the file.
        within: the member of the package that is being read.
    """
    try:
        yield
    except etree.XMLSyntaxError as error:
        message = " ".join((error.msg or "empty document").split())
        what = f"the XML is damaged or breaks off at line {error.lineno} ({message})"
    except EOFError:
        what = "the gzip file breaks off"
    except (igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        what = f"the gzip file is damaged ({error})"
    except tarfile.TarError as error:
        what = f"the tar package is damaged or breaks off ({error})"
    except RecursionError:
        what = "the XML's elements are nested too deeply"
    else:
        return
    raise UserError(f"{what}, in {within}" if within else what, where=where, remedy=_REMEDY)


def package_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Stream the XML members of a `.tar.gz` package as (path in the package, content); nothing is unpacked to
    disk.

    Directories, devices and files of other kinds are passed over.

    Raises:
        UserError: the package is damaged, holds a link or a path that leaves it, or a member is larger than
            `MAXIMUM_MEMBER_BYTES`.
    """
    with open_decompressed(path) as stream, reading(path):
        bounded = BoundedReader(
            stream, MAXIMUM_MEMBER_BYTES, where=path, what="a header in the tar package"
        )  # members are measured before they are read
        with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Header) as package:  # type: ignore[call-overload]
            for member in package:
                bounded.allow_more(skipped_bytes=member.size)
                name, where = PurePosixPath(member.name), f"{path}:{member.name}"
                if member.issym() or member.islnk() or name.is_absolute() or ".." in name.parts:
                    raise UserError(
                        "the package holds a link or a path that leads out of it", where=where, remedy=_REMEDY
                    )
                if member.isfile() and name.suffix in (".xml", ".nxml"):
                    yield member.name, _content(package, member, path)
                package.members = []  # tarfile would keep every header
            bounded.left = sys.maxsize
            while rest := package.fileobj.read(
                _DRAIN_BYTES
            ):  # to the checksum at the very end, which tar has no need to read
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
            raise tarfile.ReadError(f"{error} at byte {package.offset:,}") from None  # type: ignore[attr-defined]


def _content(package: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    if member.size > MAXIMUM_MEMBER_BYTES:
        raise _too_large("a member of the package", MAXIMUM_MEMBER_BYTES, f"{path}:{member.name}")
    with reading(path, within=member.name):
        content = package.extractfile(member)
        assert content is not None
        return content.read()


def read_file_list(path: Path) -> dict[str, ListedArticle]:
    """Read a package's `.filelist.csv`: what it says of each member, by the member's path.

    Raises:
        UserError: the file is no such list.
    """
    with open(path, encoding="utf-8", newline="") as stream:
        try:
            rows = csv.DictReader(stream)
            columns = rows.fieldnames or []
            updated = next((column for column in columns if column.startswith("LastUpdated")), "LastUpdated")
            if "Article File" not in columns:
                raise UserError("no column 'Article File' in the file list", where=path, remedy=_REMEDY)
            return {row["Article File"]: _listed(row, updated) for row in rows}
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"the file list is damaged ({error})", where=path, remedy=_REMEDY) from None


def package_date(package: str) -> int:
    """The date in a package's name (`oa_comm_xml.incr.2025-07-01.tar.gz`) as the number YYYYMMDD000000; 0
    where it has none."""
    found = re.search(r"\.(\d{4})-(\d{2})-(\d{2})\.", package)
    return int("".join(found.groups())) * 1_000_000 if found else 0


def _listed(row: dict[str, str | None], updated: str) -> ListedArticle:
    pmid = row.get("PMID") or ""
    digits = re.sub(r"\D", "", row.get(updated) or "")[:14]
    return ListedArticle(
        pmid=pmid if pmid.strip("0") else "",
        license=row.get("License") or "",
        updated=int(digits.ljust(14, "0")) if digits else 0,
    )


def license_group(package: str, license_name: str) -> str:
    """NCBI's licence group of an article: by the package's name (`oa_comm_xml...`), else by its licence, else
    empty.

    Source: the PMC Open Access Subset's description of its three groups.
    """
    if named := _PACKAGE_NAME.match(package):
        return named.group(1)
    if license_name.upper() in _COMMERCIAL:
        return "comm"
    if license_name.upper().startswith("CC BY-NC"):
        return "noncomm"
    return "other" if license_name else ""
