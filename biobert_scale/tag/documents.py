"""Streams documents out of plain text, PubMed XML, JATS full texts and books, BioC and PubTator; from files,
packages, directories and standard input."""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from biobert_scale.corpus.cleaning.clean import clean_text
from biobert_scale.corpus.not_read import NotRead, note
from biobert_scale.corpus.opening import MAXIMUM_MEMBER_BYTES, BoundedReader, decompressed, reading, root_of
from biobert_scale.corpus.packages import package_members, package_stem
from biobert_scale.corpus.readers.article_sets import SETS, articles
from biobert_scale.corpus.readers.bits import BOOKS, read_book
from biobert_scale.corpus.readers.jats import JatsArticle, read_jats_set
from biobert_scale.corpus.readers.medline import CITATIONS, MedlineRecord, read_medline
from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator_blocks import numbered_lines, read_blocks
from biobert_scale.evaluation.readers.bioc import bioc_documents
from biobert_scale.files import files_below
from biobert_scale.tag.document import ABSTRACT, PARAGRAPH, TextDocument
from biobert_scale.tag.formats import InputFormat, recognise

STANDARD = Path("-")
"""Standard input or output."""
_LANGUAGES = ("eng",)
_LOOK_BYTES = 4096
_SUFFIXES = (".xml", ".nxml", ".txt", ".json", ".pubtator", ".bioc")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_log = logging.getLogger(__name__)


def find_inputs(given: Sequence[Path]) -> tuple[list[Path], NotRead]:
    """The files that are meant: files, all of a directory's whose names say that they hold text, and those
    that a pattern such as `raw/*.xml.gz` names; and what directories hold besides.

    Raises:
        UserError: nothing is there.
    """
    files: list[Path] = []
    not_read: NotRead = {}
    for path in given:
        found = [path]
        if path.is_dir():
            below = [file for file in files_below(path) if file.is_file()]
            found = [file for file in below if _holds_text(file.name)]
            for file in sorted({*below} - {*found}):
                note(not_read, f"files not named *{', *'.join(_SUFFIXES)}, *.tar, *.zip", file.name)
        elif path != STANDARD and not path.exists() and any(sign in str(path) for sign in "*?["):
            parent = Path(path.anchor) if path.is_absolute() else Path()
            found = sorted(file for file in parent.glob(str(path.relative_to(parent))) if file.is_file())
        elif path != STANDARD and not path.exists():
            raise UserError("no such file or directory", where=path, remedy="check the path")
        if not found:
            raise UserError("no file of text there", where=path, remedy="check the path, or name the files")
        files += found
    return list(dict.fromkeys(files)), not_read


def _holds_text(name: str) -> bool:
    text = _decompressed_name(name).lower().endswith(_SUFFIXES)
    return not name.startswith(".") and (text or package_stem(name) is not None)


