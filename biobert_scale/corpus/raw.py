"""Finds the raw files, and opens them: gzip, tar packages, and the one line for a damaged one."""

from __future__ import annotations

import itertools
import os
import re
import stat
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from isal import igzip, isal_zlib
from lxml import etree

from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS, local_name
from biobert_scale.corpus.file_list import is_package_name, is_withdrawn_list
from biobert_scale.corpus.not_read import MEMBER_HIDDEN, MEMBER_NAME, NotRead, note
from biobert_scale.errors import UserError, printable

_REMEDY = "download it again and compare its checksum with the source's, or move it out of the directory"
_MEDLINE_ROOTS = ("PubmedArticleSet", "MedlineCitationSet")
_SET_OF_ARTICLES = ["articles", "article"]  # Europe PMC's bulk files
_DRAIN_BYTES = 1 << 20
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
_HEAD_BYTES = 256
_FILE_LIST = re.compile(r"\.filelist\.(?:csv|txt)$")
_OTHER_XML = "XML files without PubMed citations (full texts are read from *.tar.gz packages)"

MIRROR_DIRECTORY = ".mirror"
"""What `corpus download` keeps for itself beside the files; nothing in it is read."""

MAXIMUM_MEMBER_BYTES = 128_000_000
"""Of one member of a package, expanded; larger is a mistake or an attack (a long article has some MB)."""

MAXIMUM_RECORD_BYTES = 32_000_000
"""The same for one record of a MEDLINE file. A file of many members or records may have any size."""


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One input file of the corpus stage."""

    path: Path
    source: str
    """`medline` or `pmc`."""
    file_list: Path | None = None
    """The package's `.filelist.csv`, where one is beside it."""

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)


@dataclass(kw_only=True)
class RawDirectory:
    """What is in a directory of raw files."""

    files: list[RawFile] = field(default_factory=list)
    """In the order in which they apply."""
    unreadable: list[UserError] = field(default_factory=list)
    """One for each file that cannot be opened: broken links, missing permission."""
    not_read: NotRead = field(default_factory=dict)


def find_raw_files(raw: Path) -> list[RawFile]:
    """The files that `look_through` finds.

    Raises:
        UserError: also where one cannot be opened.
    """
    found = look_through(raw)
    if found.unreadable:
        raise found.unreadable[0]
    return found.files


def look_through(raw: Path) -> RawDirectory:
    """Find the MEDLINE files and PMC packages under a directory, in the order in which they apply.

    MEDLINE files are `.xml` and `.xml.gz` files whose root element is PubmedArticleSet or MedlineCitationSet;
    they come first. PMC packages are `.tar.gz` files that hold XML; `.xml` and `.xml.gz` files with the root
    `articles`, and lists of withdrawn articles (`.withdrawn.csv`), count as such. Within
    each kind files are ordered by name, numbers by value (`pubmed25n0001` before `pubmed25n1275`: NCBI
    numbers its update files after the baseline), then by path. All others are counted, save the checksum or
    file list of a file.

    Raises:
        UserError: no such directory, or no such files in it.
    """
    if not raw.is_dir():
        remedy = "name the directory that holds the raw PubMed and PMC files"
        raise UserError("no such directory", where=raw, remedy=remedy)
    found, paths = RawDirectory(), sorted(_walk(raw), key=_order)
    names = {str(path) for path in paths}
    for path in paths:
        owner = _FILE_LIST.sub(".tar.gz", str(path).removesuffix(".md5"))
        if owner != str(path) and owner in names:
            continue
        try:
            recognised = _recognise(path)
        except OSError as error:
            found.unreadable.append(_unreadable(path, error))
            continue
        if isinstance(recognised, RawFile):
            found.files.append(recognised)
        else:
            note(found.not_read, recognised, printable(path.relative_to(raw)))
    if not found.files and not found.unreadable:
        what = "no PubMed (*.xml.gz) and no PMC (*.tar.gz) files"
        raise UserError(what, where=raw, remedy="check the path, or download some first")
    found.files.sort(key=lambda file: file.source != "medline")  # within each kind the order stays
    return found


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
        below[:] = [name for name in below if name != MIRROR_DIRECTORY]
        yield from (Path(directory, name) for name in names)


def _order(path: Path) -> tuple[list[tuple[str, int]], str]:
    pieces = re.findall(r"(\D*)(\d*)", path.name)
    return [(text, int(digits or 0)) for text, digits in pieces], str(path)


def _unreadable(path: Path, error: OSError) -> UserError:
    where = Path(error.filename or path)  # the file list's, where that is it
    broken = where.is_symlink() and not where.exists()
    what = "the link leads to no file" if broken else f"the file cannot be opened ({error.strerror})"
    return UserError(what, where=where, remedy="mend it, or remove it from the directory")


