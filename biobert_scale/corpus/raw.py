"""Finds the raw files, in the order in which they apply, and says which are not read."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from isal import isal_zlib

from biobert_scale.corpus.file_list import is_package_name, is_withdrawn_list
from biobert_scale.corpus.not_read import NotRead, note
from biobert_scale.corpus.opening import HEAD_BYTES, is_html, open_decompressed, reading, root_of
from biobert_scale.corpus.packages import XML_SUFFIXES, package_members, package_stem
from biobert_scale.corpus.readers.article_sets import SETS
from biobert_scale.corpus.readers.bits import BOOKS
from biobert_scale.corpus.readers.medline import CITATIONS
from biobert_scale.errors import UserError, printable
from biobert_scale.files import walk

_OF_MANY = ("PubmedArticleSet", "PubmedBookArticleSet", "MedlineCitationSet", "articles")
"""Roots of files that are a task each, however small."""
_FULL_TEXTS = ("article", *BOOKS, *SETS)
_FILE_LIST = re.compile(r"\.filelist\.(?:csv|txt)$")
_OTHER_NAME = "files not named *.xml, *.nxml, *.tar, *.zip or as one of these compressed"
_OTHER_XML = "XML files of other kinds (no citations, articles or books)"
_GROUP_FILES, _GROUP_BYTES = 10_000, 64_000_000
_MOST_ALONE = 4096

PIECE_BYTES = 1_000_000_000
"""Of a package's XML, about what a task reads: in a minute, while the bytes in front of it take a second each
of these."""
_ZIP_EXPANSION = 5
"""A little more than what PMC's XML has for a byte of deflate (4.1 to 4.8)."""
_SAMPLED_BYTES = 4_000_000
_MOST_EXPANSION = 20

MIRROR_DIRECTORY = ".mirror"
"""What `corpus download` keeps for itself beside the files; nothing in it is read."""


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """What one task of the corpus stage reads: a file, or several small ones."""

    path: Path
    """The file, or the first one."""
    source: str
    """`medline` or `pmc`."""
    file_list: Path | None = None
    """The package's `.filelist.csv`, where one is beside it."""
    together: bytes = b""
    """The paths of several files, packed: there may be millions, and every process has them all."""
    start: int = 0
    stop: int = 0
    """Of a large package that several tasks read: the members that begin in this range of bytes, of the tar
    archive as it is expanded or of the zip archive as it is; `stop` is 0 where it has no end."""

    @property
    def paths(self) -> list[Path]:
        if not self.together:
            return [self.path]
        return [Path(os.fsdecode(name)) for name in zlib.decompress(self.together).split(b"\0")]


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
    """Find the files of citations, articles and books under a directory, in the order in which they apply.

    Names show which files are XML and which packages; the root element decides what is in an XML file, and
    that of the first member what is in a package. Citations come first. Of each kind the files of one article
    or one answer come first, in the order of their paths, and are read together, up to 10,000 or 64 MB by one
    task; then come files of many, in the order of their names, then of their paths. Numbers count by value
    (`pubmed25n0001` before `pubmed25n1275`: NCBI numbers its update files after the baseline). Where there
    are more than 4,096 files of many, small ones are read together, too. All other files are counted, save
    the checksum or file list of a file.

    Raises:
        UserError: no such directory, or no such files in it.
    """
    if not raw.is_dir():
        remedy = "name the directory that holds the raw PubMed and PMC files"
        raise UserError("no such directory", where=raw, remedy=remedy)
    found, of_many = RawDirectory(), []
    single = {source: _Groups() for source in ("medline", "pmc")}
    for path in _walk(raw):
        try:
            recognised = _recognise(path)
        except OSError as error:
            found.unreadable.append(_unreadable(path, error))
            continue
        if isinstance(recognised, str):
            note(found.not_read, recognised, printable(path.relative_to(raw)))
        elif recognised.is_single:
            single[recognised.file.source].add(recognised.file)
        else:
            of_many.append(recognised.file)
    of_many.sort(key=lambda file: _order(file.path))
    for source, groups in single.items():
        several = [file for file in of_many if file.source == source]
        found.files += groups.finished() + (_shared(several) if len(several) > _MOST_ALONE else several)
    if not found.files and not found.unreadable:
        what = "no PubMed and no PMC files (*.xml, *.nxml, *.tar.gz, *.zip and the like)"
        raise UserError(what, where=raw, remedy="check the path, or download some first")
    return found


class _Groups:
    """Gathers files in their order, as many as one task reads in a few seconds."""

    def __init__(self) -> None:
        self.files: list[RawFile] = []
        self.open: list[RawFile] = []
        self.bytes = 0

    def add(self, file: RawFile) -> None:
        size = file.path.stat().st_size
        if len(self.open) == _GROUP_FILES or self.bytes + size > _GROUP_BYTES:
            self.finished()
        self.open.append(file)
        self.bytes += size

    def finished(self) -> list[RawFile]:
        """What was gathered; the next file begins a new group."""
        if len(self.open) == 1:
            self.files += self.open
        elif self.open:
            together = zlib.compress(b"\0".join(os.fsencode(file.path) for file in self.open))
            first = self.open[0]
            self.files.append(RawFile(path=first.path, source=first.source, together=together))
        self.open, self.bytes = [], 0
        return self.files


