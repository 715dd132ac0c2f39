"""One raw file as documents: what MEDLINE records and PMC articles have in common from here on."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lxml import etree

from biobert_scale.corpus.document import Document
from biobert_scale.corpus.file_list import (
    ListedArticle,
    is_withdrawn_list,
    license_group,
    package_date,
    read_file_list,
    read_withdrawn_list,
)
from biobert_scale.corpus.not_read import NOTHING_INSIDE, NotRead, note
from biobert_scale.corpus.opening import (
    MAXIMUM_MEMBER_BYTES,
    REMEDY,
    BoundedReader,
    open_decompressed,
    reading,
    root_of,
)
from biobert_scale.corpus.own_text import OwnPiece
from biobert_scale.corpus.packages import package_members, package_stem
from biobert_scale.corpus.raw import RawFile
from biobert_scale.corpus.readers.article_sets import SETS, articles
from biobert_scale.corpus.readers.bits import BOOKS, BookPart, read_book
from biobert_scale.corpus.readers.jats import read_jats_set
from biobert_scale.corpus.readers.medline import CITATIONS, abstract_in, read_medline
from biobert_scale.corpus.readers.own_text import read_own_text
from biobert_scale.errors import UserError, printable

_log = logging.getLogger(__name__)
_UNLISTED = ListedArticle()
_PMCID = re.compile(r"PMC0*[1-9][0-9]*")


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A document, and which state of its record it is."""

    document: Document
    version: int = 1
    revised: int = 0
    """A date (MEDLINE: YYYYMMDD; PMC: YYYYMMDDHHMMSS), or 0."""
    reason: str = ""
    """Set where no document could be made of the record."""


def extract(
    file: RawFile,
    *,
    captions: bool,
    languages: tuple[str, ...],
    deleted: dict[str, int],
    not_read: NotRead,
    damaged: list[UserError],
) -> Iterator[Extracted]:
    """Yield every record of a raw file in its order.

    Args:
        captions: keep the captions of figures and tables.
        languages: of a record without an abstract, take the `OtherAbstract` in the first of these that it has
            one in; of an article in another language, its translation into one of them.
        deleted: receives the PMIDs that are withdrawn, each with the number of records up to the end of the
            XML file that withdraws it.
        not_read: receives what a package holds besides articles, and XML without anything to read.
        damaged: receives what is wrong with those of several files that are left out.

    Raises:
        UserError: the only file is damaged.
    """
    task = _Task(captions=captions, languages=languages, deleted=deleted, not_read=not_read)
    if not file.together:
        yield from task.read(file)
        return
    for path in file.paths:
        one = replace(task, deleted={}, not_read={})
        try:
            yield from list(one.read(RawFile(path=path, source=file.source)))
        except UserError as error:
            if error.exit_code != UserError.exit_code:
                raise
            damaged.append(error)  # and nothing of the file counts
            continue
        task.records = one.records
        deleted.update(one.deleted)
        for reason, unread in one.not_read.items():
            note(not_read, reason, unread["example"], unread["count"])


def extract_own(piece: OwnPiece) -> Iterator[Extracted]:
    """Yield every document of a piece of own text; see `read_own_text`."""
    for document in read_own_text(piece):
        if document is not None:
            yield Extracted(document=document)
        else:
            unread = Document(id=f"{piece.source}:", source=piece.source, text="", own=piece.config)
            yield Extracted(document=unread, reason="malformed")