def _recognise(path: Path) -> RawFile | str:
    """A raw file, or the reason for which it is not read. A file that is too damaged to know counts by its
    name: whoever reads it says what is wrong with it.

    Raises:
        OSError: it cannot be opened.
    """
    if path.name.startswith("."):
        return "hidden files"
    if not path.name.endswith((".xml", ".xml.gz", ".tar.gz")) and not is_withdrawn_list(path.name):
        if path.is_symlink() and not path.suffix:
            path.stat()  # a broken link to what may have been a directory of raw files
        return "files not named *.xml, *.xml.gz or *.tar.gz"
    if not stat.S_ISREG(path.stat().st_mode):
        return "pipes, sockets and devices"
    open(path, "rb").close()
    if is_withdrawn_list(path.name):
        return RawFile(path=path, source="pmc")
    try:
        return _look_into(path)
    except UserError:
        return RawFile(path=path, source="pmc" if path.name.endswith(".tar.gz") else "medline")


def _look_into(path: Path) -> RawFile | str:
    with open_decompressed(path) as stream, reading(path):
        if _HTML.match(stream.read(_HEAD_BYTES)):
            return "HTML pages"
    if not path.name.endswith(".tar.gz"):
        names = list(itertools.islice(_element_names(path), 2))
        if names == _SET_OF_ARTICLES:
            return RawFile(path=path, source="pmc")
        return RawFile(path=path, source="medline") if names[0] in _MEDLINE_ROOTS else _OTHER_XML
    listed = path.with_name(path.name.removesuffix(".tar.gz") + ".filelist.csv")
    if os.path.lexists(listed):
        open(listed, "rb").close()
        return RawFile(path=path, source="pmc", file_list=listed)
    if is_package_name(path.name) or next(package_members(path), None) is not None:
        return RawFile(path=path, source="pmc")
    return "packages without XML"


def _element_names(path: Path) -> Iterator[str]:
    """The elements' names, the root's first; for the first ones alone, since nothing is freed."""
    with open_decompressed(path) as stream, reading(path):
        # not the stream itself, whose name lxml would encode
        beginning = BoundedReader(stream, MAXIMUM_RECORD_BYTES, where=path, what="what is before the root")
        for _, element in etree.iterparse(beginning, events=("start",), **PARSER_OPTIONS):
            yield local_name(element)


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """Open a file as bytes; `.gz` through gzip, unless it is plain XML, as some browsers save it."""
    compressed = path.name.endswith(".gz")
    if path.name.endswith(".xml.gz"):
        with open(path, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
        compressed = not _XML.match(head) or _HTML.match(head) is not None  # an error page is no sound file
    with igzip.open(path, "rb") if compressed else open(path, "rb") as stream:  # type: ignore[no-untyped-call]
        yield stream


class BoundedReader:
    """Passes a stream's bytes, but no more at a stretch than one item may have: a gzip bomb ends here.

    Args:
        limit: bytes of one item.
        where: the file that the error names.
        what: the item that the error names.
        head: what was read of the stream before.
    """

    def __init__(
        self, stream: BinaryIO, limit: int, *, where: str | Path, what: str, head: bytes = b""
    ) -> None:
        self.stream, self.limit, self.where, self.what = stream, limit, where, what
        self.head, self.left = head, limit

    def allow_more(self, skipped_bytes: int = 0) -> None:
        """The item is done: the next may be as large, and so may `skipped_bytes` that nobody keeps."""
        self.left = self.limit + skipped_bytes

    def read(self, size: int = -1) -> bytes:
        data = self.head or self.stream.read(size)
        self.head = b""
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


def package_members(path: Path, not_read: NotRead | None = None) -> Iterator[tuple[str, bytes]]:
    """Stream the XML members of a `.tar.gz` package as (path in the package, content); nothing is unpacked to
    disk.

    Args:
        path: the package.
        not_read: receives the members of other names, and hidden ones (`._PMC1.xml`, which macOS adds).

    Raises:
        UserError: the package is damaged, holds a link or a path that leaves it, or a member is larger than
            `MAXIMUM_MEMBER_BYTES`.
    """
    with open_decompressed(path) as stream, reading(path):
        # Members are measured before they are read.
        bounded = BoundedReader(stream, MAXIMUM_MEMBER_BYTES, where=path, what="a header in the tar package")
        with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Header) as package:  # type: ignore[call-overload]
            for member in package:
                bounded.allow_more(skipped_bytes=member.size)
                name, where = PurePosixPath(member.name), f"{path}:{member.name}"
                if member.issym() or member.islnk() or name.is_absolute() or ".." in name.parts:
                    what = "the package holds a link or a path that leads out of it"
                    raise UserError(what, where=where, remedy=_REMEDY)
                if name.suffix in (".xml", ".nxml") and member.isfile() and not name.name.startswith("."):
                    yield str(name), _content(package, member, path)
                elif not_read is not None and not member.isdir():
                    reason = MEMBER_HIDDEN if name.name.startswith(".") else MEMBER_NAME
                    note(not_read, reason, printable(f"{path.name}:{name}"))
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


def _content(package: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    if member.size > MAXIMUM_MEMBER_BYTES:
        raise _too_large("a member of the package", MAXIMUM_MEMBER_BYTES, f"{path}:{member.name}")
    with reading(path, within=member.name):
        content = package.extractfile(member)
        assert content is not None
        return content.read()