def _decompressed_name(name: str) -> str:
    ending = next((ending for ending in _COMPRESSED if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def _file_names(files: Sequence[Path]) -> list[str]:
    """The files' names without suffixes, or their paths where two have the same."""
    names = [PurePosixPath(_decompressed_name(path.name)).stem for path in files]
    several = Counter(names)
    return [name if several[name] == 1 else str(path) for name, path in zip(names, files, strict=True)]


def read_inputs(
    files: Sequence[Path], form: InputFormat = "auto", *, not_read: NotRead, damaged: list[UserError] | None
) -> Iterator[TextDocument]:
    """Yield the documents of several files in order; those of plain text are then named by their file, too
    (`ward:3`; by its path, where two files have the same name).

    Args:
        not_read: receives what is passed over.
        damaged: receives what is wrong with a file. Its documents before that place were yielded; the next
            file follows.

    Raises:
        UserError: `damaged` is None, and a file is; see `read_documents`.
    """
    for path, name in zip(files, _file_names(files), strict=True):
        try:
            for document in read_documents(path, form, not_read=not_read):
                numbered = len(files) > 1 and document.is_numbered
                yield replace(document, id=f"{name}:{document.id}") if numbered else document
        except UserError as error:
            if damaged is None or error.exit_code != UserError.exit_code:
                raise
            damaged.append(error)
            _log.error("%s", error)


def read_documents(
    path: Path, form: InputFormat = "auto", *, not_read: NotRead | None = None
) -> Iterator[TextDocument]:
    """Yield the documents of a file in order; memory holds one at a time (of BioC, the file).

    Args:
        path: a file, compressed (gzip, bzip2, xz, Zstandard) or not, or a package (tar, zip) of XML files;
            `-` for standard input.
        form: `lines` (each line that is not empty is a document, named by its number), `text` (the whole file
            is one), `pubmed` (citations: title and abstract, cleaned as the corpus is, and the English
            `OtherAbstract`s; offsets count in the text that is given out), `jats` (articles and books, alone
            or in a wrapper: title, abstract, and each line of the body, cleaned in the same way), `bioc`
            (XML or JSON: each passage at its own offset), `pubtator` (every section of a document), or
            `auto`: by the first bytes, `lines` where they are none of the formats that are known.
        not_read: receives what is passed over: annotations, deletions, records without a text. Without it
            the log counts it.

    Raises:
        UserError: the file is damaged, is not UTF-8, or is not of that format; with the place.
    """
    counted: NotRead = {} if not_read is None else not_read
    if path != STANDARD and package_stem(path.name) is not None:
        for member in package_members(path, counted):
            with reading(path, within=member.name):
                yield from _documents(_buffered(member.stream), member.where, member.name, form, counted)
    else:
        with _opened(path) as stream:
            where = "standard input" if path == STANDARD else str(path)
            yield from read_stream(stream, where, path.name, form, not_read=counted)
    if not_read is None and counted:
        _log.info("passed over: %s", passed_over(counted))


def read_stream(
    stream: BinaryIO,
    where: str,
    name: str,
    form: InputFormat = "auto",
    *,
    not_read: NotRead,
    bound: Callable[[BinaryIO], BinaryIO] = lambda content: content,
) -> Iterator[TextDocument]:
    """Yield the documents of a stream, which is no package, in order; see `read_documents`.

    Args:
        where: what errors call it.
        name: a file name: its ending and its stem are used as those of a file are.
        bound: is given the decompressed content, and returns what is read of it.
    """
    with reading(where):
        content = bound(decompressed(_buffered(stream), name))
        yield from _documents(_buffered(content), where, name, form, not_read)


def passed_over(not_read: NotRead) -> str:
    """What was not read, each with its number and an example."""
    counted = (
        f"{unread['count']:,} {what} (such as {unread['example']})" for what, unread in not_read.items()
    )
    return ", ".join(counted)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    stream: Any = sys.stdin.buffer if path == STANDARD else open(path, "rb")  # noqa: SIM115
    try:
        yield stream
    finally:
        if path != STANDARD:
            stream.close()


def _buffered(stream: BinaryIO) -> io.BufferedReader:
    if isinstance(stream, io.BufferedReader):
        return stream
    return io.BufferedReader(cast(io.RawIOBase, stream))


def _documents(
    stream: io.BufferedReader, where: str, name: str, form: InputFormat, not_read: NotRead
) -> Iterator[TextDocument]:
    beginning = stream.peek(_LOOK_BYTES)[:_LOOK_BYTES]
    chosen = recognise(beginning, where) if form == "auto" else form
    if chosen in ("xml", "pubmed", "jats"):
        yield from _xml(stream, where, PurePosixPath(name).name.partition(".")[0], form, not_read)
    elif chosen == "bioc":
        yield from _bioc(stream.read(), where, not_read)
    elif chosen == "pubtator":
        for block in read_blocks(numbered_lines(stream, where), where):
            if block.rows:
                note(
                    not_read,
                    "annotation rows of the input (its text is tagged anew)",
                    block.id,
                    len(block.rows),
                )
            (_, title), (_, abstract), *later = block.sections
            yield TextDocument(id=block.id, title=title, abstract=abstract, sections=tuple(later))
    elif chosen == "lines":
        for number, line in numbered_lines(stream, where):
            if line.strip():
                yield TextDocument(id=str(number), title=line, is_numbered=True)
    else:
        text = "\n".join(line for _, line in numbered_lines(stream, where))
        if text.strip():
            yield TextDocument(id="1", title=text, is_numbered=True)


def _xml(
    stream: BinaryIO, where: str, name: str, form: InputFormat, not_read: NotRead
) -> Iterator[TextDocument]:
    """What the root element shows: the first bytes of a pipe may end before it."""
    root, head = root_of(stream, where)
    if root in CITATIONS and form in ("auto", "pubmed"):
        whole = BoundedReader(stream, sys.maxsize, where=where, what="", head=head)
        yield from _pubmed(read_medline(whole, where), where, not_read)
    elif (root == "article" or root in (*BOOKS, *SETS)) and form in ("auto", "jats"):
        yield from _jats(stream, where, name, root, head, not_read)
    elif root == "collection" and form == "auto":
        yield from _bioc(head + stream.read(), where, not_read)
    else:
        kinds = {"pubmed": "no PubMed record", "jats": "no article and no book"}
        what = kinds.get(form, "XML or HTML of another kind")
        remedy = "give PubMed, JATS or BioC XML, or choose another --input-format"
        raise UserError(f"{what} (its root is <{root}>)", where=where, remedy=remedy)


def _pubmed(records: Iterator[MedlineRecord], where: str, not_read: NotRead) -> Iterator[TextDocument]:
    for number, record in enumerate(records, start=1):
        named = record.pmid or f"record-{number}"
        if record.deleted:
            note(not_read, "PMIDs that the file withdraws", record.deleted[0], len(record.deleted))
            continue
        for other in record.other_abstracts:
            if other.language not in _LANGUAGES:
                note(not_read, "abstracts in other languages", named)
        others = [other.text for other in record.other_abstracts if other.language in _LANGUAGES]
        texts = ["\n".join(record.abstract), *others]
        abstract, *later = (*filter(None, map(_cleaned, texts)), "")[: max(1, len(texts))]
        title = _cleaned(record.title)
        if title or abstract:
            sections = tuple((ABSTRACT, text) for text in later if text)
            yield TextDocument(id=named, title=title, abstract=abstract, sections=sections)
        else:
            note(not_read, "records without title and abstract", named)


def _cleaned(text: str) -> str:
    return clean_text(text).replace("\n", " ")


def _jats(
    stream: BinaryIO, where: str, name: str, root: str, head: bytes, not_read: NotRead
) -> Iterator[TextDocument]:
    if root in SETS:
        pieces = articles(stream, where, head)
    else:
        bounded = BoundedReader(stream, MAXIMUM_MEMBER_BYTES, where=where, what="the article", head=head)
        pieces = iter([(root, bounded.read_all())])
    number = 0
    for element, content in pieces:
        try:
            if element in BOOKS:
                named = [(part.name, part.text) for part in read_book(content, file_name=name)]
            else:
                named = [(_name(article), article) for article in read_jats_set(content)]
        except ValueError as error:
            raise UserError(f"article {number + 1}: {error}", where=where, remedy="mend it") from None
        for found, article in named:
            number += 1
            of_file = name if root == "article" else f"{name}:{number}"
            document = TextDocument(
                id=found or of_file,
                title=_cleaned(article.title),
                abstract=_cleaned("\n".join(article.abstract)),
                sections=tuple((PARAGRAPH, text) for text in map(_cleaned, article.body) if text),
            )
            if document.text.strip():
                yield document
            else:
                note(not_read, "articles without a text", f"{where}, {document.id}")


def _name(article: JatsArticle) -> str:
    return article.pmcid or article.pmid


def _bioc(content: bytes, where: str, not_read: NotRead) -> Iterator[TextDocument]:
    for number, document in enumerate(bioc_documents(content, where), start=1):
        if document.annotations:
            note(not_read, "annotations", document.where, len(document.annotations))
        title, abstract, *later = (*document.stretches(), "", "")[: max(2, len(document.passages))]
        names = [passage.kind or PARAGRAPH for passage in document.passages]
        found = TextDocument(
            id=document.name or f"document-{number}",
            title=title,
            abstract=abstract,
            sections=tuple(zip(names[2:], later, strict=True)),
            names=tuple(names[:2]),
        )
        if found.text.strip():
            yield found
        else:
            note(not_read, "documents without a text", document.where)