def _shared(files: list[RawFile]) -> list[RawFile]:
    groups = _Groups()
    for file in files:
        if file.file_list is None:
            groups.add(file)
        else:
            groups.finished().append(file)
    return groups.finished()


def _walk(raw: Path) -> Iterator[Path]:
    """All files in order, also those behind links to directories, save what belongs to another one."""
    for directory, below, names in walk(raw):
        below[:] = sorted((name for name in below if name != MIRROR_DIRECTORY), key=_by_value)
        owners = {*names, *(package_stem(name) for name in names)}
        for name in sorted(names, key=_by_value):
            owner = _FILE_LIST.sub("", name.removesuffix(".md5"))
            if owner == name or owner not in owners:
                yield directory / name


def _by_value(name: str) -> str:
    return re.sub(r"\d+", lambda number: number[0].zfill(20), name)


def _order(path: Path) -> tuple[list[tuple[str, int]], str]:
    pieces = re.findall(r"(\D*)(\d*)", path.name)
    return [(text, int(digits or 0)) for text, digits in pieces], str(path)


def divided(file: RawFile) -> list[RawFile]:
    """A large package in pieces, each the work of one task; any other file as it is.

    Every task expands what comes before its members, which is cheap only for what expands quickly: packages
    in bzip2 and xz stay whole.
    """
    suffix = file.path.name.lower().rpartition(".")[2]
    if package_stem(file.path.name) is None or file.together or suffix in ("bz2", "tbz2", "xz", "txz"):
        return [file]
    size = file.path.stat().st_size
    if suffix in ("gz", "tgz") and size * _MOST_EXPANSION > PIECE_BYTES:
        size = int(size * _gzip_expansion(file.path))
    # Members of a zip archive are divided as they are in the file.
    piece = PIECE_BYTES // _ZIP_EXPANSION if suffix == "zip" else PIECE_BYTES
    starts = range(0, max(size - piece // 2, 1), piece)
    return [replace(file, start=start, stop=start + piece if start != starts[-1] else 0) for start in starts]


def _gzip_expansion(path: Path) -> float:
    """Bytes that a byte of a gzip file becomes, by the file's beginning. A piece too many would expand the
    whole file and find nothing."""
    with open(path, "rb") as stream:
        head = rest = stream.read(_SAMPLED_BYTES)
    expanded = 0
    with suppress(isal_zlib.error):  # type: ignore[arg-type]  # whoever reads the file says what is wrong
        while rest and expanded < _MOST_EXPANSION * len(head):
            member = isal_zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            expanded += len(member.decompress(rest, _MOST_EXPANSION * len(head)))
            rest = member.unused_data
    return min(max(expanded / max(len(head), 1), 1), _MOST_EXPANSION)


def _unreadable(path: Path, error: OSError) -> UserError:
    where = Path(error.filename or path)  # the file list's, where that is it
    broken = where.is_symlink() and not where.exists()
    what = "the link leads to no file" if broken else f"the file cannot be opened ({error.strerror})"
    return UserError(what, where=where, remedy="mend it, or remove it from the directory")


class _Recognised(NamedTuple):
    file: RawFile
    is_single: bool
    """It is to be read together with others."""


def _recognise(path: Path) -> _Recognised | str:
    """A raw file, or the reason for which it is not read. A file that is too damaged to know counts by its
    name: whoever reads it says what is wrong with it.

    Raises:
        OSError: it cannot be opened.
    """
    name = path.name.lower()
    if name.startswith("."):
        return "hidden files"
    stem = package_stem(path.name)
    if not name.endswith(XML_SUFFIXES) and stem is None and not is_withdrawn_list(path.name):
        if path.is_symlink() and not path.suffix:
            path.stat()  # a broken link to what may have been a directory of raw files
        return _OTHER_NAME
    if not stat.S_ISREG(path.stat().st_mode):
        return "pipes, sockets and devices"
    if is_withdrawn_list(path.name):
        open(path, "rb").close()
        return _Recognised(RawFile(path=path, source="pmc"), False)
    try:
        return _recognise_xml(path) if stem is None else _recognise_package(path, stem)
    except UserError:
        citations = stem is None and ".nxml" not in name
        return _Recognised(RawFile(path=path, source="medline" if citations else "pmc"), False)


def _recognise_xml(path: Path) -> _Recognised | str:
    with open_decompressed(path) as stream, reading(path):
        root, _ = root_of(stream, path)
    if root not in (*CITATIONS, *_FULL_TEXTS):
        return "HTML pages" if root == "html" else _OTHER_XML
    file = RawFile(path=path, source="medline" if root in CITATIONS else "pmc")
    return _Recognised(file, root not in _OF_MANY)


def _recognise_package(path: Path, stem: str) -> _Recognised | str:
    beside = path.with_name(f"{stem}.filelist.csv")
    listed = beside if os.path.lexists(beside) else None
    if listed:
        open(listed, "rb").close()
    with open_decompressed(path) as stream, reading(path):
        if is_html(stream.read(HEAD_BYTES)):
            return "HTML pages"
    source = "pmc"
    if listed is None and not is_package_name(path.name):
        with closing(package_members(path)) as members, reading(path):
            first = next(members, None)
            if first is None:
                return "packages without XML"
            source = "medline" if root_of(first.stream, first.where)[0] in CITATIONS else "pmc"
    return _Recognised(RawFile(path=path, source=source, file_list=listed), False)