@dataclass(frozen=True, kw_only=True)
class _Place:
    """An XML file: in the raw directory, or in a package."""

    path: Path
    """The raw file."""
    member: str = ""
    """The path in the package."""
    listed: ListedArticle = _UNLISTED

    @property
    def where(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def stem(self) -> str:
        return PurePosixPath(self.member or self.path.name).name.partition(".")[0]

    def pmcid(self, number: int) -> str:
        """That of the XML file's name, which one of several articles has not."""
        return "" if number and not self.member else _pmcid(self.stem)

    def origin(self, number: int = 0) -> str:
        within = self.member or str(number or "")
        return printable(f"{self.path.name}:{within}" if within else self.path.name)


@dataclass(kw_only=True)
class _Task:
    """Reads a raw file's XML by its root element."""

    captions: bool
    languages: tuple[str, ...]
    deleted: dict[str, int]
    not_read: NotRead
    records: int = 0

    def read(self, file: RawFile) -> Iterator[Extracted]:
        for record in self._read(file):
            self.records += 1
            yield record

    def _read(self, file: RawFile) -> Iterator[Extracted]:
        path = file.path
        if is_withdrawn_list(path.name):
            yield from _withdrawn(path)
        elif package_stem(path.name) is not None:
            yield from self._read_package(file)
        else:
            with open_decompressed(path) as stream, reading(path):
                yield from self._read_xml(_Place(path=path), stream)

    def _read_package(self, file: RawFile) -> Iterator[Extracted]:
        path = file.path
        file_list = read_file_list(file.file_list) if file.file_list is not None else None
        unlisted = ListedArticle(updated=package_date(path.name))
        members, missing = 0, []
        for member in package_members(path, self.not_read, start=file.start, stop=file.stop):
            members += 1
            listed = file_list.find(member.name) if file_list is not None else None
            if file_list is not None and listed is None:
                missing.append(member.name)
            place = _Place(path=path, member=member.name, listed=listed or unlisted)
            with reading(path, within=member.name):
                yield from self._read_xml(place, member.stream)
        if missing:
            message = "%s: its file list lacks %d of %d articles, such as %s"
            _log.warning(message, path, len(missing), members, missing[0])

    def _read_xml(self, place: _Place, stream: BinaryIO) -> Iterator[Extracted]:
        """Malformed XML of an article inside a sound package, or among many, is the publisher's doing: it is
        counted, and the others are read. A file of its own is damaged, and so are citations."""
        try:
            root, head = root_of(stream, place.where)
            if root in CITATIONS:
                yield from self._read_citations(place, stream, head)
            elif root in SETS:
                yield from self._read_set(place, stream, head)
            elif root == "article" or root in BOOKS:
                what = "a member of the package" if place.member else "the article"
                bounded = BoundedReader(stream, MAXIMUM_MEMBER_BYTES, where=place.where, what=what, head=head)
                yield from self._read_texts(place, bounded.read_all(), is_book=root in BOOKS)
            else:
                note(self.not_read, NOTHING_INSIDE, place.origin())
        except (etree.XMLSyntaxError, ValueError) as error:
            if place.member:
                yield _malformed(place, 0, error)
            elif isinstance(error, etree.XMLSyntaxError):
                raise
            else:
                raise UserError(str(error), where=place.where, remedy=REMEDY) from None

    def _read_citations(self, place: _Place, stream: BinaryIO, head: bytes) -> Iterator[Extracted]:
        withdrawn: list[str] = []
        whole = BoundedReader(stream, sys.maxsize, where=place.where, what="", head=head)
        for record in read_medline(whole, place.where):
            if record.deleted:
                withdrawn.extend(record.deleted)
                continue
            abstract, spoken = abstract_in(record, self.languages)
            document = Document(
                id=f"pmid:{record.pmid if record.pmid.isdecimal() else ''}",
                source="medline",
                text="\n".join(filter(None, (record.title, *abstract))),
                pmid=record.pmid,
                pmcid=_pmcid(record.pmcid),
                origin=place.origin(),
                language=" ".join(spoken),
                title_only=not abstract,
                retracted=record.retracted,
                publication_types=record.publication_types,
                year=record.year,
            )
            yield Extracted(document=document, version=record.version, revised=record.date_revised)
        self.deleted.update(dict.fromkeys(withdrawn, self.records))

    def _read_set(self, place: _Place, stream: BinaryIO, head: bytes) -> Iterator[Extracted]:
        number = 0
        for number, (name, content) in enumerate(articles(stream, place.where, head), start=1):
            try:
                yield from self._read_texts(place, content, number=number, is_book=name in BOOKS)
            except (etree.XMLSyntaxError, ValueError) as error:
                yield _malformed(place, number, error)
        if not number:
            note(self.not_read, NOTHING_INSIDE, place.origin())

    def _read_texts(
        self, place: _Place, content: bytes, *, is_book: bool, number: int = 0
    ) -> Iterator[Extracted]:
        """The articles of one XML document, mostly one, or the parts of a book."""
        named, listed, records = place.pmcid(number), place.listed, self.records
        if is_book:
            parts = read_book(content, captions=self.captions, file_name=place.stem)
        else:
            found = read_jats_set(content, captions=self.captions, languages=self.languages)
            parts = (BookPart("", article) for article in found)
        for name, article in parts:
            pmcid, pmid = _pmcid(article.pmcid) or ("" if name else named), article.pmid or listed.pmid
            identifier = f"pmcid:{pmcid}" if pmcid or not pmid.isdecimal() else f"pmid:{pmid}"
            document = Document(
                id=f"book:{name}" if name and not (pmcid or pmid.isdecimal()) else identifier,
                source="pmc",
                text="\n".join(filter(None, (article.title, *article.abstract, *article.body))),
                pmid=pmid,
                pmcid=pmcid,
                license=license_group(place.path.name, listed.license or article.license),
                origin=place.origin(number),
                language=article.language,
                title_only=not (article.abstract or article.body),
                license_name=listed.license or article.license,
                retracted=listed.retracted or article.retracted,
                publication_types=article.publication_types,
                year=article.year,
            )
            yield Extracted(document=document, revised=listed.updated)
        if self.records == records:
            note(self.not_read, NOTHING_INSIDE, place.origin(number))


def _withdrawn(path: Path) -> Iterator[Extracted]:
    """A withdrawal is a state of an article without a text, and replaces the older ones as any later one."""
    for named, as_of in read_withdrawn_list(path):
        pmcid = _pmcid(named)
        document = Document(
            id=f"pmcid:{pmcid}", source="pmc", text="", pmcid=pmcid, origin=printable(path.name)
        )
        yield Extracted(document=document, revised=as_of, reason="deleted")


def _malformed(place: _Place, number: int, error: Exception) -> Extracted:
    named, origin = place.pmcid(number), place.origin(number)
    _log.warning("%s is left out: %s", origin, error)
    document = Document(
        id=f"pmcid:{named}",
        source="pmc",
        text="",
        pmid=place.listed.pmid,
        pmcid=named,
        license=license_group(place.path.name, place.listed.license),
        origin=origin,
    )
    return Extracted(document=document, revised=place.listed.updated, reason="malformed")


def _pmcid(text: str) -> str:
    """`PMC123` of `PMC123` or of one of its versions (`PMC123.1`); empty for anything else."""
    found = _PMCID.match(text)
    return found.group() if found else ""
