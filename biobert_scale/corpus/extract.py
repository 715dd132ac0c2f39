"""One raw file as documents: what MEDLINE records and PMC articles have in common from here on."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
from biobert_scale.corpus.not_read import NotRead
from biobert_scale.corpus.own_text import OwnPiece
from biobert_scale.corpus.raw import RawFile, package_members
from biobert_scale.corpus.readers.jats import read_jats_set
from biobert_scale.corpus.readers.medline import abstract_in, read_medline
from biobert_scale.corpus.readers.own_text import read_own_text
from biobert_scale.corpus.sources import europe_pmc
from biobert_scale.errors import printable

_log = logging.getLogger(__name__)
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
    file: RawFile, *, captions: bool, languages: tuple[str, ...], deleted: list[str], not_read: NotRead
) -> Iterator[Extracted]:
    """Yield every record of a raw file in its order.

    Args:
        captions: keep the captions of figures and tables.
        languages: of a record without an abstract, take the `OtherAbstract` in the first of these that it has
            one in; of an article in another language, its translation into one of them.
        deleted: receives the PMIDs that the file withdraws.
        not_read: receives what a package holds besides articles.

    Raises:
        UserError: the file is damaged.
    """
    if file.source == "medline":
        yield from _extract_medline(file.path, languages, deleted)
    elif is_withdrawn_list(file.path.name):
        yield from _extract_withdrawn(file.path)
    elif not file.path.name.endswith(".tar.gz"):
        for number, content in enumerate(europe_pmc.articles(file.path), start=1):
            yield from _articles(file.path.name, str(number), content, ListedArticle(), captions, languages)
    else:
        yield from _extract_pmc(file, captions, languages, not_read)


def extract_own(piece: OwnPiece) -> Iterator[Extracted]:
    """Yield every document of a piece of own text; see `read_own_text`."""
    for document in read_own_text(piece):
        if document is not None:
            yield Extracted(document=document)
        else:
            unread = Document(id=f"{piece.source}:", source=piece.source, text="", own=piece.config)
            yield Extracted(document=unread, reason="malformed")


def _extract_medline(path: Path, languages: tuple[str, ...], deleted: list[str]) -> Iterator[Extracted]:
    for record in read_medline(path):
        if record.deleted:
            deleted.extend(record.deleted)
            continue
        abstract, spoken = abstract_in(record, languages)
        document = Document(
            id=f"pmid:{record.pmid if record.pmid.isdecimal() else ''}",
            source="medline",
            text="\n".join(filter(None, (record.title, *abstract))),
            pmid=record.pmid,
            pmcid=_pmcid(record.pmcid),
            origin=printable(path.name),
            language=" ".join(spoken),
            title_only=not abstract,
            retracted=record.retracted,
            publication_types=record.publication_types,
            year=record.year,
        )
        yield Extracted(document=document, version=record.version, revised=record.date_revised)


def _extract_withdrawn(path: Path) -> Iterator[Extracted]:
    """A withdrawal is a state of an article without a text, and replaces the older ones as any later one."""
    for named, as_of in read_withdrawn_list(path):
        pmcid = _pmcid(named)
        document = Document(
            id=f"pmcid:{pmcid}", source="pmc", text="", pmcid=pmcid, origin=printable(path.name)
        )
        yield Extracted(document=document, revised=as_of, reason="deleted")


def _extract_pmc(
    file: RawFile, captions: bool, languages: tuple[str, ...], not_read: NotRead
) -> Iterator[Extracted]:
    file_list = read_file_list(file.file_list) if file.file_list is not None else None
    unlisted = ListedArticle(updated=package_date(file.path.name))
    members, missing = 0, []
    for member, content in package_members(file.path, not_read):
        members += 1
        listed = file_list.find(member) if file_list is not None else None
        if file_list is not None and listed is None:
            missing.append(member)
        yield from _articles(file.path.name, member, content, listed or unlisted, captions, languages)
    if missing:
        message = "%s: its file list lacks %d of the package's %d articles, such as %s"
        _log.warning(message, file.path, len(missing), members, missing[0])


def _articles(
    package: str,
    member: str,
    content: bytes,
    listed: ListedArticle,
    captions: bool,
    languages: tuple[str, ...],
) -> Iterator[Extracted]:
    """The articles of one member, mostly one. Malformed XML inside a sound package is the publisher's doing:
    it is counted, and the others are read."""
    named = _pmcid(PurePosixPath(member).stem)
    origin = printable(f"{package}:{member}")
    try:
        for article in read_jats_set(content, captions=captions, languages=languages):
            pmcid, pmid = _pmcid(article.pmcid) or named, article.pmid or listed.pmid
            document = Document(
                id=f"pmcid:{pmcid}" if pmcid or not pmid.isdecimal() else f"pmid:{pmid}",
                source="pmc",
                text="\n".join(filter(None, (article.title, *article.abstract, *article.body))),
                pmid=pmid,
                pmcid=pmcid,
                license=license_group(package, listed.license or article.license),
                origin=origin,
                language=article.language,
                title_only=not (article.abstract or article.body),
                license_name=listed.license or article.license,
                retracted=listed.retracted or article.retracted,
                publication_types=article.publication_types,
                year=article.year,
            )
            yield Extracted(document=document, revised=listed.updated)
    except (etree.XMLSyntaxError, ValueError) as error:
        _log.warning("%s is left out: %s", origin, error)
        document = Document(
            id=f"pmcid:{named}",
            source="pmc",
            text="",
            pmid=listed.pmid,
            pmcid=named,
            license=license_group(package, listed.license),
            origin=origin,
        )
        yield Extracted(document=document, revised=listed.updated, reason="malformed")


def _pmcid(text: str) -> str:
    """`PMC123` of `PMC123` or of one of its versions (`PMC123.1`); empty for anything else."""
    found = _PMCID.match(text)
    return found.group() if found else ""
